package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/weir-run/weir/internal/binary"
)

const (
	// userBytes is what a key of the scenario has: its own bytes and its state's.
	userBytes = 100
	// stateGoalKeys makes the gigabyte that the goals are stated for. Fewer are measured without a goal.
	stateGoalKeys = 10_000_000
	// calm is how long a server is left alone before its memory is read: Go gives memory back in the background.
	calm = 10 * time.Second
	// stateWarm is load ahead of the kill of which nothing is asked; the fill has warmed the broker.
	stateWarm = time.Second
)

// state fills a job with keys of userBytes, updates them at random on a schedule, and kills the server at half of it; with a
// tenth of the keys first, for the ratio. The counts of the fill and of the updates must join without a gap.
func (b *bench) state(ctx context.Context) error {
	few, err := b.hold(ctx, "few", b.held/10)
	if err != nil {
		return fmt.Errorf("%d keys: %w", b.held/10, err)
	}
	many, err := b.hold(ctx, "many", b.held)
	if err != nil {
		return fmt.Errorf("%d keys: %w", b.held, err)
	}
	many.show(b)
	few.show(b)
	b.add(fmt.Sprintf("state: epoch complete, p99, %d keys against %d", many.keys, few.keys), many.epoch/few.epoch, "", many.target("<= 1.2"))
	return nil
}

// holding is what one run of state found. Times are in ms.
type holding struct {
	keys, rate  int64
	beside      float64 // bytes of the process per key, without the user's and what it takes without a key
	tables      float64 // bytes of the state's tables per key, without the user's
	pause       float64 // of a task at a seal, 99th percentile
	epoch       float64 // trigger to commit, 99th percentile
	epochs      float64 // committed per second
	start       float64 // of the process to its first output
	ready       float64
	disk, named float64 // bytes of all files, and of those that the latest manifest names
}

// target is a goal that is stated for stateGoalKeys.
func (h *holding) target(goal string) string {
	if h.keys < stateGoalKeys {
		return ""
	}
	return goal
}

func (h *holding) show(b *bench) {
	name := fmt.Sprintf("state: %d keys of %d bytes: ", h.keys, userBytes)
	load := fmt.Sprintf(" at %d updates/s", h.rate)
	b.add(name+"memory of the process per key, beside the user's bytes", h.beside, "B", "")
	b.add(name+"memory of the tables per key, beside the user's bytes", h.tables, "B", "")
	b.add(name+"pause of a task"+load+", p99", h.pause, "ms", h.target("<= 1"))
	b.add(name+"epoch complete"+load+", p99", h.epoch, "ms", h.target("<= 25"))
	b.add(name+"epochs complete"+load, h.epochs, "1/s", "")
	b.add(name+"process start after kill -9 to the first output", h.start, "ms", h.target("<= 2000"))
	b.add(name+"process start after kill -9 to ready", h.ready, "ms", "")
	b.add(name+"checkpoints on disk", h.disk/1e6, "MB", "")
	b.add(name+"checkpoints on disk that the latest manifest names", h.named/1e6, "MB", "")
}

// hold runs one size.
func (b *bench) hold(ctx context.Context, name string, keys int64) (*holding, error) {
	k, err := dial(b.kafka)
	if err != nil {
		return nil, err
	}
	defer k.close()
	j := job{name: "state-" + name, parallelism: 1, interval: "auto", delivery: "exactly-once", kafka: true, function: "keep"}
	s, err := b.fresh(ctx, k, j)
	if err != nil {
		return nil, err
	}
	defer b.end(s)
	grown, pairs, err := b.grow(ctx, s, k, j, keys, keyDigits)
	if err != nil {
		return nil, err
	}
	before, err := scrape(ctx, s)
	if err != nil {
		return nil, err
	}
	h := &holding{keys: keys, rate: b.rate}
	h.beside = grown/float64(keys) - userBytes
	h.tables = before.sum("weir_task_state_size_bytes")/float64(keys) - userBytes
	var c crash
	l := newLoad(demand{rate: b.rate, warm: stateWarm, measured: b.measured(), next: uniform(keys)}, s, k, j)
	found, err := l.run(ctx, func(ctx context.Context, l *load) error {
		after, err := scrape(ctx, s)
		if err != nil {
			return err
		}
		h.epochs = (after.sum(completed) - before.sum(completed)) / time.Since(time.Unix(0, l.schedule.start)).Seconds()
		h.pause = 1e3 * quantile(0.99, before, after, epochPhases, `phase="seal"`)
		h.epoch = 1e3 * quantile(0.99, before, after, epochPhases, `phase="total"`)
		h.named = after.sum("weir_checkpoint_lastCheckpointFullSize_bytes")
		if h.disk, err = filesBytes(filepath.Join(b.data(j.name), "checkpoints")); err != nil {
			return err
		}
		return c.strike(ctx, l)
	})
	if err != nil {
		return nil, err
	}
	first, err := c.output(found)
	if err != nil {
		return nil, err
	}
	h.start, h.ready = first.Sub(c.started).Seconds()*1e3, c.ready.Sub(c.started).Seconds()*1e3
	return h, exact(append(pairs, found.pairs...), true)
}

const (
	// keyDigits makes a key of 9 bytes, as all loads have it.
	keyDigits = 8
	// epochPhases is the histogram of how long epochs take.
	epochPhases = "weir_checkpoint_duration_seconds"
)

// grow deploys the job and gives it one record of each key. It returns by how many bytes the process grew, and what the job
// answered.
func (b *bench) grow(ctx context.Context, s *binary.Server, k *topics, j job, keys int64, digits int) (float64, []uint64, error) {
	if err := b.deploy(ctx, s, j); err != nil {
		return 0, nil, err
	}
	pause(ctx, calm)
	before, err := used(s.PID())
	if err != nil {
		return 0, nil, err
	}
	if err := k.fill(ctx, j.in(), keys, sequence(digits)); err != nil {
		return 0, nil, err
	}
	committed := func(ctx context.Context) (int64, error) { return k.committed(ctx, j.out()) }
	if _, err := watch(ctx, s.PID(), keys, committed); err != nil {
		return 0, nil, err
	}
	pairs, err := k.read(ctx, j.out(), keys)
	if err != nil {
		return 0, nil, err
	}
	pause(ctx, calm)
	after, err := used(s.PID())
	return after.resident - before.resident, pairs, err
}

// ignoreMissing forgives that a file is gone.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// filesBytes is what the files below a directory take. One that is deleted meanwhile counts nothing.
func filesBytes(dir string) (float64, error) {
	sum := 0.0
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return ignoreMissing(err)
		}
		stat, err := entry.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		sum += float64(stat.Size())
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	return sum, nil
}
