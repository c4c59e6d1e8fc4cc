package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// steadyFrom and steadyTo are the part of a run that is measured: behind the start, before the drain.
	steadyFrom = 0.1
	steadyTo   = 0.95
	// stall is how long output may stand still before a run is given up.
	stall = 60 * time.Second
)

// throughput drains a full topic through the keyed counter, under both guarantees, with a job's default parallelism.
func (b *bench) throughput(ctx context.Context) error {
	for _, run := range []struct{ name, delivery, target string }{
		{"alo", "at-least-once", ">= 400000"},
		{"eo", "exactly-once", ">= 400000"},
	} {
		j := job{name: "drain-" + run.name, parallelism: 1, interval: "auto", delivery: run.delivery, kafka: true}
		if err := b.drain(ctx, j, run.target); err != nil {
			return fmt.Errorf("%s: %w", run.delivery, err)
		}
	}
	return nil
}

// point is how far a run was at one time.
type point struct {
	at   time.Time
	done int64
	cpu  float64
}

func (b *bench) drain(ctx context.Context, j job, target string) error {
	k, err := dial(b.kafka)
	if err != nil {
		return err
	}
	defer k.close()
	for _, topic := range []string{j.in(), j.out()} {
		if err := k.recreate(ctx, topic); err != nil {
			return err
		}
	}
	if err := k.fill(ctx, j.in(), b.records, b.keys); err != nil {
		return err
	}
	quiet(ctx)
	s, err := b.server(ctx, j.name)
	if err != nil {
		return err
	}
	defer b.end(s)
	if err := b.deploy(ctx, s, j); err != nil {
		return err
	}
	points, err := b.watch(ctx, k, j.out(), s.PID())
	if err != nil {
		return err
	}
	from, to := at(points, steadyFrom), at(points, steadyTo)
	records, cpu, seconds := float64(to.done-from.done), to.cpu-from.cpu, to.at.Sub(from.at).Seconds()
	end, err := used(s.PID())
	if err != nil {
		return err
	}
	if err := k.verify(ctx, j.out(), b.records); err != nil {
		return err
	}
	b.add("kafka to kafka: records per CPU-second of weir, "+j.delivery, records/cpu, "1/s", target)
	b.add("kafka to kafka: records per second, broker on the same machine, "+j.delivery, records/seconds, "1/s", "")
	b.add("kafka to kafka: memory of the process, "+j.delivery, end.resident/1e6, "MB", "")
	return nil
}

// watch looks at the output and at the process until all records are out.
func (b *bench) watch(ctx context.Context, k *topics, topic string, pid int) ([]point, error) {
	var points []point
	moved := time.Now()
	for {
		done, err := k.committed(ctx, topic)
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
		if done >= b.records {
			return points, nil
		}
		if time.Since(moved) > stall {
			return nil, fmt.Errorf("output stands still at %d of %d records", done, b.records)
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
