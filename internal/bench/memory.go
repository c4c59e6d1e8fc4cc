package main

import (
	"context"
	"fmt"
)

// smallKeyDigits makes a key of 16 bytes; its state is a count of 8.
const smallKeyDigits = 15

// memory measures what a small key takes, all in: entry, index, allocator and what the process needs beside them to take it in.
func (b *bench) memory(ctx context.Context) error {
	k, err := dial(b.kafka)
	if err != nil {
		return err
	}
	defer k.close()
	j := job{name: "memory", parallelism: 1, interval: "auto", delivery: "exactly-once", kafka: true}
	s, err := b.fresh(ctx, k, j)
	if err != nil {
		return err
	}
	defer b.end(s)
	grown, pairs, err := b.grow(ctx, s, k, j, b.held, smallKeyDigits)
	if err != nil {
		return err
	}
	if err := exact(pairs, true); err != nil {
		return err
	}
	figures, err := scrape(ctx, s)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("memory: %d keys, ", b.held)
	target := ""
	if b.held >= stateGoalKeys {
		target = "<= 60"
	}
	b.add(name+"of the process per key of 16 bytes with 8 of state, all in", grown/float64(b.held), "B", target)
	b.add(name+"of the tables per key of 16 bytes with 8 of state", figures.sum("weir_task_state_size_bytes")/float64(b.held), "B", "")
	return nil
}
