package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/internal/bench/peers/tally"
)

const (
	// rate is of the scheduled load, in records per second.
	rate = 10_000
	// tick is the longest pause of the generator: a record is sent at most so late.
	tick = 200 * time.Microsecond
)

// latency is the time from a record's scheduled sending until a read_committed consumer has its count, in milliseconds.
type latency struct {
	P50        float64 `json:"p50"`
	P99        float64 `json:"p99"`
	P999       float64 `json:"p999"`
	Max        float64 `json:"max"`
	Cores      float64 `json:"cores"`      // that the system used, first pass included
	OtherCores float64 `json:"otherCores"` // that broker, generator and everything else used
	Checked    int64   `json:"checked"`    // records of the output, lost 0 and doubled 0
}

// schedule is when records are sent, in unix nanoseconds.
type schedule struct {
	start int64
	total int64
	from  int64 // records before this time warm the system up and do not count
}

func (s schedule) of(i int64) int64 { return s.start + i*int64(time.Second)/rate }

// plan is two equal passes behind each other.
func plan(start time.Time, seconds int) schedule {
	pass := int64(seconds) * rate
	s := schedule{start: start.UnixNano(), total: 2 * pass}
	s.from = s.of(pass)
	return s
}

// latency runs a system under load on a schedule: a stall counts for every record that should have been sent in it. The load
// begins when one record has gone all the way.
func (c *contest) latency(ctx context.Context, a assignment) (*latency, error) {
	if err := c.kafka.create(ctx, a.in); err != nil {
		return nil, err
	}
	var found *latency
	err := c.at(ctx, a, func(p process) error {
		first := newSent()
		c.kafka.client.Produce(ctx, record(a.in, tally.Key(nil, 0), 0), first.done)
		if err := first.wait(ctx, c.kafka.client); err != nil {
			return err
		}
		if err := c.kafka.receive(ctx, a.out, 1, p.ended, func(*kgo.Record) {}); err != nil {
			return err
		}
		before, err := meters(p.pid())
		if err != nil {
			return err
		}
		s := plan(time.Now().Add(time.Second), c.seconds)
		if found, err = c.timed(ctx, a, s, p); err != nil {
			return err
		}
		after, err := meters(p.pid())
		if err != nil {
			return err
		}
		seconds := after.at.Sub(before.at).Seconds()
		found.Cores = (after.cpu - before.cpu) / seconds
		found.OtherCores = (after.busy-before.busy)/seconds - found.Cores
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// timed sends on a schedule and receives: every record of the output is checked, and timed behind the first pass.
func (c *contest) timed(ctx context.Context, a assignment, s schedule, p process) (*latency, error) {
	sums := tally.New(c.keys)
	millis := make([]float64, 0, s.total/2)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.send(ctx, a.in, s) })
	group.Go(func() error {
		return c.kafka.receive(ctx, a.out, s.total+1, p.ended, func(r *kgo.Record) {
			now := time.Now().UnixNano()
			sums.Add(r.Key, r.Value)
			if len(r.Value) < tally.MinValueBytes {
				return // the verdict tells it
			}
			if scheduled := int64(binary.BigEndian.Uint64(r.Value)); scheduled >= s.from {
				millis = append(millis, float64(now-scheduled)/1e6)
			}
		})
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := sums.Verdict(s.total + 1); err != nil { // with the one that went ahead
		return nil, err
	}
	if int64(len(millis)) != s.total/2 {
		return nil, fmt.Errorf("%d records carry a time of the measured pass, want %d", len(millis), s.total/2)
	}
	slices.Sort(millis)
	return &latency{P50: quantile(millis, 0.5), P99: quantile(millis, 0.99), P999: quantile(millis, 0.999), Max: quantile(millis, 1),
		Checked: sums.Records()}, nil
}

// quantile is of sorted values, at least one.
func quantile(sorted []float64, q float64) float64 {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// send keeps to the schedule: a record that is late carries the time it should have had.
func (c *contest) send(ctx context.Context, topic string, s schedule) error {
	next, sent := draw(c.keys), newSent()
	for i := int64(0); i < s.total; {
		for now := time.Now().UnixNano(); i < s.total && s.of(i) <= now; i++ {
			c.kafka.client.Produce(ctx, record(topic, next(), s.of(i)), sent.done)
		}
		if err := pause(ctx, tick); err != nil {
			return err
		}
	}
	return sent.wait(ctx, c.kafka.client)
}
