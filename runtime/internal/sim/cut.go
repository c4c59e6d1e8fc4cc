package sim

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// stateKey is one state of one key.
type stateKey struct {
	state uint16
	key   string
}

// apply applies a block of state to a map, the slow and obvious way.
func apply(values map[stateKey][]byte, block []byte) error {
	for e, err := range statestore.Entries(block) {
		if err != nil {
			return err
		}
		k := stateKey{e.State, string(e.Key)}
		if e.Present {
			values[k] = slices.Clone(e.Value)
		} else {
			delete(values, k)
		}
	}
	return nil
}

// tally is what a cut owes, or has: messages that sources and counters received.
type tally struct {
	sources  map[uint16]int
	counters map[uint16]int
	under    int // messages under way
}

func newTally() *tally { return &tally{sources: map[uint16]int{}, counters: map[uint16]int{}} }

// branch counts what one branch of an input causes from a hop on; acked says that the first hop's counter is done and its
// acknowledgement is not.
func (t *tally) branch(token workload.Token, hops uint8, acked bool, by int) {
	for ; token.Hop <= hops; token.Hop++ {
		if !acked {
			t.counters[token.Target()] += by
		}
		acked = false
		if token.Hop < hops {
			t.sources[token.Source] += by
		}
	}
}

func (t *tally) input(source uint16, in workload.Input, by int) {
	for branch := range in.Fanout {
		t.branch(workload.Token{Source: source, Seq: in.Seq, Branch: branch}, in.Hops, false, by)
	}
}

// message takes what a message still causes out.
func (t *tally) message(m *functions.Message) error {
	t.under++
	switch m.Kind {
	case functions.KindIngress:
		source, err := workload.ParseKey(string(m.Key), 's')
		if err != nil {
			return err
		}
		in, err := workload.ParseInput(string(m.Value))
		if err != nil {
			return err
		}
		t.input(source, in, -1)
	case functions.KindSend:
		message, err := workload.ParseMessage(string(m.Value))
		if err != nil {
			return err
		}
		t.branch(message.Token, message.Hops, m.Key[0] == 's', -1)
	}
	return nil
}

// consistent says whether a manifest is a consistent cut: what its keys have counted is what the inputs below its positions
// cause, less what its messages are still to cause. A call may or may not be counted.
func (w *world) consistent(m *checkpoint.Manifest) error {
	want, err := w.expected(m)
	if err != nil {
		return err
	}
	values, err := w.state(m)
	if err != nil {
		return err
	}
	have := newTally()
	var dictionary functions.Dictionary
	dictionary = dictionary.Extend(w.job(1, 1))
	for k, value := range values {
		if k.state >= uint16(len(dictionary.States)) || len(value) != 8 {
			continue // answers that are kept
		}
		n := int(binary.LittleEndian.Uint64(value))
		if s := dictionary.States[k.state]; s.State != "count" {
			continue
		}
		if id, err := workload.ParseKey(k.key, 's'); err == nil {
			have.sources[id] += n
		} else if id, err := workload.ParseKey(k.key, 'c'); err == nil {
			have.counters[id] += n
		}
	}
	calls := map[uint16]int{}
	w.mu.Lock()
	for _, c := range w.calls {
		calls[workload.Token{HTTP: true, Source: c.Client, Seq: c.Seq}.Target()]++
	}
	w.mu.Unlock()
	for id := range workload.Counters {
		id := uint16(id)
		if n := have.counters[id] - want.counters[id]; n < 0 || n > calls[id] {
			return fmt.Errorf("counter %d has counted %d, the inputs less what is under way make %d, calls up to %d", id, have.counters[id], want.counters[id], calls[id])
		}
	}
	for id := range uint16(maxSources) {
		if have.sources[id] != want.sources[id] {
			return fmt.Errorf("source %d has counted %d, the inputs less what is under way make %d", id, have.sources[id], want.sources[id])
		}
	}
	return nil
}

// positions calls yield with where every partition resumes that a manifest knows of.
func (w *world) positions(m *checkpoint.Manifest, yield func(router.Position)) error {
	for _, ref := range m.Snapshots {
		err := w.sections(m, ref, checkpoint.KindPositions, func(_ checkpoint.Section, body []byte) error {
			var positions []router.Position
			if err := json.Unmarshal(body, &positions); err != nil {
				return err
			}
			for _, p := range positions {
				if int(p.Offset) > len(w.byPart[p.ID]) {
					return fmt.Errorf("position %d of partition %d, which has %d records", p.Offset, p.ID, len(w.byPart[p.ID]))
				}
				yield(p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expected is what must have been counted at a cut.
func (w *world) expected(m *checkpoint.Manifest) (*tally, error) {
	want := newTally()
	err := w.positions(m, func(p router.Position) {
		for _, in := range w.byPart[p.ID][:p.Offset] {
			want.input(in.Source, in.Input, 1)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, ref := range m.Snapshots {
		for _, kind := range []checkpoint.SectionKind{checkpoint.KindMailbox, checkpoint.KindRecorded, checkpoint.KindQueued} {
			if err := w.sections(m, ref, kind, func(_ checkpoint.Section, body []byte) error { return want.messages(body) }); err != nil {
				return nil, err
			}
		}
		err := w.sections(m, ref, checkpoint.KindReferences, func(_ checkpoint.Section, body []byte) error { return w.segments(m, body, want) })
		if err != nil {
			return nil, err
		}
	}
	return want, nil
}

// segments takes what the messages that are out of memory still cause out of want, each for the task that refers to it.
func (w *world) segments(m *checkpoint.Manifest, body []byte, want *tally) error {
	segments, err := checkpoint.DecodeSegments(body)
	if err != nil {
		return err
	}
	for i := range segments {
		run, err := checkpoint.ReadSegment(context.Background(), w.disk, &segments[i])
		if err != nil {
			return err
		}
		var message functions.Message
		for len(run) > 0 {
			n, err := functions.ParseMessage(run, &message)
			if err != nil {
				return err
			}
			if group := functions.GroupOf(functions.Hash(message.Key), m.KeyGroups); segments[i].From <= group && group < segments[i].To {
				if err := want.messages(run[:n]); err != nil {
					return err
				}
			}
			run = run[n:]
		}
	}
	return nil
}

// messages takes what a run of messages still causes out.
func (t *tally) messages(run []byte) error {
	var message functions.Message
	for len(run) > 0 {
		n, err := functions.ParseMessage(run, &message)
		if err == nil {
			err = t.message(&message)
		}
		if err != nil {
			return fmt.Errorf("message for %q: %q: %w", message.Key, message.Value, err)
		}
		run = run[n:]
	}
	return nil
}
