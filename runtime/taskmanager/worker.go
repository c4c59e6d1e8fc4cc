package taskmanager

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// worker is one attempt of one job in this TaskManager. Its goroutine owns what is not marked otherwise.
type worker struct {
	config  Config
	manager *Manager
	log     *slog.Logger
	attempt wire.Attempt
	job     string
	prefix  string
	term    uint64
	seed    uint64
	width   int // parallelism of the job
	cancel  context.CancelFunc
	halting bool // of the manager's goroutine

	wake      chan struct{} // control, snapshots and events signal it
	control   *wire.Inbox[wire.Message]
	snapshots *wire.Inbox[*snapshot]
	events    *wire.Inbox[func() error] // from goroutines of this worker, to be run in its loop
	failure   chan error                // capacity 1: the first error ends the attempt

	program    *program
	ids        atomic.Pointer[map[string]uint16] // of the program, for the front
	running    atomic.Pointer[[]*task]           // all tasks by number, for the front; nil before Start
	local      []*task
	inboxes    []*wire.Inbox[[]byte] // by task number
	publishers []*publisher
	upcoming   *program
	linked     []*program // all whose modules are held
	switched   int        // version that a trigger has switched the tasks to
	logs       *logRing
	latency    latency
	started    time.Time

	epochs      []*epoch // not yet decided, in the order of triggers; at most one is live
	carried     []*snapshot
	awaiting    *epoch // all its snapshots are here, and some segment that they name is not durable yet
	spiller     *spiller
	limits      spillLimits
	unpublished int
	final       bool         // the final epoch is committed
	ending      atomic.Bool  // the same, for the egress's goroutines
	unsent      atomic.Int64 // batches of at-least-once output that no broker has yet; of any goroutine
	reported    bool
	closing     bool // what events bring is only to be closed
}

func newWorker(m *Manager, d *wire.Deploy, cancel context.CancelFunc) *worker {
	wake := make(chan struct{}, 1)
	w := &worker{
		config: m.config, manager: m, attempt: d.Attempt, job: d.Version.Job.Name, prefix: d.Prefix, term: d.Term, seed: rand.Uint64(),
		width: d.Version.Job.Parallelism, cancel: cancel, wake: wake,
		log:     m.log.With("job", d.Version.Job.Name, "attempt", d.Attempt.Attempt),
		control: wire.NewInbox[wire.Message](wake), snapshots: wire.NewInbox[*snapshot](wake), events: wire.NewInbox[func() error](wake),
		failure: make(chan error, 1), logs: newLogRing(), limits: newSpillLimits(m.config.Spill),
	}
	w.spiller = newSpiller(w)
	return w
}

// run restores, waits for Start, and works until the attempt ends.
func (w *worker) run(ctx context.Context, d *wire.Deploy) error {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	defer func() {
		w.running.Store(nil) // a call that comes too late to be told finds no task
		w.manager.front.close(w)
		cancel()
		_ = group.Wait() // their errors came through fail
		w.close(ctx)
	}()
	deployed, err := w.restore(ctx, group, d)
	if err != nil {
		return w.cause(err)
	}
	w.send(deployed)
	for {
		select {
		case err := <-w.failure:
			return err
		case <-ctx.Done():
			return w.cause(ctx.Err())
		case <-w.wake:
		}
		if err := w.turn(ctx, group); err != nil {
			return err
		}
	}
}

// cause is why the attempt ends: the first error of a goroutine, when there is one, else what its end looked like here.
func (w *worker) cause(err error) error {
	select {
	case first := <-w.failure:
		return first
	default:
		return err
	}
}

