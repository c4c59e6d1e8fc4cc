package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weir-run/weir/internal/e2e/workload"
)

const (
	// betweenBlows is the mean time from one blow to the next: a recovery, and samples in peace behind it.
	betweenBlows = 40 * time.Second
	// shortestWidth is how long another parallelism lasts at least: some epochs. All samples in peace are of the first one.
	shortestWidth, widthSpread = 2 * time.Second, 6 * time.Second
	// lastBlow is the share of the run at which the last blow begins at the latest.
	lastBlow = 0.93
	// shortestStop is longer than every session but a transaction: a TaskManager is lost after 5 s, a broker after 9 s, and a
	// client gives a request up after 10 s. The spread lets a stop end in any phase of what follows.
	shortestStop, stopSpread = 11 * time.Second, 8 * time.Second
	// longStop is longer than the transactions of a lane may be open, which is a minute; one stop in longStopOneIn is as long,
	// and none in a run of less than longStopFrom, which would be over.
	longStop      = 70 * time.Second
	longStopOneIn = 4
	longStopFrom  = 10 * time.Minute
)

// The blows that a soak deals.
const (
	killServer   = "kill weir"
	killInCommit = "kill weir twice, the second time in a commit"
	killBoth     = "kill weir and the broker"
	killBroker   = "kill the broker"
	stopServer   = "stop weir and let it go on"
	stopBroker   = "stop the broker and let it go on"
	otherWidth   = "change the parallelism, and back"
	otherVersion = "deploy another version"
)

// killers end the process of the server, which everything else leaves alive.
var (
	killers = []string{killServer, killInCommit, killBoth}
	mild    = []string{killBroker, stopServer, stopBroker, otherWidth, otherVersion}
)

// mildOneIn is how many blows of the first half one is that leaves the server alive.
const mildOneIn = 4

// blow is one thing that happens to the world.
type blow struct {
	at    time.Duration // since the run began
	kind  string
	fault               // of the kinds that kill
	stop  time.Duration // of the kinds that stop; of another parallelism, how long it lasts
	width int           // that parallelism
}

// soakPlan spreads blows at random over the run. Those that kill the server come in the first half only: in the second it
// lives long enough for a leak to show.
func soakPlan(duration time.Duration, random *rand.Rand) []blow {
	n := max(len(killers)+len(mild), int(duration/betweenBlows))
	deadly, gentle := bag{random: random, kinds: killers}, bag{random: random, kinds: mild}
	blows := make([]blow, n)
	stops := 0
	for i := range blows {
		b := &blows[i]
		b.at = time.Duration(lastBlow * float64(duration) * (float64(i) + random.Float64()) / float64(n))
		if i < n/2 && i%mildOneIn != 0 {
			b.kind = deadly.draw()
		} else {
			b.kind = gentle.draw()
		}
		switch b.kind {
		case killServer:
			b.worker = true
		case killInCommit:
			b.worker, b.failpoint, b.hit = true, failpoints[random.IntN(len(failpoints))], 1+random.IntN(maxHits)
		case killBoth:
			b.worker, b.broker = true, true
		case killBroker:
			b.broker = true
		case stopServer, stopBroker:
			b.stop = shortestStop + time.Duration(random.Int64N(int64(stopSpread)))
			if stops++; stops%longStopOneIn == 0 && duration >= longStopFrom {
				b.stop = longStop
			}
		case otherWidth:
			for b.width = firstParallelism; b.width == firstParallelism; {
				b.width = 1 + random.IntN(inputPartitions)
			}
			b.stop = shortestWidth + time.Duration(random.Int64N(int64(widthSpread)))
		}
	}
	return blows
}

// bag gives every kind once before it gives one again, in a random order.
type bag struct {
	random *rand.Rand
	kinds  []string
	left   []int
}

func (b *bag) draw() string {
	if len(b.left) == 0 {
		b.left = b.random.Perm(len(b.kinds))
	}
	kind := b.kinds[b.left[0]]
	b.left = b.left[1:]
	return kind
}

// deal makes one blow.
func (w *world) deal(ctx context.Context, b *blow, t *tally) error {
	switch b.kind {
	case stopServer:
		return w.interrupt(ctx, b.stop, func(s syscall.Signal) error { return syscall.Kill(w.server.PID(), s) })
	case stopBroker:
		return w.interrupt(ctx, b.stop, func(s syscall.Signal) error {
			if s == syscall.SIGSTOP {
				return w.broker.Pause()
			}
			return w.broker.Resume()
		})
	case otherWidth:
		t.rescales++
		if err := w.rescale(ctx, b.width); err != nil {
			return err
		}
		if err := pause(ctx, b.stop); err != nil {
			return err
		}
		return w.rescale(ctx, firstParallelism)
	case otherVersion:
		return w.upgrade(ctx)
	}
	return w.strikeOnce(ctx, &b.fault, t)
}

// interrupt stops a process for a while.
func (w *world) interrupt(ctx context.Context, d time.Duration, signal func(syscall.Signal) error) error {
	if err := signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop a process: %w", err)
	}
	waited := pause(ctx, d)
	if err := signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("let a process go on: %w", err)
	}
	return waited
}

// upgrade deploys the other build of the same functions.
func (w *world) upgrade(ctx context.Context) error {
	w.version = 1 - w.version
	module, err := os.ReadFile(w.guest(w.version))
	if err != nil {
		return fmt.Errorf("read version %d: %w", w.version, err)
	}
	if err := os.WriteFile(filepath.Join(w.job(), guestFile), module, 0o600); err != nil {
		return fmt.Errorf("write version %d: %w", w.version, err)
	}
	if err := w.server.WaitRunning(ctx, workload.Job); err != nil {
		return err
	}
	return w.server.Deploy(ctx, w.job(), workload.Job)
}
