package taskmanager

import (
	"sync/atomic"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// segment is a run of a queue's messages that is moved out of memory: on its way to a file, in it, or on its way back. It
// is immutable but for its place. The task owns the fields that say nothing else.
//
//	runs in memory -> handed to the spiller -> durable, runs released -> asked for -> data -> chunks of the queue
//	               \-> taken back before that: unwanted, unless a snapshot has named it
type segment struct {
	task   *task
	length int      // bytes that wait in it, as the queue counts them
	runs   [][]byte // until the spiller has let go of it
	target uint16   // of one of its messages, for errors

	place    checkpoint.Segment // the spiller's, until durable
	durable  atomic.Bool        // the file is on disk, and place says where
	unwanted atomic.Bool        // set by the task: no file is needed, or no longer

	named   bool // a snapshot refers to it
	foreign bool // written by an earlier attempt: callers are gone, and some messages may be another task's
	asked   bool // for its messages
	arrived bool
	exact   bool   // data is all that the file has, so that snapshots may refer to its rest
	data    []byte // its messages, when they have arrived
}

// arrival is what the spiller has read of a segment.
type arrival struct {
	segment *segment
	data    []byte
	exact   bool
}

// arrive takes a segment's messages.
func (a *arrival) arrive() {
	a.segment.arrived, a.segment.exact, a.segment.data = true, a.exact, a.data
}

// part is a piece of a captured queue: a run of messages, or a segment but for its first skip bytes.
type part struct {
	run     []byte
	segment *segment
	skip    int
}

// runParts captures runs.
func runParts(parts []part, runs [][]byte) []part {
	for _, run := range runs {
		if len(run) > 0 {
			parts = append(parts, part{run: run[:len(run):len(run)]})
		}
	}
	return parts
}

// reference is what a snapshot writes of a part that is a segment.
func (p *part) reference() checkpoint.Segment {
	place := p.segment.place
	place.Taken += int64(p.skip)
	return place
}

// overflow is the younger end of a queue that has outgrown its memory: segments, and behind them runs in memory.
type overflow struct {
	segments []*segment // oldest first
	away     int        // bytes in segments
	behind   mailbox
}

// shed takes what is behind the segments.
func (o *overflow) shed() [][]byte {
	runs := o.behind.chunks
	o.behind = mailbox{}
	return o.count(runs)
}

// count adds runs to what is away.
func (o *overflow) count(runs [][]byte) [][]byte {
	for _, run := range runs {
		o.away += len(run)
	}
	return runs
}

// capture appends everything that the overflow holds, oldest first.
func (o *overflow) capture(parts []part) []part {
	for _, s := range o.segments {
		s.named = true
		parts = append(parts, part{segment: s})
	}
	return runParts(parts, o.behind.chunks)
}

// take takes the oldest segment when its messages are in memory, else it is asked for. back is false while it is not here.
func (o *overflow) take(s *spiller) (runs [][]byte, taken *segment, back bool) {
	taken = o.segments[0]
	switch {
	case taken.runs != nil: // not written yet, or just so: no need to read it
		runs = taken.runs
		if !taken.named {
			taken.unwanted.Store(true)
		}
	case taken.arrived:
		if len(taken.data) > 0 {
			runs = [][]byte{taken.data}
		}
	case taken.asked:
		return nil, nil, false
	default:
		taken.asked = true
		s.read.Put(taken)
		return nil, nil, false
	}
	o.segments[0] = nil
	o.segments = o.segments[1:]
	o.away -= taken.length
	return runs, taken, true
}

// ours keeps the messages of a segment of an earlier attempt that belong to a range of key groups, in place. Who waited
// for their answers was told that the attempt ended, and its correlation may by now be somebody else's.
func ours(body []byte, from, to functions.KeyGroup, groups int) ([]byte, error) {
	kept := body[:0]
	var m functions.Message
	for len(body) > 0 {
		n, err := functions.ParseMessage(body, &m)
		if err != nil {
			return nil, err
		}
		if group := functions.GroupOf(functions.Hash(m.Key), groups); from <= group && group < to {
			forgetCaller(&m)
			kept = append(kept, body[:n]...)
		}
		body = body[n:]
	}
	return kept, nil
}
