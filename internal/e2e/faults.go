package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"time"
)

// failpoints are the places of a commit at which weir can kill itself.
var failpoints = []string{"sealed", "file-written", "manifest-written", "published", "acknowledged"}

const (
	// firstFault and lastFault are the shares of all effects that have come through when faults begin and end.
	firstFault, lastFault = 0.02, 0.93
	// ahead is how far the feeder may be ahead of the next fault: what flows while a fault lasts.
	ahead = 0.15
	// enoughThrough is the share that must have come through while faults ran.
	enoughThrough = 0.90
	// maxHits is the hit of a failpoint at which weir dies at the latest: some epochs after its start.
	maxHits = 60
	// hitLimit is how long an armed failpoint may take to be hit: a restore and some seconds of epochs.
	hitLimit = 2 * time.Minute
	// maxDelay spreads kills over the phases of an epoch and of a recovery.
	maxDelay = 300 * time.Millisecond
	// rescaleEvery is how many restarts lie between two changes of the parallelism.
	rescaleEvery = 3
	// lookAgain is the pause between two looks at the progress.
	lookAgain = 20 * time.Millisecond
)

// fault is one blow: weir, the broker, or both at once are killed. After a kill of weir it is started again to die at a
// failpoint, unless that is empty, and then started for good.
type fault struct {
	at        float64 // share of the effects that have come through
	worker    bool
	broker    bool
	failpoint string
	hit       int
	delay     time.Duration
	rescale   int // parallelism afterwards; 0 leaves it
}

// plan spreads the faults over the run: kills of weir come in pairs, one at a random moment and one at a failpoint.
func plan(o *options, random *rand.Rand) []fault {
	var faults []fault
	for i := 0; i < o.kills; i += 2 {
		f := fault{worker: true, delay: time.Duration(random.Int64N(int64(maxDelay)))}
		if i+1 < o.kills {
			f.failpoint = failpoints[(i/2)%len(failpoints)]
			f.hit = 1 + random.IntN(maxHits)
		}
		if (i/2)%rescaleEvery == rescaleEvery-1 {
			f.rescale = 1 + random.IntN(inputPartitions/2)
		}
		faults = append(faults, f)
	}
	random.Shuffle(len(faults), func(i, k int) { faults[i], faults[k] = faults[k], faults[i] })
	for i := range o.brokerKills {
		at := (i*2 + 1) * len(faults) / (2 * o.brokerKills)
		if i%2 == 0 {
			faults[at].broker = true // both die together
			continue
		}
		faults = append(faults[:at+1], append([]fault{{broker: true, delay: time.Duration(random.Int64N(int64(maxDelay)))}}, faults[at+1:]...)...)
	}
	for i := range faults {
		faults[i].at = firstFault + (lastFault-firstFault)*float64(i)/float64(max(1, len(faults)-1))
	}
	return faults
}

// tally counts what the faults did.
type tally struct {
	workerKills, brokerKills, rescales int
	hits                               map[string]int
	throughPercent                     int
}

// enough reports a run that was too easy to prove anything.
func (r *result) enough(o *options) error {
	for _, name := range failpoints {
		if r.hits[name] == 0 {
			return fmt.Errorf("failpoint %s was not hit", name)
		}
	}
	switch {
	case r.workerKills < o.kills || r.brokerKills < o.brokerKills:
		return fmt.Errorf("only %d kills of weir and %d of the broker", r.workerKills, r.brokerKills)
	case r.throughPercent < 100*enoughThrough:
		return fmt.Errorf("only %d %% of the effects came through while faults ran", r.throughPercent)
	}
	return nil
}

// strike makes every fault when its time has come. ceiling holds the share of the inputs that may be fed, as Float64bits:
// faults come while records flow, also when a broker takes long to start.
func (w *world) strike(ctx context.Context, faults []fault, through func() float64, ceiling *atomic.Uint64, t *tally) error {
	defer ceiling.Store(math.Float64bits(1))
	for i := range faults {
		f := &faults[i]
		ceiling.Store(math.Float64bits(f.at + ahead))
		if err := awaitProgress(ctx, f.at, through); err != nil {
			return fmt.Errorf("fault %d of %d: %w", i+1, len(faults), err)
		}
		if err := w.strikeOnce(ctx, f, t); err != nil {
			return fmt.Errorf("fault %d of %d: %w", i+1, len(faults), err)
		}
		t.throughPercent = int(100 * through())
		say("%3d %%  fault %d of %d: worker %v broker %v failpoint %s:%d parallelism %d", t.throughPercent, i+1, len(faults), f.worker, f.broker, f.failpoint, f.hit, w.parallelism)
	}
	return nil
}

// stall is how long nothing at all may come through before the run is given up: longer than any recovery.
const stall = 2 * time.Minute

func awaitProgress(ctx context.Context, share float64, through func() float64) error {
	last, since := through(), time.Now()
	for through() < share {
		if now := through(); now > last {
			last, since = now, time.Now()
		}
		if time.Since(since) > stall {
			return fmt.Errorf("nothing came through for %v, at %.1f %%", stall, 100*last)
		}
		if err := pause(ctx, lookAgain); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (w *world) strikeOnce(ctx context.Context, f *fault, t *tally) error {
	if err := pause(ctx, f.delay); err != nil {
		return err
	}
	if f.broker {
		t.brokerKills++
		if err := w.broker.Kill(); err != nil {
			return err
		}
	}
	if f.worker {
		t.workerKills++
		if err := w.server.Kill(); err != nil {
			return err
		}
	}
	if f.broker {
		if err := w.broker.Restart(ctx); err != nil {
			return err
		}
	}
	if f.failpoint != "" {
		if err := w.dieAt(ctx, f, t); err != nil {
			return err
		}
	}
	if f.worker {
		w.server.Setenv()
		if err := w.server.Restart(ctx); err != nil {
			return err
		}
	}
	if f.rescale > 0 && f.rescale != w.parallelism {
		t.rescales++
		return w.rescale(ctx, f.rescale)
	}
	return nil
}

// dieAt starts weir to kill itself at a failpoint, and waits until it has, be it before it was ready.
func (w *world) dieAt(ctx context.Context, f *fault, t *tally) error {
	w.server.Setenv(fmt.Sprintf("WEIR_FAILPOINT=%s:%d", f.failpoint, f.hit))
	startErr := w.server.Restart(ctx)
	limited, cancel := context.WithTimeout(ctx, hitLimit)
	defer cancel()
	end, err := w.server.Wait(limited)
	if err != nil {
		return fmt.Errorf("failpoint %s:%d was not hit: %w", f.failpoint, f.hit, err)
	}
	status, ok := end.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		return fmt.Errorf("weir ended otherwise than at failpoint %s:%d: %v; start: %v", f.failpoint, f.hit, end, startErr)
	}
	t.workerKills++
	t.hits[f.failpoint]++
	return nil
}
