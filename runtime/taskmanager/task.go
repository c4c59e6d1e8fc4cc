package taskmanager

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore"
)

const (
	// mailboxLimit is where a task stops giving credit: some thousand messages, for every peer that has frames on the way.
	mailboxLimit = 4 << 20
	// pollLimit is where a task stops polling its ingress: room for some batches, so that one is always full and a cycle
	// between functions does not keep the ingress out, and little to write at a barrier.
	pollLimit = 256 << 10
	// outputLimit is how much output may wait, for the commit point or for a broker, before the ingress is held back: an
	// outage of the broker then fills no memory.
	outputLimit = 32 << 20
	// callLimit is how much a task may hold before requests are turned away: above everything that holds ingresses back, so
	// that these yield first.
	callLimit = 64 << 20
	// pollRecords bounds one poll, so that barriers and replies wait for no more than a few hundred records.
	pollRecords = 512
)

// task is the loop that owns one range of key groups. All fields belong to its goroutine but for what stats says.
type task struct {
	id, tasks, groups int
	attempt           uint64
	worker            *worker
	log               *slog.Logger

	wake     chan struct{} // capacity 1: inbox, commands and ingresses signal it
	inbox    *wire.Inbox[[]byte]
	commands *wire.Inbox[command]

	mailbox     mailbox
	retries     retries
	in          []inbound
	out         []outbound
	frames      [][]byte
	orders      []command
	queuedBytes int // of all out queues
	queuedAway  int // of these, in segments
	writing     int // bytes that the spiller has not let go of

	state     statestore.Backend
	program   *program
	invokers  []Invoker // per module of program
	upcoming  *prepared // made ready for a switch
	batches   []batch   // per module
	leftovers []functions.Message
	reads     []functions.Message
	writes    []statestore.Entry
	sequence  uint64

	ingresses  []ingress
	outboxes   outboxes
	unacked    unacked
	lastEgress *egressTarget       // see egress
	record     router.EgressRecord // the one being checked: a local would be allocated for each
	replies    []reply
	samples    []int64 // of this epoch, see snapshot

	sealed      *snapshot // waits for barriers
	lastTrigger uint64
	wanted      bool // the JobManager knows that something changed
	urgent      bool // and that something waits
	dirty       bool // something changed since the last seal
	done        bool // the ingresses are done, and an epoch will say so
	waiting     bool // something waits for the commit point
	stopped     bool // a final barrier has passed
	worked      bool // this turn of the loop did something
	now         int64
	stats       *taskStats
	meter       *meter // nil: nothing is measured
	spans       *spans // nil: nothing is traced
}

// taskStats is written by the task and read by anyone.
type taskStats struct {
	in, out, invocations, fuel, failures, deadLetters, skipped, stale atomic.Uint64
	keys, stateBytes, lag                                             atomic.Int64
	held                                                              atomic.Int64 // bytes of messages and output that wait
}

// command is an order of the worker to a task.
type command struct {
	barrier  wire.Barrier       // seal when Trigger is not 0
	message  *functions.Message // enqueue
	acked    *sending           // at-least-once output that the broker has
	ready    *prepared          // modules for an upcoming switch
	released *segment           // which the spiller has done with
	arrived  *arrival           // messages that were out of memory
}

// run is the task's loop. It returns nil after a final barrier, or when ctx is done.
func (t *task) run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	t.meter.begin(ctx, t)
	t.spans.attach(ctx)
	for ctx.Err() == nil {
		t.worked = false
		t.now = time.Now().UnixMilli()
		if err := t.turn(); err != nil {
			return err
		}
		if t.stopped && t.sealed == nil {
			return nil
		}
		if t.worked {
			continue
		}
		timer.Reset(t.retries.wait(t.now))
		t.meter.rest(t.hasRoom())
		select {
		case <-t.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		t.meter.resume()
	}
	return nil
}

// turn is one round of the loop: control, frames of other tasks, due retries, ingress, one batch per module, flush.
func (t *task) turn() error {
	t.obey()
	if err := t.receive(); err != nil {
		return err
	}
	if t.stopped {
		return nil
	}
	t.wakeRetries()
	t.settle()
	t.noticeEnd()
	if t.hasRoom() {
		for i := range t.ingresses {
			if err := t.poll(&t.ingresses[i]); err != nil {
				return err
			}
		}
	}
	if err := t.process(); err != nil {
		return err
	}
	t.flush()
	t.unacked.flush(t)
	for i := range t.in {
		if i != t.id {
			t.repay(i)
		}
	}
	t.spill()
	t.stats.held.Store(int64(t.mailbox.bytes + t.retries.bytes + t.queuedBytes + t.outboxes.bytes + t.unacked.bytes))
	t.meter.publish()
	t.tell()
	return nil
}

// hasRoom tells that nothing waits in such amounts that the ingress is to be held back. What lifts it makes another turn.
func (t *task) hasRoom() bool {
	return t.mailbox.bytes < pollLimit && t.retries.bytes < parkedLimit && t.queuedBytes < queuedLimit &&
		t.outboxes.bytes+t.unacked.bytes < outputLimit
}

// obey carries out the worker's orders.
func (t *task) obey() {
	t.orders = t.commands.Take(t.orders)
	for i, c := range t.orders {
		t.orders[i] = command{}
		t.worked = true
		switch {
		case c.message != nil:
			t.mailbox.append(c.message)
		case c.acked != nil:
			t.unacked.remove(c.acked)
		case c.ready != nil:
			t.upcoming.close() // one that was prepared and not switched to
			t.upcoming = c.ready
		case c.released != nil:
			t.released(c.released)
		case c.arrived != nil:
			c.arrived.arrive()
		case c.barrier.Trigger > t.lastTrigger:
			t.seal(c.barrier)
		}
	}
}

// changed notes that this epoch is not empty.
func (t *task) changed() { t.dirty = true }

// tell lets the JobManager know, at most twice per epoch, that there is something to commit.
func (t *task) tell() {
	switch {
	case t.waiting && !t.urgent:
		t.urgent, t.wanted = true, true
		t.worker.want(true, t.abreast())
	case t.dirty && !t.wanted:
		t.wanted = true
		t.worker.want(false, false)
	}
}

// abreast says that nothing else is queued: neither here nor, beyond what the next turn takes, where records come from.
func (t *task) abreast() bool { return t.mailbox.bytes == 0 && t.stats.lag.Load() <= pollRecords }

// positions are where each partition resumes: what this task has consumed, else where it started. unsettled are the
// ingresses of which some partition's start is not known yet.
func (t *task) positions() (all []router.Position, unsettled []string) {
	for i := range t.ingresses {
		started, settled := t.ingresses[i].source.Positions()
		if !settled {
			unsettled = append(unsettled, t.ingresses[i].spec.ID)
		}
		for _, p := range started {
			if consumed, ok := t.ingresses[i].consumed[p.Partition]; ok {
				p = consumed
			}
			all = append(all, p)
		}
	}
	return all, unsettled
}

// deliver routes a message to the task that owns its key: this one's mailbox, or a frame.
func (t *task) deliver(m *functions.Message) {
	owner := functions.Owner(functions.GroupOf(functions.Hash(m.Key), t.groups), t.groups, t.tasks)
	if owner == t.id {
		t.mailbox.append(m)
		return
	}
	t.send(owner, m)
}
