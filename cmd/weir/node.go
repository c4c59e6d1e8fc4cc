package main

import (
	"context"
	"log/slog"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// wiring is what wire gets to build a node from.
type wiring struct {
	Config Config
	Log    *slog.Logger
	// Telemetry takes what the roles measure and trace.
	Telemetry *telemetryOut
	// Broker is the Kafka cluster that jobs mean by the address "embedded": the embedded broker, or that of Config.Kafka,
	// whose address is empty when there is none.
	Broker functions.Cluster
	// Embedded says that Broker is the embedded one, whose commits recovery must read back.
	Embedded bool
	// Tiered has modules run interpreted until they are compiled: soon, and slowly at first.
	Tiered bool
	// Secrets resolves credentials when a connection is made.
	Secrets kafkaio.Secrets
}

// node is the roles of one process, wired but not running. Its fields are set by wire and not changed.
type node struct {
	// Run runs the roles until ctx is done; then it takes a final checkpoint of every job, publishes what that holds, and
	// returns nil. Any error ends the process.
	Run func(ctx context.Context) error
	// Controller, Dispatch and Modules serve the API; they may be called before Run and then wait, or refuse.
	Controller deploy.Controller
	Dispatch   router.Dispatch
	Modules    *deploy.Modules
	// Close gives back what wire opened, after Run returned or when it is never called.
	Close func() error
}
