package main

import (
	"context"
	"fmt"
	"time"
)

// published is how long records committed before the kill may still be on their way to the consumer.
const published = time.Second

// recovery kills the server under load and starts it again at once: the longest silence of the output, from the last record
// before the kill to the first behind it, is what a consumer notices.
func (b *bench) recovery(ctx context.Context) error {
	var killed time.Time
	var down time.Duration
	kill := func(ctx context.Context, l *load) error {
		killed = time.Now()
		if err := l.server.Kill(); err != nil {
			return err
		}
		if err := l.server.Restart(ctx); err != nil {
			return err
		}
		down = time.Since(killed)
		return nil
	}
	j := job{name: "recovery", parallelism: 2, interval: "auto", delivery: "exactly-once", kafka: true}
	found, _, err := b.timed(ctx, j, kill)
	if err != nil {
		return err
	}
	if found.from.After(killed.Add(published)) || found.from.Add(found.gap).Before(killed) {
		return fmt.Errorf("the longest silence, of %v, is not that of the kill", found.gap)
	}
	b.add("recovery: kill -9 to the first committed record of later input, 10 k records/s", found.gap.Seconds()*1e3, "ms", "<= 700")
	b.add("recovery: kill -9 to ready", down.Seconds()*1e3, "ms", "")
	return nil
}
