package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// latencyRate is what the goals are stated for, in records per second.
	latencyRate = 10_000
	// warmUp is load ahead of what counts: a broker's JVM compiles while it warms up, on the same cores. Half a minute on,
	// its compiler still takes half of one; after a minute, a tenth.
	warmUp = 60 * time.Second
	// grace is how long missing records are waited for after the last was sent.
	grace = 60 * time.Second
	// tick is the longest pause of the generator: a record is sent at most so late.
	tick = 200 * time.Microsecond
)

// latency sends on a schedule and measures until a read_committed consumer has each record.
func (b *bench) latency(ctx context.Context) error {
	for _, run := range []struct {
		delivery, interval, target string
		prompt                     bool
	}{
		{delivery: "exactly-once", interval: "10ms", target: "<= 60"},
		{delivery: "exactly-once", interval: "auto"},
		{delivery: "at-least-once", interval: "auto", prompt: true, target: "<= 10"},
	} {
		j := job{name: "latency-" + run.delivery + "-" + run.interval, parallelism: 1, interval: run.interval, delivery: run.delivery, kafka: true}
		load := b.usual()
		load.prompt = run.prompt
		others := othersShare()
		found, err := b.timed(ctx, j, load, nil)
		if err != nil {
			return fmt.Errorf("%s, interval %s: %w", run.delivery, run.interval, err)
		}
		name := run.delivery + " latency at 10 k records/s, epochs " + run.interval + ", "
		b.add(name+"p50", found.quantile(0.5), "ms", "")
		b.add(name+"p99", found.quantile(0.99), "ms", run.target)
		b.add(name+"p99.9", found.quantile(0.999), "ms", "")
		b.add(name+"max", found.quantile(1), "ms", "")
		b.add(name+othersTook, others(), "%", "")
	}
	return nil
}

// timing is what one latency run found.
type timing struct {
	millis []float64 // of each record behind the warm-up, sorted at the end
	pairs  []uint64
	gap    time.Duration // longest time without a record that was later scheduled than all before
	from   time.Time     // of the last record before that gap
}

func (t *timing) quantile(q float64) float64 {
	if len(t.millis) == 0 {
		return math.NaN()
	}
	return t.millis[min(len(t.millis)-1, int(q*float64(len(t.millis))))]
}

// schedule is the times at which records are sent.
type schedule struct {
	start int64 // unix ns
	total int64
	rate  int64 // records per second
}

func (s schedule) of(i int64) int64 { return s.start + i*int64(time.Second)/s.rate }

// index is the record with that time, or -1 for another run's.
func (s schedule) index(scheduled int64) int64 {
	i := (scheduled - s.start) * s.rate / int64(time.Second)
	for _, i := range []int64{i, i + 1} {
		if i >= 0 && i < s.total && s.of(i) == scheduled {
			return i
		}
	}
	return -1
}

// usual is the load that the goals of latency and recovery are stated for.
func (b *bench) usual() demand {
	return demand{rate: latencyRate, warm: warmUp, measured: b.measured(), next: uniform(b.keys)}
}

// timed runs one job under scheduled load, with meanwhile at half of what is measured, and checks every record of the output.
func (b *bench) timed(ctx context.Context, j job, d demand, meanwhile func(context.Context, *load) error) (*timing, error) {
	gather := linger
	if d.prompt {
		gather = 0
	}
	k, err := dialWith(b.kafka, gather)
	if err != nil {
		return nil, err
	}
	defer k.close()
	s, err := b.fresh(ctx, k, j)
	if err != nil {
		return nil, err
	}
	defer b.end(s)
	if err := b.deploy(ctx, s, j); err != nil {
		return nil, err
	}
	found, err := newLoad(d, s, k, j).run(ctx, meanwhile)
	if err != nil {
		return nil, err
	}
	return found, exact(found.pairs, true)
}

// receive reads the output until every record of the schedule is there, or ctx ends.
func (l *load) receive(ctx context.Context, consumer *kgo.Client) (*timing, error) {
	s := l.schedule
	found := &timing{}
	seen := make([]bool, s.total)
	front, arrived := int64(-1), time.Time{}
	var strange error
	for left := s.total; left > 0; {
		fetches := consumer.PollFetches(ctx)
		now := time.Now()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%d of %d records did not arrive", left, s.total)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			i := s.index(int64(binary.BigEndian.Uint64(r.Value)))
			if i < 0 || seen[i] {
				strange = fmt.Errorf("record of %s[%d] at offset %d came twice, or was never sent", r.Topic, r.Partition, r.Offset)
				return
			}
			seen[i] = true
			left--
			found.pairs = append(found.pairs, pair(r))
			if s.of(i)-s.start < int64(l.warm) {
				return
			}
			if l.counts == nil || l.counts(r.Key) {
				found.millis = append(found.millis, float64(now.UnixNano()-s.of(i))/1e6)
			}
			if i > front {
				if front >= 0 && now.Sub(arrived) > found.gap {
					found.gap, found.from = now.Sub(arrived), arrived
				}
				front, arrived = i, now
			}
		})
		if strange != nil {
			return nil, strange
		}
	}
	slices.Sort(found.millis)
	return found, nil
}

// starts is the end of each partition, where a consumer of what follows begins.
func starts(ctx context.Context, admin *kadm.Client, topic string) (map[int32]kgo.Offset, error) {
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, fmt.Errorf("list offsets of %s: %w", topic, err)
	}
	from := map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) { from[o.Partition] = kgo.NewOffset().At(o.Offset) })
	return from, nil
}