// turn handles everything that waits.
func (w *worker) turn(ctx context.Context, group *errgroup.Group) error {
	for _, event := range w.events.Take(nil) {
		if err := event(); err != nil {
			return err
		}
	}
	for _, m := range w.control.Take(nil) {
		if err := w.handle(ctx, group, m); err != nil {
			return err
		}
	}
	for _, s := range w.snapshots.Take(nil) {
		if err := w.collect(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) handle(ctx context.Context, group *errgroup.Group, m wire.Message) error {
	switch c := m.(type) {
	case *wire.Start:
		w.start(ctx, group)
	case *wire.Prepare:
		group.Go(func() error { w.prepare(ctx, c); return nil })
	case *wire.Trigger:
		e := w.epoch(c.Trigger)
		if e == nil {
			e = &epoch{trigger: c.Trigger}
			w.epochs = append(w.epochs, e)
		}
		e.trace = w.traceOf(c.Trace)
		e.ordered, e.number, e.inline = true, c.Number, c.Inline
		if c.Switch != 0 {
			w.switched = c.Switch
		}
		for _, t := range w.local {
			t.commands.Put(command{barrier: wire.Barrier{Trigger: c.Trigger, Switch: c.Switch, Final: c.Final}})
		}
		return w.acknowledge(ctx, e)
	case *wire.Complete:
		return w.complete(ctx, c)
	case *wire.Abort:
		w.abort(c.Trigger)
	case *wire.Fold:
		group.Go(func() error { w.fold(ctx, c); return nil })
	case *wire.Query:
		w.query(c)
	default:
		return fmt.Errorf("worker got unexpected %T", m)
	}
	return nil
}

// start lets the tasks run.
func (w *worker) start(ctx context.Context, group *errgroup.Group) {
	w.started = time.Now()
	for _, t := range w.local {
		for i := range t.ingresses {
			source := t.ingresses[i].source
			group.Go(func() error { return w.report(source.Run(ctx)) })
			group.Go(func() error { forward(ctx, source.Ready(), t.wake); return nil })
		}
		group.Go(func() error { return w.report(t.run(ctx)) })
	}
	tasks := append([]*task(nil), w.local...)
	w.running.Store(&tasks)
	w.manager.instruments.enter(w)
	w.manager.front.open(w, w.program)
}

// forward passes the signals of an ingress on to its task, which waits on one channel for everything.
func forward(ctx context.Context, from <-chan struct{}, to chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-from:
		}
		select {
		case to <- struct{}{}:
		default: // the task is awake
		}
	}
}

// report hands the error that ends a goroutine to the worker's loop.
func (w *worker) report(err error) error {
	if err != nil {
		w.fail(err)
	}
	return err
}

// fail ends the attempt. Any goroutine may call it; the first error counts.
func (w *worker) fail(err error) {
	select {
	case w.failure <- err:
	default: // an earlier error ends the attempt already
	}
}

func (w *worker) send(m wire.Message) { w.manager.endpoint.Send(jobManager, m) }

// want is called by tasks.
func (w *worker) want(urgent, lone bool) {
	w.send(&wire.Want{Attempt: w.attempt, Urgent: urgent, Lone: lone})
}

// enqueue puts a message into the mailbox of the task that owns its key; false before Start and in another TaskManager.
func (w *worker) enqueue(m *functions.Message) bool {
	t := w.runningOwner(m.Key)
	if t == nil {
		return false
	}
	t.commands.Put(command{message: m})
	return true
}

// runningOwner is the task of a key; nil before Start and in another TaskManager. Any goroutine may call it.
func (w *worker) runningOwner(key []byte) *task {
	tasks := w.running.Load()
	if tasks == nil {
		return nil
	}
	for _, t := range *tasks {
		if t.id == functions.Owner(functions.GroupOf(functions.Hash(key), t.groups), t.groups, t.tasks) {
			return t
		}
	}
	return nil
}

// overloaded says that a task has no room for requests.
func (w *worker) overloaded() bool {
	tasks := w.running.Load()
	if tasks == nil {
		return false
	}
	for _, t := range *tasks {
		if t.stats.held.Load() > callLimit {
			return true
		}
	}
	return false
}

func (w *worker) functionID(name string) (uint16, bool) {
	ids := w.ids.Load()
	if ids == nil {
		return 0, false
	}
	id, ok := (*ids)[name]
	return id, ok
}

