package main

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-run/weir/internal/bench/calls"
	"github.com/weir-run/weir/internal/binary"
)

const (
	// invokeTime is how long each HTTP run takes, and invokeWarm is how much of its start is left out.
	invokeTime = 10 * time.Second
	invokeWarm = 2 * time.Second
	// invokeKeys spreads requests over all key groups.
	invokeKeys = 10_000
)

// invoke calls a counter over HTTP in a closed loop: one connection shows the time of a call, 64 show the group commit.
func (b *bench) invoke(ctx context.Context) error {
	s, err := b.server(ctx, "http")
	if err != nil {
		return err
	}
	defer b.end(s)
	j := job{name: "http", parallelism: 2, interval: "auto"}
	if err := b.deploy(ctx, s, j); err != nil {
		return err
	}
	for _, connections := range []int{1, 64} {
		if err := b.invokeAt(ctx, s, j, connections); err != nil {
			return err
		}
	}
	return nil
}

// invokeAt leaves the start out of times, and counts all CPU against all calls.
func (b *bench) invokeAt(ctx context.Context, s *binary.Server, j job, connections int) error {
	load := calls.New(fmt.Sprintf("c%d", connections), connections, invokeKeys, func(key string) string { return s.DataPlane + j.path("hit", key) })
	defer load.Close()
	before, err := used(s.PID())
	if err != nil {
		return err
	}
	if _, err := load.Run(ctx, invokeWarm); err != nil {
		return err
	}
	millis, err := load.Run(ctx, invokeTime-invokeWarm)
	if err != nil {
		return err
	}
	after, err := used(s.PID())
	if err != nil {
		return err
	}
	if err := load.Verify(ctx); err != nil {
		return err
	}
	t := timing{millis: millis}
	name := fmt.Sprintf("http invoke, %d connections, ", connections)
	b.add(name+"requests", float64(len(millis))/(invokeTime-invokeWarm).Seconds(), "1/s", "")
	b.add(name+"requests per CPU-second of weir", float64(load.Calls())/(after.cpu-before.cpu), "1/s", "")
	b.add(name+"p50", t.quantile(0.5), "ms", "")
	b.add(name+"p99", t.quantile(0.99), "ms", "")
	return nil
}
