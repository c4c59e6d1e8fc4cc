package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

// feedTick is how often the feeder produces what is due.
const feedTick = 10 * time.Millisecond

// drawer draws inputs, numbered per source.
type drawer struct {
	random *rand.Rand
	seq    [workload.Sources]uint32
}

func (d *drawer) draw() history.Input {
	source := uint16(d.random.IntN(workload.Sources))
	d.seq[source]++
	return history.Input{Source: source, Input: workload.Input{
		Seq: d.seq[source], Fanout: 1 + uint8(d.random.IntN(workload.MaxFanout)), Hops: uint8(d.random.IntN(workload.MaxHops + 1)),
	}}
}

// makeInputs draws the inputs of a run.
func makeInputs(n int, random *rand.Rand) []history.Input {
	inputs, d := make([]history.Input, n), drawer{random: random}
	for i := range inputs {
		inputs[i] = d.draw()
	}
	return inputs
}

// outputs is how many effects and acknowledgements the inputs cause.
func outputs(inputs []history.Input) (n int) {
	for _, in := range inputs {
		n += int(in.Fanout) * (2*int(in.Hops) + 1)
	}
	return n
}

// feeder writes inputs to their topic, in order per source, through every fault.
type feeder struct {
	client *kgo.Client
	failed chan error // the first failure
}

func (w *world) openFeeder() (*feeder, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(w.brokers),
		kgo.DefaultProduceTopic(workload.Inputs),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(50_000), // half a minute of the default rate
	)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	return &feeder{client: client, failed: make(chan error, 1)}, nil
}

// give begins to write an input.
func (f *feeder) give(ctx context.Context, in history.Input) {
	f.client.Produce(ctx, &kgo.Record{Key: []byte(workload.SourceKey(in.Source)), Value: in.Append(nil)}, func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case f.failed <- err:
			default: // the first one says enough
			}
		}
	})
}

// wait returns at the next tick, or with what went wrong before.
func (f *feeder) wait(ctx context.Context, tick <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-f.failed:
		return fmt.Errorf("feed: %w", err)
	case <-tick:
		return nil
	}
}

// flush returns when all that was given is acknowledged.
func (f *feeder) flush(ctx context.Context) error {
	if err := f.client.Flush(ctx); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	select {
	case err := <-f.failed:
		return fmt.Errorf("feed: %w", err)
	default:
		return nil
	}
}

// feed produces the inputs at a steady rate, but only up to a share of them that moves with the faults. It returns when all
// are acknowledged.
func (w *world) feed(ctx context.Context, inputs []history.Input, ceiling func() float64) error {
	f, err := w.openFeeder()
	if err != nil {
		return err
	}
	defer f.client.Close()
	last, tick := time.Now(), time.NewTicker(feedTick)
	defer tick.Stop()
	for next, due := 0, 0.0; next < len(inputs); {
		now := time.Now()
		due += now.Sub(last).Seconds() * float64(w.rate)
		last = now
		due = min(due, ceiling()*float64(len(inputs)))
		for ; next < min(len(inputs), int(due)); next++ {
			f.give(ctx, inputs[next])
		}
		if err := f.wait(ctx, tick.C); err != nil {
			return err
		}
	}
	return f.flush(ctx)
}

// feedUntil draws inputs and produces them at a steady rate until enough is closed, and counts them. It returns when all are
// acknowledged.
func (w *world) feedUntil(ctx context.Context, random *rand.Rand, fed *atomic.Int64, enough <-chan struct{}) error {
	f, err := w.openFeeder()
	if err != nil {
		return err
	}
	defer f.client.Close()
	d, begun, tick := drawer{random: random}, time.Now(), time.NewTicker(feedTick)
	defer tick.Stop()
	for given := 0; ; {
		for due := int(time.Since(begun).Seconds() * float64(w.rate)); given < due; given++ {
			f.give(ctx, d.draw())
			fed.Add(1)
		}
		select {
		case <-enough:
			return f.flush(ctx)
		default:
		}
		if err := f.wait(ctx, tick.C); err != nil {
			return err
		}
	}
}
