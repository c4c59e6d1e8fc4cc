package taskmanager

import (
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/wire"
)

const (
	// windowBytes is what may be in flight on one channel: enough to cover a scheduling delay of 10 ms at 100 MB/s.
	windowBytes = 1 << 20
	// frameBytes closes a frame: beyond it a larger batch saves nothing.
	frameBytes = 32 << 10
	// firstFrameBytes is what a frame starts with: one between quiet tasks carries a message or two.
	firstFrameBytes = 2 << 10
	// queuedLimit is how much output a task may queue for peers without credit before it stops polling its ingress.
	queuedLimit = 16 << 20
)

// window is windowBytes, but for builds whose short runs are to reach it.
func window() int { return planted.Limit(windowBytes, 300) }

// outbound is the sending half of a channel to one other task.
type outbound struct {
	inbox  *wire.Inbox[[]byte]
	frame  []byte    // the frame being filled; empty or starting with its header
	last   int       // bytes of the frame before: the next is made for as many
	queue  [][]byte  // closed frames that wait for credit
	over   *overflow // what does not fit into memory, behind queue and without headers
	credit int
}

// inbound is the receiving half of a channel from one other task.
type inbound struct {
	recording bool     // between our seal and the sender's barrier
	recorded  [][]byte // runs of messages that belong to the epoch being sealed
	owed      int      // credit not yet given back
}

// send puts a message on the way to another task.
func (t *task) send(to int, message *functions.Message) {
	out := &t.out[to]
	if len(out.frame) == 0 {
		out.frame = wire.AppendFrame(make([]byte, 0, max(firstFrameBytes, out.last+out.last/4)), wire.FrameData, uint16(t.id), uint16(to), t.attempt)
	}
	out.frame = functions.AppendMessage(out.frame, message)
	if len(out.frame) >= planted.Limit(frameBytes, 256) {
		t.closeFrame(out)
	}
}

func (t *task) closeFrame(out *outbound) {
	if len(out.frame) == 0 {
		return
	}
	out.last = len(out.frame)
	if out.over != nil {
		out.over.behind.add(out.frame[wire.FrameHeader:])
		t.queuedBytes += len(out.frame) - wire.FrameHeader
		out.frame = nil
		return
	}
	out.queue = append(out.queue, out.frame)
	t.queuedBytes += len(out.frame)
	out.frame = nil
	t.drain(out)
}

// drain hands queued frames over as far as credit allows.
func (t *task) drain(out *outbound) {
	for len(out.queue) > 0 && out.credit > 0 {
		frame := out.queue[0]
		out.queue[0] = nil
		out.queue = out.queue[1:]
		out.credit -= len(frame)
		t.queuedBytes -= len(frame)
		out.inbox.Put(frame)
	}
}

// flush closes every frame being filled: called when the mailbox runs empty, and once per turn of the loop.
func (t *task) flush() {
	for i := range t.out {
		t.closeFrame(&t.out[i])
	}
}

// receive takes all frames that have arrived.
func (t *task) receive() error {
	t.frames = t.inbox.Take(t.frames)
	for i, b := range t.frames {
		t.frames[i] = nil
		frame, err := wire.ParseFrame(b)
		if err != nil {
			return err
		}
		if frame.Attempt != t.attempt && !planted.Is(planted.OldFrameAccepted) || int(frame.To) != t.id || int(frame.From) >= len(t.in) {
			t.stats.stale.Add(1)
			continue
		}
		switch frame.Kind {
		case wire.FrameData:
			t.receiveData(&frame, len(b))
		case wire.FrameBarrier:
			t.receiveBarrier(int(frame.From), frame.Barrier())
		case wire.FrameCredit:
			out := &t.out[frame.From]
			out.credit += frame.Credit()
			t.drain(out)
		}
		t.worked = true
	}
	return nil
}

func (t *task) receiveData(frame *wire.Frame, size int) {
	in := &t.in[frame.From]
	if in.recording && !planted.Is(planted.InFlightNotRecorded) {
		in.recorded = append(in.recorded, frame.Payload)
	}
	t.mailbox.add(frame.Payload)
	in.owed += size
	t.repay(int(frame.From))
	t.changed()
}

// repay gives credit back while mailbox and parked messages leave room, in few and large amounts.
func (t *task) repay(from int) {
	in := &t.in[from]
	if in.owed < window()/4 || t.mailbox.bytes > mailboxLimit || t.retries.bytes > parkedLimit {
		return
	}
	t.out[from].inbox.Put(wire.AppendCredit(nil, uint16(t.id), uint16(from), t.attempt, in.owed))
	in.owed = 0
}
