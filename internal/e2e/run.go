package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/internal/e2e/history"
)

const (
	// quiet is how long nothing may come any more before the history is taken as whole.
	quiet = 3 * time.Second
	// readLimit is how long reading everything back may take.
	readLimit = 2 * time.Minute
)

// result is what a run brought.
type result struct {
	history history.History
	tally
}

// run feeds, asks and strikes, and then reads back what is left.
func (w *world) run(ctx context.Context) (*result, error) {
	random := rand.New(rand.NewPCG(w.seed, 1))
	inputs := makeInputs(w.records, random)
	faults := plan(w.options, random)
	r := &result{tally: tally{hits: map[string]int{}}}
	var seen atomic.Int64
	total := float64(outputs(inputs))
	through := func() float64 { return float64(seen.Load()) / total }

	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	watcher, watching := errgroup.WithContext(watching)
	watcher.Go(func() error { return w.watch(watching, &seen) })

	if err := w.drive(ctx, inputs, faults, through, r); err != nil {
		return nil, err
	}
	if err := w.settle(ctx, r, &seen); err != nil {
		return nil, err
	}
	stopWatching()
	if err := watcher.Wait(); err != nil {
		return nil, err
	}
	return r, w.readBack(ctx, r)
}

// drive runs feeder, clients and faults until the first and the last of them are done.
func (w *world) drive(ctx context.Context, inputs []history.Input, faults []fault, through func() float64, r *result) error {
	enough := make(chan struct{})
	var ceiling atomic.Uint64
	ceiling.Store(math.Float64bits(ahead))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return w.feed(ctx, inputs, func() float64 { return math.Float64frombits(ceiling.Load()) })
	})
	group.Go(func() error {
		defer close(enough)
		return w.strike(ctx, faults, through, &ceiling, &r.tally)
	})
	calls := make([][]history.Call, clients)
	for i := range calls {
		c := &client{
			world: w, id: uint16(i), random: rand.New(rand.NewPCG(w.seed, uint64(100+i))), pause: betweenRequests,
			asks:  func(history.Call) error { return nil },
			heard: func(call history.Call) { calls[i] = append(calls[i], call) },
		}
		group.Go(func() error { return c.run(ctx, enough) })
	}
	err := group.Wait()
	r.history.Calls = slices.Concat(calls...)
	return err
}

// settle waits until all that the inputs cause has come, and nothing comes any more; what does not come within stall is
// left to the checker.
func (w *world) settle(ctx context.Context, r *result, seen *atomic.Int64) error {
	limited, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	inputs, err := w.readInputs(limited)
	if err != nil {
		return err
	}
	r.history.Inputs = inputs
	want := int64(outputs(inputs) + len(r.history.Calls))
	last, since := seen.Load(), time.Now()
	for time.Since(since) < stall && (seen.Load() < want || time.Since(since) < quiet) {
		if now := seen.Load(); now != last {
			last, since = now, time.Now()
		}
		if err := pause(ctx, lookAgain); err != nil {
			return err
		}
	}
	say("%d of %d outputs came", seen.Load(), want)
	return nil
}

// readBack reads state and outputs. The server is stopped in between, so that nothing is left to be published; the embedded
// broker stops with it, and is read before.
func (w *world) readBack(ctx context.Context, r *result) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	if err := w.readState(ctx, &r.history); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if w.embedded {
		return w.readOutputs(ctx, &r.history)
	}
	if err := w.server.Stop(); err != nil {
		return err
	}
	return w.readOutputs(ctx, &r.history)
}
