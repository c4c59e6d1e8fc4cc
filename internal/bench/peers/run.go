package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/bench/peers/tally"
)

// row is what was found of an entry. What was not measured is absent; Failed says why it could not be.
type row struct {
	entry
	Version    string      `json:"version,omitempty"`
	Throughput *throughput `json:"throughput,omitempty"`
	Latency    *latency    `json:"latency,omitempty"`
	Failed     string      `json:"failed,omitempty"`
}

// filled is the input of all throughput runs.
const filled = "peers-filled"

// all runs the chosen entries in turn, each on a quiet machine. One that fails does not keep the others from running.
func (c *contest) all(ctx context.Context, chosen []entry) error {
	if c.records > 0 {
		if err := c.kafka.create(ctx, filled); err != nil {
			return err
		}
		if err := c.kafka.fill(ctx, filled, 2*c.records, c.keys); err != nil {
			return err
		}
	}
	var failed error
	for i, e := range chosen {
		r := row{entry: e, Version: c.versions[e.System]}
		err := c.unfit[e.System]
		if err == nil && c.records > 0 {
			r.Throughput, err = c.throughput(ctx, c.assign(e, fmt.Sprintf("peers-%d-drain", i), filled))
		}
		if err == nil && c.seconds > 0 && e.Timed {
			id := fmt.Sprintf("peers-%d-timed", i)
			r.Latency, err = c.latency(ctx, c.assign(e, id, id+"-in"))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.Failed = err.Error()
			failed = errors.Join(failed, fmt.Errorf("%s, %s, %s: %w", e.System, e.Delivery, e.Interval, err))
		}
		c.rows = append(c.rows, r)
		fmt.Println(r.line())
	}
	return failed
}

func (c *contest) assign(e entry, id, in string) assignment {
	return assignment{entry: e, id: id, in: in, out: id + "-out", brokers: c.brokers, dir: filepath.Join(c.dir, id), tasks: c.tasks}
}

// at starts the system of an assignment, hands it to work, and takes away all that the run has left.
func (c *contest) at(ctx context.Context, a assignment, work func(process) error) error {
	if err := os.Mkdir(a.dir, 0o755); err != nil {
		return fmt.Errorf("make work directory: %w", err)
	}
	if err := c.kafka.create(ctx, a.out); err != nil {
		return err
	}
	if err := quiet(ctx); err != nil {
		return err
	}
	began := time.Now()
	p, err := c.systems[a.System].start(ctx, a)
	if err != nil {
		return err
	}
	err = work(p)
	if e := p.stop(); e != nil {
		c.log.Warn("system did not stop", "system", a.System, "err", e)
	}
	c.log.Info("run", "id", a.id, "system", a.System, "delivery", a.Delivery, "interval", a.Interval, "seconds", int(time.Since(began).Seconds()), "err", err)
	return errors.Join(err, c.kafka.remove(ctx, of(a.id)), os.RemoveAll(filepath.Join(a.dir, "state")), os.RemoveAll(filepath.Join(a.dir, "data")))
}

const (
	// steadyFrom and steadyTo are the part of the second pass that is measured: behind the start, before the drain.
	steadyFrom = 0.5
	steadyTo   = 0.95
)

// throughput is the work of one system in the measured part.
type throughput struct {
	PerCPUSecond float64 `json:"recordsPerCPUSecond"` // CPU of the system's own process
	PerSecond    float64 `json:"recordsPerSecond"`
	Cores        float64 `json:"cores"`       // that the system used
	OtherCores   float64 `json:"otherCores"`  // that everything else used: the broker, and whatever else ran
	StolenCores  float64 `json:"stolenCores"` // that the machine did not get
	ResidentMB   float64 `json:"residentMB"`
	Checked      int64   `json:"checked"` // records of the output, lost 0 and doubled 0
}

// throughput drains the filled topic. Its first half warms the system up and is not measured.
func (c *contest) throughput(ctx context.Context, a assignment) (*throughput, error) {
	var found *throughput
	err := c.at(ctx, a, func(p process) error {
		readings, err := c.watch(ctx, a.out, p)
		if err != nil {
			return err
		}
		found = steady(readings, c.records)
		sums := tally.New(c.keys)
		none := func() error { return nil } // all records are there already
		if err := c.kafka.receive(ctx, a.out, 2*c.records, none, func(r *kgo.Record) { sums.Add(r.Key, r.Value) }); err != nil {
			return err
		}
		found.Checked = sums.Records()
		return sums.Verdict(2 * c.records)
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// watch reads the meters until all records are out.
func (c *contest) watch(ctx context.Context, out string, p process) ([]reading, error) {
	var readings []reading
	done, moved := int64(0), time.Now()
	for done < 2*c.records {
		if err := errors.Join(pause(ctx, look), p.ended()); err != nil {
			return nil, err
		}
		now, err := c.kafka.committed(ctx, out)
		if err != nil {
			return nil, err
		}
		r, err := meters(p.pid())
		if err != nil {
			return nil, err
		}
		r.done = now
		readings = append(readings, r)
		if now > done {
			done, moved = now, r.at
		} else if time.Since(moved) > stall {
			return nil, fmt.Errorf("output stands still at %d of %d records", done, 2*c.records)
		}
	}
	return readings, nil
}

// steady is what happened between steadyFrom and steadyTo of the second of two passes of n records.
func steady(readings []reading, n int64) *throughput {
	from, to := reached(readings, float64(n)*(1+steadyFrom)), reached(readings, float64(n)*(1+steadyTo))
	records, cpu, seconds := float64(to.done-from.done), to.cpu-from.cpu, to.at.Sub(from.at).Seconds()
	return &throughput{
		PerCPUSecond: records / cpu,
		PerSecond:    records / seconds,
		Cores:        cpu / seconds,
		OtherCores:   (to.busy - from.busy - cpu) / seconds,
		StolenCores:  (to.stolen - from.stolen) / seconds,
		ResidentMB:   to.resident / 1e6,
	}
}

// reached is the first reading with so many records, or the last.
func reached(readings []reading, records float64) reading {
	for _, r := range readings {
		if float64(r.done) >= records {
			return r
		}
	}
	return readings[len(readings)-1]
}
