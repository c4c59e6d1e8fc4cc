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

// all runs the chosen entries in turn, each on a quiet machine. One that fails does not keep the others from running.
func (c *contest) all(ctx context.Context, chosen []entry) error {
	var failed error
	for i, e := range chosen {
		r := row{entry: e, Version: c.versions[e.System]}
		err := c.unfit[e.System]
		if err == nil && c.records > 0 {
			r.Throughput, err = c.drain(ctx, e, fmt.Sprintf("peers-%d-drain", i))
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
	// minCommits in that part make a figure, a coarse one; ten make a good one.
	minCommits = 3
)

// throughput is the work of one system in the measured part.
type throughput struct {
	Pass         int64   `json:"pass"`                // records of each of the two passes
	PerCPUSecond float64 `json:"recordsPerCPUSecond"` // CPU of the system's own process
	PerSecond    float64 `json:"recordsPerSecond"`
	Cores        float64 `json:"cores"`       // that the system used
	OtherCores   float64 `json:"otherCores"`  // that everything else used: the broker, and whatever else ran
	StolenCores  float64 `json:"stolenCores"` // that the machine did not get
	ResidentMB   float64 `json:"residentMB"`
	Commits      int     `json:"commits"` // looks at the output that found more, in the measured part: few make a coarse figure
	Checked      int64   `json:"checked"` // records of the output, lost 0 and doubled 0
}

// pass is how many records one of the two passes of an entry has.
func (c *contest) pass(e entry) int64 {
	if e.Slow {
		return max(1, c.records/slowPart)
	}
	return c.records
}

// filled is the topic with two passes of n records, written when it is asked for first. All entries with that pass read it.
func (c *contest) filled(ctx context.Context, n int64) (string, error) {
	topic := fmt.Sprintf("peers-filled-%d", 2*n)
	if c.written[topic] {
		return topic, nil
	}
	if err := c.kafka.create(ctx, topic); err != nil {
		return "", err
	}
	c.written[topic] = true
	return topic, c.kafka.fill(ctx, topic, 2*n, c.keys)
}

// drain reads a full topic to its end. The first of its two passes warms the system up and is not measured.
func (c *contest) drain(ctx context.Context, e entry, id string) (*throughput, error) {
	n := c.pass(e)
	in, err := c.filled(ctx, n)
	if err != nil {
		return nil, err
	}
	a := c.assign(e, id, in)
	var found *throughput
	err = c.at(ctx, a, func(p process) error {
		readings, err := c.watch(ctx, a.out, 2*n, p)
		if err != nil {
			return err
		}
		if found, err = steady(readings, n); err != nil {
			return err
		}
		sums := tally.New(c.keys)
		none := func() error { return nil } // all records are there already
		if err := c.kafka.receive(ctx, a.out, 2*n, none, func(r *kgo.Record) { sums.Add(r.Key, r.Value) }); err != nil {
			return err
		}
		found.Checked = sums.Records()
		return sums.Verdict(2 * n)
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// watch reads the meters until so many records are out.
func (c *contest) watch(ctx context.Context, out string, records int64, p process) ([]reading, error) {
	var readings []reading
	done, moved := int64(0), time.Now()
	for done < records {
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
		} else if time.Since(moved) > patience(done) {
			return nil, fmt.Errorf("output stands still at %d of %d records", done, records)
		}
	}
	return readings, nil
}

// steady is what happened between steadyFrom and steadyTo of the second of two passes of n records. A part in which too
// little happened is an error, because a commit more or less would double its figure.
func steady(readings []reading, n int64) (*throughput, error) {
	from, to := reached(readings, float64(n)*(1+steadyFrom)), reached(readings, float64(n)*(1+steadyTo))
	commits, before := 0, from.done
	for _, r := range readings {
		if r.done > before && r.done <= to.done {
			commits, before = commits+1, r.done
		}
	}
	if commits < minCommits || to.cpu == from.cpu {
		return nil, fmt.Errorf("the measured part has %d commits: too few for a figure; give more -records", commits)
	}
	records, cpu, seconds := float64(to.done-from.done), to.cpu-from.cpu, to.at.Sub(from.at).Seconds()
	return &throughput{
		Pass:         n,
		PerCPUSecond: records / cpu,
		PerSecond:    records / seconds,
		Cores:        cpu / seconds,
		OtherCores:   (to.busy - from.busy - cpu) / seconds,
		StolenCores:  (to.stolen - from.stolen) / seconds,
		ResidentMB:   to.resident / 1e6,
		Commits:      commits,
	}, nil
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
