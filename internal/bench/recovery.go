package main

import (
	"context"
	"fmt"
	"time"
)

// published is how long records committed before the kill may still be on their way to the consumer.
const published = time.Second

// crash is a kill of the server under load and its start right behind.
type crash struct {
	killed  time.Time
	started time.Time // the process is gone, and another begins
	ready   time.Time
}

func (c *crash) strike(ctx context.Context, l *load) error {
	c.killed = time.Now()
	if err := l.server.Kill(); err != nil {
		return err
	}
	c.started = time.Now()
	if err := l.server.Restart(ctx); err != nil {
		return err
	}
	c.ready = time.Now()
	return nil
}

// output is when the first record came that was later scheduled than all before the kill: the end of the longest silence,
// which is what a consumer notices.
func (c *crash) output(found *timing) (time.Time, error) {
	end := found.from.Add(found.gap)
	if found.from.After(c.killed.Add(published)) || end.Before(c.killed) {
		return end, fmt.Errorf("the longest silence, of %v, is not that of the kill", found.gap)
	}
	return end, nil
}

// recovery kills the server under load and starts it again at once.
func (b *bench) recovery(ctx context.Context) error {
	var c crash
	j := job{name: "recovery", parallelism: 2, interval: "auto", delivery: "exactly-once", kafka: true}
	found, err := b.timed(ctx, j, b.usual(), c.strike)
	if err != nil {
		return err
	}
	if _, err := c.output(found); err != nil {
		return err
	}
	b.add("recovery: kill -9 to the first committed record of later input, 10 k records/s", found.gap.Seconds()*1e3, "ms", "<= 700")
	b.add("recovery: kill -9 to ready", c.ready.Sub(c.killed).Seconds()*1e3, "ms", "")
	return nil
}
