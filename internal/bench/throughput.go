package main

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-run/weir/internal/binary"
)

const (
	// steadyFrom and steadyTo are the part of a run that is measured: when nearly every key is there, before the drain.
	steadyFrom = 0.5
	steadyTo   = 0.95
	// stall is how long output may stand still before a run is given up.
	stall = 60 * time.Second
	// completed counts the epochs of a job that were committed.
	completed = "weir_checkpoint_numberOfCompletedCheckpoints_total"
)

// throughput drains a full topic through the keyed counter, under both guarantees and with both guests, with a job's default
// parallelism.
func (b *bench) throughput(ctx context.Context) error {
	for _, run := range []struct{ name, delivery, guest, text, target string }{
		{"alo", "at-least-once", goGuest, "at-least-once", ">= 400000"},
		{"eo", "exactly-once", goGuest, "exactly-once", ">= 400000"},
		{"alo-c", "at-least-once", cGuest, "at-least-once, guest in C", ">= 2000000"},
		{"eo-c", "exactly-once", cGuest, "exactly-once, guest in C", ""},
	} {
		j := job{name: "drain-" + run.name, parallelism: 1, interval: "auto", delivery: run.delivery, kafka: true, guest: run.guest}
		others := othersShare()
		found, err := b.fillAndDrain(ctx, j, uniform(b.keys))
		if err != nil {
			return fmt.Errorf("%s: %w", run.text, err)
		}
		b.add("kafka to kafka: records per CPU-second of weir, "+run.text, found.perCPU, "1/s", run.target)
		b.add("kafka to kafka: records per second, broker on the same machine, "+run.text, found.perSecond, "1/s", "")
		b.add("kafka to kafka: memory of the process, "+run.text, found.resident/1e6, "MB", "")
		b.add("kafka to kafka: "+othersTook+", "+run.text, others(), "%", "")
	}
	return nil
}

// drained is what one run over a full topic found, in its steady part.
type drained struct {
	perCPU    float64 // records per CPU-second of weir
	perSecond float64 // records
	epochs    float64 // committed per second, over the whole run
	resident  float64 // bytes, at the end
}

// fillAndDrain makes both topics, fills one and drains it.
func (b *bench) fillAndDrain(ctx context.Context, j job, next func() []byte) (drained, error) {
	k, err := dial(b.kafka)
	if err != nil {
		return drained{}, err
	}
	defer k.close()
	if err := k.recreate(ctx, j.in()); err != nil {
		return drained{}, err
	}
	if err := k.fill(ctx, j.in(), b.records, next); err != nil {
		return drained{}, err
	}
	return b.drain(ctx, k, j)
}

// drain runs a job that answers each of the b.records of its topic, and checks the answers.
func (b *bench) drain(ctx context.Context, k *topics, j job) (drained, error) {
	if err := k.recreate(ctx, j.out()); err != nil {
		return drained{}, err
	}
	quiet(ctx)
	s, err := b.server(ctx, j.name)
	if err != nil {
		return drained{}, err
	}
	defer b.end(s)
	if err := b.deploy(ctx, s, j); err != nil {
		return drained{}, err
	}
	found, err := b.timeDrain(ctx, s, func(ctx context.Context) (int64, error) { return k.committed(ctx, j.out()) })
	if err != nil {
		return drained{}, err
	}
	return found, k.verify(ctx, j.out(), b.records)
}

// timeDrain measures until progress has reached b.records.
func (b *bench) timeDrain(ctx context.Context, s *binary.Server, progress func(context.Context) (int64, error)) (drained, error) {
	before, err := scrape(ctx, s)
	if err != nil {
		return drained{}, err
	}
	points, err := watch(ctx, s.PID(), b.records, progress)
	if err != nil {
		return drained{}, err
	}
	after, err := scrape(ctx, s)
	if err != nil {
		return drained{}, err
	}
	end, err := used(s.PID())
	if err != nil {
		return drained{}, err
	}
	from, to := at(points, steadyFrom), at(points, steadyTo)
	records := float64(to.done - from.done)
	return drained{
		perCPU:    records / (to.cpu - from.cpu),
		perSecond: records / to.at.Sub(from.at).Seconds(),
		epochs:    (after.sum(completed) - before.sum(completed)) / points[len(points)-1].at.Sub(points[0].at).Seconds(),
		resident:  end.resident,
	}, nil
}

// point is how far a run was at one time.
type point struct {
	at   time.Time
	done int64
	cpu  float64
}

// watch looks at the progress and at the process until all records are done.
func watch(ctx context.Context, pid int, records int64, progress func(context.Context) (int64, error)) ([]point, error) {
	var points []point
	moved := time.Now()
	for {
		done, err := progress(ctx)
		if err != nil {
			return nil, err
		}
		u, err := used(pid)
		if err != nil {
			return nil, err
		}
		if len(points) == 0 || points[len(points)-1].done != done {
			moved = time.Now()
		}
		points = append(points, point{time.Now(), done, u.cpu})
		if done >= records {
			return points, nil
		}
		if time.Since(moved) > stall {
			return nil, fmt.Errorf("progress stands still at %d of %d records", done, records)
		}
		pause(ctx, look)
	}
}

// at is the first point with that part of all records.
func at(points []point, part float64) point {
	last := points[len(points)-1]
	for _, p := range points {
		if float64(p.done) >= part*float64(last.done) {
			return p
		}
	}
	return last
}
