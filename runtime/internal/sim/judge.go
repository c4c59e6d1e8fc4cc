package sim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

// judge compares the whole history with what its inputs cause, by the checker of the e2e proof.
func (w *world) judge() {
	h, err := w.history()
	if err != nil {
		w.violate("history", "%v", err)
		return
	}
	if verdict := history.Check(h); !verdict.Good() {
		w.violate("history", "lost %d, doubled %d, out of order %d, %v: %v", verdict.Lost, verdict.Doubled, verdict.OutOfOrder, &verdict, verdict.Details)
	}
	w.judgeCopies()
}

// history is the run as seen from outside, with the state of its last manifest.
func (w *world) history() (*history.History, error) {
	h := &history.History{Inputs: w.inputs, Sources: map[uint16]history.Source{}, Counters: map[uint16]history.Counter{}}
	for topic, to := range map[string]*[]history.Received{workload.Effects: &h.Effects, workload.Acks: &h.Acks} {
		letter := byte('c')
		if topic == workload.Acks {
			letter = 's'
		}
		for _, partition := range w.records(topic) {
			for _, r := range partition {
				at, err := workload.ParseKey(r.Key, letter)
				if err != nil {
					return nil, fmt.Errorf("key %q in %s: %w", r.Key, topic, err)
				}
				output, err := workload.ParseOutput(r.Value)
				if err != nil {
					return nil, fmt.Errorf("record %q in %s: %w", r.Value, topic, err)
				}
				*to = append(*to, history.Received{At: at, Output: output})
			}
		}
	}
	w.mu.Lock()
	for _, c := range w.calls {
		h.Calls = append(h.Calls, c.Call)
	}
	w.mu.Unlock()
	return h, w.finalState(h)
}

func (w *world) finalState(h *history.History) error {
	values, err := w.state(w.manifests.latest)
	if err != nil {
		return err
	}
	var dictionary functions.Dictionary
	dictionary = dictionary.Extend(w.job(1, 1))
	for k, value := range values {
		if int(k.state) >= len(dictionary.States) || len(value) != 8 {
			continue // answers that are kept
		}
		n := int64(binary.LittleEndian.Uint64(value))
		name := dictionary.States[k.state].State
		if id, err := workload.ParseKey(k.key, 's'); err == nil {
			s := h.Sources[id]
			*map[string]*int64{"count": &s.Count, "sent": &s.Sent, "seq": &s.Seq}[name] = n
			h.Sources[id] = s
		} else if id, err := workload.ParseKey(k.key, 'c'); err == nil {
			c := h.Counters[id]
			*map[string]*int64{"count": &c.Count, "sent": &c.Sent}[name] = n
			h.Counters[id] = c
		}
	}
	return nil
}

// result sums a run up.
func (w *world) result(seed uint64) *Result {
	r := &Result{
		Seed: seed, Workload: w.options.Workload, Generation: w.options.Generation, Plan: w.plan.String(), Steps: w.scheduler.steps, Trace: w.scheduler.trace.Sum64(), Last: w.last,
		Epochs: w.epochs, Folds: w.folds, Stale: w.lateFrames,
	}
	w.mu.Lock()
	r.Check, r.Violation = w.check, w.found
	w.mu.Unlock()
	if w.manifests.latest == nil {
		return r
	}
	h, err := w.history()
	if err != nil {
		return r
	}
	r.History, r.State, r.Output = h, stateHash(h), outputHash(h)
	return r
}

// stateHash is the same for two histories whose keys hold the same.
func stateHash(h *history.History) uint64 {
	var lines []string
	for id, s := range h.Sources {
		lines = append(lines, fmt.Sprint("s", id, s))
	}
	for id, c := range h.Counters {
		lines = append(lines, fmt.Sprint("c", id, c))
	}
	return hashOf(lines)
}

// outputHash is the same for two histories in which every key has put out the same. In which order messages of several
// senders came to a key is nobody's promise, so a key's running numbers are left out.
func outputHash(h *history.History) uint64 {
	var lines []string
	for i, records := range [][]history.Received{h.Effects, h.Acks} {
		for _, r := range records {
			lines = append(lines, fmt.Sprint(i, r.At, r.Token, r.Hops, r.From))
		}
	}
	return hashOf(lines)
}

func hashOf(lines []string) uint64 {
	slices.Sort(lines)
	h := fnv.New64a()
	for _, line := range lines {
		fmt.Fprintln(h, line) // a hash never fails
	}
	return h.Sum64()
}
