package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/router/httpio"
)

// process is a server: the roles, and the listeners in front of them. Everything is opened before anything runs, so that
// a port in use ends it before a job starts.
type process struct {
	telemetry *telemetryOut
	node      *node
	control   *deploy.Server
	dataPlane *httpio.Server
	profile   *deploy.Server // nil without --pprof
}

// openProcess wires the roles and takes the ports; the caller holds the lock of the data directory, and runs or closes
// what it returns.
func (s *shell) openProcess(ctx context.Context, set *settings, log *slog.Logger, w wiring) (_ *process, err error) {
	p := &process{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.telemetry, err = openTelemetry(ctx, &set.Config, log); err != nil {
		return nil, err
	}
	w.Telemetry = p.telemetry
	if p.node, err = s.wire(w); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	front := httpio.Config{Address: set.DataPlane, InsecureListen: set.InsecureListen, Log: log, Meter: p.telemetry.meter, Tracing: p.telemetry.tracing}
	if err := private(set.DataPlane, set.InsecureListen); err != nil {
		return nil, portFailure(err, set.DataPlane, "--data-plane")
	}
	if p.dataPlane, err = httpio.New(front, p.node.Dispatch); err != nil {
		return nil, portFailure(err, set.DataPlane, "--data-plane")
	}
	invoke, err := httpio.NewHandler(front, p.node.Dispatch)
	if err != nil {
		return nil, err
	}
	api, err := deploy.New(deploy.Config{
		Modules: p.node.Modules,
		Release: deploy.Release{
			Version: releaseVersion(), Commit: releaseCommit(), Go: runtime.Version(),
			Kafka: w.Broker.Address, DataPlane: p.dataPlane.Addr().String(), Dev: w.Embedded,
		},
		Invoke:  invoke,
		Metrics: p.telemetry.scraped,
		Log:     log,
	}, p.node.Controller)
	if err != nil {
		return nil, err
	}
	if p.control, err = deploy.Listen(set.Listen, set.InsecureListen, api, log); err != nil {
		return nil, portFailure(err, set.Listen, "--listen")
	}
	if set.PProf != "" {
		if p.profile, err = listenProfile(set.PProf, log); err != nil {
			return nil, portFailure(err, set.PProf, "--pprof")
		}
		log.Info("profiles are served", "address", p.profile.Addr())
	}
	p.control.OnShutdown(api.EndStreams)
	return p, nil
}

// run serves until ctx is done. It drains from the outside in: listeners first, while the roles still answer what they
// have taken; then the roles, which take a final checkpoint.
func (p *process) run(ctx context.Context) error {
	roles, endRoles := context.WithCancel(context.WithoutCancel(ctx))
	defer endRoles()
	all, failure := errgroup.WithContext(roles)
	all.Go(func() error { return p.node.Run(roles) })
	all.Go(func() error { p.telemetry.run(roles); return nil })
	all.Go(func() error {
		defer endRoles()
		front, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(failure, stop)() // roles that fail take the listeners with them
		listeners, front := errgroup.WithContext(front)
		listeners.Go(func() error { return p.control.Run(front) })
		listeners.Go(func() error { return p.dataPlane.Run(front) })
		if p.profile != nil {
			listeners.Go(func() error { return p.profile.Run(front) })
		}
		err := listeners.Wait()
		p.telemetry.flush()
		return err
	})
	return all.Wait()
}

// close gives back everything that openProcess took. It is called once, after run or instead of it.
func (p *process) close() error {
	var errs []error
	// Run has closed the listeners already when it was called.
	if p.control != nil {
		_ = p.control.Close()
	}
	if p.dataPlane != nil {
		_ = p.dataPlane.Close()
	}
	if p.profile != nil {
		_ = p.profile.Close()
	}
	if p.node != nil && p.node.Close != nil {
		errs = append(errs, p.node.Close())
	}
	if p.telemetry != nil {
		p.telemetry.close()
	}
	return errors.Join(errs...)
}