// prepare loads another version's modules and makes every task's instances, so that the switch at the barrier is a swap.
// It runs beside the worker's loop, which takes what it made.
func (w *worker) prepare(ctx context.Context, c *wire.Prepare) {
	p, err := w.link(ctx, &c.Version)
	ready := make([]*prepared, len(w.local))
	for i := range ready {
		if err == nil {
			ready[i] = &prepared{program: p}
			ready[i].invokers, err = p.instances(w.guestLog(w.local[i].id))
		}
	}
	w.events.Put(func() error {
		w.linked = append(w.linked, p)
		if w.closing {
			for _, r := range ready {
				r.close()
			}
			return nil
		}
		if err == nil {
			err = w.program.fitting(p)
		}
		answer := &wire.Prepared{Attempt: w.attempt, Number: c.Version.Number}
		if err != nil {
			answer.Error = err.Error()
		} else {
			w.upcoming = p
		}
		for i, t := range w.local {
			switch {
			case err == nil:
				t.commands.Put(command{ready: ready[i]})
			case ready[i] != nil:
				ready[i].close()
			}
		}
		w.send(answer)
		return nil
	})
}

// fold makes one base, or one delta, out of files, in background and within its own goroutine.
func (w *worker) fold(ctx context.Context, c *wire.Fold) {
	answer := &wire.Folded{Attempt: w.attempt, Merge: c.Merge}
	groups, now := functions.KeyGroup(c.Groups), time.Now().UnixMilli()
	var file checkpoint.FileRef
	var err error
	storage := checkpoint.WithInline(w.config.Storage, c.Inline)
	if c.Merge {
		file, err = checkpoint.MergeFiles(ctx, storage, c.Name, c.Deltas, 0, groups)
	} else {
		file, err = checkpoint.FoldFiles(ctx, storage, c.Name, c.Bases, c.Deltas, 0, groups, now)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	answer.File = file
	w.send(answer)
}

// close frees what the attempt holds; its goroutines have ended, and so has ctx.
func (w *worker) close(ctx context.Context) {
	w.manager.instruments.leave(w)
	w.inboxClose()
	w.closing = true
	for _, event := range w.events.Take(nil) {
		_ = event() // the attempt is over
	}
	w.releaseSealed()
	for _, t := range w.local {
		for i := range t.ingresses {
			if w.started.IsZero() {
				_ = t.ingresses[i].source.Run(ctx) // the attempt ended before it ran: it only gives its connections back
			}
		}
		closeAll(t.invokers)
		t.upcoming.close()
		for _, c := range t.commands.Take(nil) {
			c.ready.close()
		}
		if err := t.state.Close(); err != nil {
			w.log.Warn("state left open", "task", t.id, "err", err)
		}
	}
	for _, p := range w.publishers {
		if err := p.lane.Close(); err != nil {
			w.log.Warn("lane left open", "lane", p.id, "err", err)
		}
	}
	for _, p := range w.linked {
		for _, module := range p.modules {
			module.Close()
		}
	}
	if w.program != nil {
		for _, c := range w.program.clusters {
			if c.egress == nil {
				continue
			}
			if err := c.egress.Close(); err != nil {
				w.log.Warn("egress left open", "cluster", c.key, "err", err)
			}
		}
	}
}

// releaseSealed gives back the deltas of epochs that are not decided: each holds all memory of its task's state.
func (w *worker) releaseSealed() {
	left := append(w.carried, w.snapshots.Take(nil)...)
	for _, e := range w.epochs {
		left = append(left, e.carried...)
		if !e.aborted { // else they are carried
			left = append(left, e.snapshots...)
		}
	}
	for _, t := range w.local {
		if t.sealed != nil {
			left = append(left, t.sealed)
		}
	}
	for _, s := range left {
		s.delta.Release()
	}
}

func (w *worker) inboxClose() {
	for _, t := range w.local {
		t.inbox.Close()
	}
}

var _ router.Dispatch = (*Manager)(nil).Dispatch
