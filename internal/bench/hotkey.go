package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// skewWarm is load ahead of what is timed. The drains of the same scenario have warmed part of the broker; with 10 s the
	// run that comes first showed three times the latency of the second.
	skewWarm = 30 * time.Second
	// skewTime bounds what is timed, so that the scenario stays near two minutes.
	skewTime = 15 * time.Second
)

// hotkey drains topics whose keys are skewed, and then measures what a hot key does to the latency of the others. A key is in
// one partition, so a skewed topic has one that is longer than the rest.
func (b *bench) hotkey(ctx context.Context) error {
	for _, run := range []struct {
		name, text string
		next       func() []byte
	}{
		{"one", "one key", same},
		{"zipf", fmt.Sprintf("zipf %v", zipfExponent), zipf(b.keys)},
	} {
		j := job{name: "skew-" + run.name, parallelism: 1, interval: "auto", delivery: "exactly-once", kafka: true}
		found, err := b.fillAndDrain(ctx, j, run.next)
		if err != nil {
			return fmt.Errorf("%s: %w", run.text, err)
		}
		b.add("skew: records per CPU-second of weir, exactly-once, "+run.text, found.perCPU, "1/s", "")
		b.add("skew: records per second, exactly-once, "+run.text, found.perSecond, "1/s", "")
	}
	even, err := b.others(ctx, "even", uniform(b.keys))
	if err != nil {
		return fmt.Errorf("even load: %w", err)
	}
	beside, err := b.others(ctx, "hot", hot(b.keys))
	if err != nil {
		return fmt.Errorf("hot key: %w", err)
	}
	rate := fmt.Sprintf(" at %d records/s, exactly-once, ", b.rate)
	b.add("skew: latency"+rate+"even load, p99", even, "ms", "")
	b.add(fmt.Sprintf("skew: latency%sother keys beside one with %d %% of the load, p99", rate, 10*hotPart), beside, "ms", "")
	b.add("skew: p99 of other keys beside a hot one against that of even load", beside/even, "", "<= 2")
	return nil
}

// others is the 99th percentile of the latency of all keys but the hot one, in ms.
func (b *bench) others(ctx context.Context, name string, next func() []byte) (float64, error) {
	j := job{name: "skew-" + name, parallelism: 1, interval: "auto", delivery: "exactly-once", kafka: true}
	other := func(key []byte) bool { return string(key) != string(same()) }
	found, err := b.timed(ctx, j, demand{rate: b.rate, warm: skewWarm, measured: min(b.measured(), skewTime), next: next, counts: other}, nil)
	if err != nil {
		return 0, err
	}
	return found.quantile(0.99), nil
}
