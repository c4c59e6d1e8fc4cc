package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

// feedTick is how often the feeder produces what is due.
const feedTick = 10 * time.Millisecond

// makeInputs draws the inputs of a run.
func makeInputs(n int, random *rand.Rand) []history.Input {
	inputs := make([]history.Input, n)
	var seq [workload.Sources]uint32
	for i := range inputs {
		source := uint16(random.IntN(workload.Sources))
		seq[source]++
		inputs[i] = history.Input{Source: source, Input: workload.Input{
			Seq: seq[source], Fanout: 1 + uint8(random.IntN(workload.MaxFanout)), Hops: uint8(random.IntN(workload.MaxHops + 1)),
		}}
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

// feed produces the inputs at a steady rate, in order per source, through every fault, but only up to a share of them that
// moves with the faults. It returns when all are acknowledged.
func (w *world) feed(ctx context.Context, inputs []history.Input, ceiling func() float64) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(w.brokers),
		kgo.DefaultProduceTopic(workload.Inputs),
		kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(50_000), // half a minute of the default rate
	)
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	defer client.Close()
	failed := make(chan error, 1)
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			select {
			case failed <- err:
			default: // the first one says enough
			}
		}
	}
	last, tick := time.Now(), time.NewTicker(feedTick)
	defer tick.Stop()
	for next, due := 0, 0.0; next < len(inputs); {
		now := time.Now()
		due += now.Sub(last).Seconds() * float64(w.rate)
		last = now
		due = min(due, ceiling()*float64(len(inputs)))
		for ; next < min(len(inputs), int(due)); next++ {
			in := &inputs[next]
			client.Produce(ctx, &kgo.Record{Key: []byte(workload.SourceKey(in.Source)), Value: in.Append(nil)}, done)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return fmt.Errorf("feed: %w", err)
		case <-tick.C:
		}
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("feed: %w", err)
	default:
		return nil
	}
}
