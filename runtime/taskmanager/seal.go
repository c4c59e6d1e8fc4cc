package taskmanager

import (
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/failpoint"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore"
)

// snapshot is what one task has at a barrier. The task fills it and hands it to the worker; from then on it is immutable.
type snapshot struct {
	task      int
	trigger   uint64
	final     bool
	done      bool // the ingresses are done
	positions []router.Position
	unsettled []string // ingresses some of whose starts are not known
	delta     statestore.Sealed
	mailbox   []part
	recorded  [][]byte   // messages in flight to this task
	queued    []part     // messages that this task could not send yet
	outboxes  [][][]byte // by cluster
	unacked   [][][]byte // at-least-once output not yet acknowledged, by cluster
	replies   []reply
	links     []functions.Trace // sampled invocations that wrote to the outboxes
	samples   []int64           // arrival times (unix ms) of some of the epoch's messages
	began     time.Time         // of the seal
	sealing   time.Duration     // how long it took
}

// seal ends the epoch of this task: it captures everything that belongs to it, then sends the barrier on every channel,
// ahead of queued output. Buffers are swapped, nothing is copied (Chandy and Lamport, 1985: the state is recorded before
// the marker is sent, and each channel's messages until its marker arrives).
func (t *task) seal(barrier wire.Barrier) {
	started := time.Now()
	if t.sealed != nil {
		t.submit() // its epoch was aborted before all barriers came in
	}
	for i := range t.out {
		t.closeFrame(&t.out[i])
	}
	if barrier.Final {
		t.unacked.flush(t) // there is no later turn
	}
	positions, unsettled := t.positions()
	t.sealed = &snapshot{
		began: started, task: t.id, trigger: barrier.Trigger, final: barrier.Final, done: t.ingressesDone(), positions: positions, unsettled: unsettled,
		delta:    t.state.Seal(),
		mailbox:  append(t.retries.capture(), t.mailbox.capture()...),
		queued:   t.captureQueued(),
		outboxes: t.outboxes.take(),
		unacked:  t.unacked.capture(),
		replies:  t.replies,
		samples:  t.samples,
		links:    t.spans.take(),
	}
	t.samples = nil
	t.observe()
	t.replies = nil
	t.lastTrigger = barrier.Trigger
	t.wanted, t.urgent, t.dirty, t.waiting = false, false, false, false
	for i := range t.in {
		if i == t.id {
			continue
		}
		t.in[i].recording, t.in[i].recorded = true, nil
		if planted.Is(planted.BarrierBehindQueuedOutput) {
			t.out[i].credit += t.queuedBytes
			t.drain(&t.out[i])
		}
		t.out[i].inbox.Put(wire.AppendBarrier(nil, uint16(t.id), uint16(i), t.attempt, barrier))
	}
	if barrier.Switch != 0 {
		t.switchModules(barrier.Switch)
	}
	t.stopped = t.stopped || barrier.Final
	t.sealed.sealing = time.Since(started)
	failpoint.Hit("sealed")
	t.submitWhenComplete()
}

func (t *task) captureQueued() []part {
	var queued []part
	for i := range t.out {
		for _, frame := range t.out[i].queue {
			queued = append(queued, part{run: frame[wire.FrameHeader:]})
		}
		if t.out[i].over != nil {
			queued = t.out[i].over.capture(queued)
		}
	}
	return queued
}

// receiveBarrier ends the recording of a channel. The first barrier of a trigger that is not known yet seals.
func (t *task) receiveBarrier(from int, barrier wire.Barrier) {
	if barrier.Trigger > t.lastTrigger {
		t.seal(barrier)
	}
	if barrier.Trigger < t.lastTrigger || t.sealed == nil {
		return // of an epoch that was aborted before it came
	}
	t.in[from].recording = false
	t.sealed.recorded = append(t.sealed.recorded, t.in[from].recorded...)
	t.in[from].recorded = nil
	t.submitWhenComplete()
}

func (t *task) submitWhenComplete() {
	for i := range t.in {
		if t.in[i].recording {
			return
		}
	}
	t.submit()
}

func (t *task) submit() {
	t.worker.snapshots.Put(t.sealed)
	t.sealed = nil
}
