package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/internal/e2e/growth"
	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

const (
	// shortestSoak is room for every kind of blow once.
	shortestSoak = 2 * time.Minute
	// soakPause is the pause of a client: answers with an Idempotency-Key are kept for a day, so that requests of all the run
	// are in the state, and must be few beside what is judged.
	soakPause = time.Second
	// peaceSeconds is how many seconds of input may be under way in peace: an epoch and a look of the audit take less than one.
	peaceSeconds = 2
	// soakStall is how long nothing may come through: the longest stop, and a recovery after it.
	soakStall = longStop + stall
	// segmentBytes and the retentions keep the broker's disk small: at 300 inputs a second a partition's outputs reach back
	// half an hour, and its inputs longer. A reader that falls behind that is told, not led on.
	segmentBytes         = "16777216"
	inputRetentionBytes  = "67108864"
	outputRetentionBytes = "134217728"
)

// soaked is what a soak brought.
type soaked struct {
	tally                   // of the goroutine that deals
	blows   map[string]int  // likewise
	samples []growth.Sample // of the goroutine that samples
	verdict history.Verdict // of the end

	life   atomic.Int64 // of the server's process
	fed    atomic.Int64 // inputs that were given
	struck atomic.Bool  // a blow is under way
}

// backlog is how many inputs and requests were given and have effects still to come.
func (s *soaked) backlog(a *audit) int64 {
	fed := s.fed.Load() // before the rest, which follows it
	seen, open := a.progress()
	return max(0, fed-seen.inputs) + int64(open)
}

// steady says that the server does its usual work: no blow is under way, and the last one is made good.
func (w *world) steady(a *audit, s *soaked) bool {
	return !s.struck.Load() && s.backlog(a) < int64(w.rate)*peaceSeconds
}

// createTopics makes the topics with little retention, before the job would make them with the broker's own.
func (w *world) createTopics(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers))
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	defer client.Close()
	segment, inputs, outputs := segmentBytes, inputRetentionBytes, outputRetentionBytes
	admin := kadm.NewClient(client)
	in, err := admin.CreateTopics(ctx, inputPartitions, 1, map[string]*string{"segment.bytes": &segment, "retention.bytes": &inputs}, workload.Inputs)
	if err = errors.Join(err, in.Error()); err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	out, err := admin.CreateTopics(ctx, outputPartitions, 1, map[string]*string{"segment.bytes": &segment, "retention.bytes": &outputs}, workload.Effects, workload.Acks)
	if err = errors.Join(err, out.Error()); err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	return nil
}

// endure feeds, asks, strikes, samples and audits until the plan is done and the time is over, and then lets all come to rest.
// What it has seen is there also when it fails.
func (w *world) endure(ctx context.Context) (*soaked, error) {
	s := &soaked{tally: tally{hits: map[string]int{}}, blows: map[string]int{}}
	for range 2 { // what is kept of both versions is there before anything is measured
		if err := w.upgrade(ctx); err != nil {
			return s, err
		}
	}
	a, err := w.openAudit()
	if err != nil {
		return s, err
	}
	defer a.close()
	begun, settled := time.Now(), make(chan struct{})
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return a.follow(running, settled) })
	group.Go(func() error {
		defer close(settled)
		if err := w.burden(running, begun, a, s); err != nil {
			return err
		}
		return w.calm(running, a)
	})
	group.Go(func() error { return w.sample(running, begun, a, s, settled) })
	err = group.Wait()
	s.verdict = a.verdict()
	if err != nil {
		return s, err
	}
	return s, w.conclude(ctx, a, s)
}

// burden runs feeder, clients and blows, until all blows are dealt and the time is over.
func (w *world) burden(ctx context.Context, begun time.Time, a *audit, s *soaked) error {
	enough := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.feedUntil(ctx, rand.New(rand.NewPCG(w.seed, 1)), &s.fed, enough) })
	for i := range clients {
		c := &client{
			world: w, id: uint16(i), random: rand.New(rand.NewPCG(w.seed, uint64(100+i))), pause: soakPause,
			asks: a.asks, heard: a.heard,
		}
		group.Go(func() error { return c.run(ctx, enough) })
	}
	group.Go(func() error {
		defer close(enough)
		if err := w.dealAll(ctx, begun, a, s); err != nil {
			return err
		}
		return pause(ctx, max(0, w.soak-time.Since(begun)))
	})
	return group.Wait()
}

// dealAll deals the blows at their times, or later, when the one before has been made good. On a slow machine it leaves out
// those that come too late and are of a kind that has been dealt.
func (w *world) dealAll(ctx context.Context, begun time.Time, a *audit, s *soaked) error {
	blows := soakPlan(w.soak, rand.New(rand.NewPCG(w.seed, 2)))
	for i := range blows {
		b := &blows[i]
		if err := pause(ctx, max(0, b.at-time.Since(begun))); err != nil {
			return err
		}
		if err := w.awaitPeace(ctx, a, s); err != nil {
			return fmt.Errorf("before blow %d of %d, %s: %w", i+1, len(blows), b.kind, err)
		}
		from := time.Now()
		if late := from.Sub(begun); s.blows[b.kind] > 0 && (late > w.soak || b.worker && late > w.soak/2) {
			continue
		}
		s.struck.Store(true)
		err := w.deal(ctx, b, &s.tally)
		s.struck.Store(false)
		if err != nil {
			return fmt.Errorf("blow %d of %d, %s: %w", i+1, len(blows), b.kind, err)
		}
		s.blows[b.kind]++
		if b.worker {
			s.life.Add(1)
		}
		say("%v  blow %d of %d: %s, over after %v", time.Since(begun).Round(time.Second), i+1, len(blows), b.kind, time.Since(from).Round(time.Second))
	}
	return w.awaitPeace(ctx, a, s)
}

// awaitPeace waits until the server has done its usual work for as long as some samples take.
func (w *world) awaitPeace(ctx context.Context, a *audit, s *soaked) error {
	begun := time.Now()
	for since := begun; time.Since(since) < restSamples*w.sampleEvery(); {
		if !w.steady(a, s) {
			since = time.Now()
		}
		if time.Since(begun) > soakStall {
			return fmt.Errorf("%d inputs and requests wait %v after the last blow: the server does not keep up with %d inputs a second", s.backlog(a), soakStall, w.rate)
		}
		if err := pause(ctx, lookAgain); err != nil {
			return err
		}
	}
	return nil
}

// calm waits until all that was caused has come; what does not come within stall is left to the verdict.
func (w *world) calm(ctx context.Context, a *audit) error {
	last, since := int64(-1), time.Now()
	for {
		seen, open := a.progress()
		if seen.outputs != last {
			last, since = seen.outputs, time.Now()
		}
		if time.Since(since) > stall || open == 0 && time.Since(since) > quiet {
			say("%d inputs and %d outputs came, %d are open", seen.inputs, seen.outputs, open)
			return nil
		}
		if err := pause(ctx, lookAgain); err != nil {
			return err
		}
	}
}

// conclude reads the state, stops the server, so that nothing is left to be published, and judges the end.
func (w *world) conclude(ctx context.Context, a *audit, s *soaked) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	var h history.History
	if err := w.readState(ctx, &h); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	if err := w.server.Stop(); err != nil {
		return err
	}
	if err := a.finish(ctx); err != nil {
		return err
	}
	s.verdict = a.stream.Finish(h.Sources, h.Counters)
	if !s.verdict.Good() {
		return errBad
	}
	return nil
}
