package sim

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// ending is how a process says that the job has ended; no process: nothing new is said.
type ending struct {
	process *process
	state   jobmanager.JobState
}

// tell notes what an operator is told.
func (w *world) tell(p *process, state jobmanager.JobState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = ending{p, state}
}

// atRest checks what an operator was told by the process that runs the job: it is finished or canceled, and all that is
// committed is out. Of a broker that is not the run's own, what came is not known at once. Until somebody wishes otherwise,
// the job stays so.
func (w *world) atRest() {
	w.mu.Lock()
	told := w.told
	w.told = ending{}
	w.mu.Unlock()
	if told.process == nil || told.process != w.front.Load() {
		return
	}
	state, last := told.state, w.manifests.latest
	w.scheduler.note("the job is %s", state)
	w.resting = true
	switch {
	case last == nil, w.options.Broker != nil:
		return
	case state == jobmanager.Finished:
		// Exactly-once output is judged at the end of the run. What a broker has not acknowledged of the rest when a job is
		// canceled is in its last checkpoint, and goes out when it runs again.
		if !w.copied() {
			w.violate("rest", "the job is %s behind manifest %d, and copies are missing", state, last.Number)
		}
		return
	case !last.Final && len(w.processes) > 1: // one that was left behind has taken the job back
		return
	}
	values, err := w.state(last)
	if err != nil {
		w.violate("rest", "manifest %d: %v", last.Number, err)
		return
	}
	var dictionary functions.Dictionary
	dictionary = dictionary.Extend(w.job(1, 1))
	counted := map[byte]int{}
	for k, value := range values {
		if int(k.state) < len(dictionary.States) && dictionary.States[k.state].State == "count" && len(value) == 8 {
			counted[k.key[0]] += int(binary.LittleEndian.Uint64(value))
		}
	}
	for i, topic := range []string{workload.Effects, workload.Acks} {
		letter := "cs"[i]
		if n := w.count(topic); n != counted[letter] {
			w.violate("rest", "the job is %s behind manifest %d with %d records in %s, and %d are committed", state, last.Number, n, topic, counted[letter])
		}
	}
}

// owing says that an epoch is committed whose output is not known to be out.
func (w *world) owing() bool {
	m := w.manifests.latest
	return m != nil && slices.ContainsFunc(m.Lanes, func(l checkpoint.Lane) bool { return len(l.Outboxes) > 0 })
}

// copied says that of every effect that came there is a copy.
func (w *world) copied() bool {
	if !w.plan.copies {
		return true
	}
	copies := map[Record]bool{}
	for _, partition := range w.records(Copies) {
		for _, r := range partition {
			copies[r] = true
		}
	}
	for _, partition := range w.records(workload.Effects) {
		for _, r := range partition {
			if !copies[r] {
				return false
			}
		}
	}
	return true
}

// judgeCopies compares at-least-once output with the effects, which were found good: there is a copy of each, in the order
// of each key, between which others may come again; and nothing else is there, except what a crash has taken back and
// another run of the same input has made anew.
func (w *world) judgeCopies() {
	if !w.plan.copies {
		return
	}
	caused := map[string]map[workload.Token]bool{}
	effects := map[string][]string{}
	for _, partition := range w.records(workload.Effects) {
		for _, r := range partition {
			effects[r.Key] = append(effects[r.Key], r.Value)
			if caused[r.Key] == nil {
				caused[r.Key] = map[workload.Token]bool{}
			}
			output, err := workload.ParseOutput(r.Value)
			if err != nil {
				w.violate("copies", "effect %q: %v", r.Value, err)
				return
			}
			caused[r.Key][output.Token] = true
		}
	}
	for _, partition := range w.records(Copies) {
		for _, r := range partition {
			if output, err := workload.ParseOutput(r.Value); err != nil || !caused[r.Key][output.Token] {
				w.violate("copies", "copy %q at %s is of no effect (%v)", r.Value, r.Key, err)
			}
			if next := effects[r.Key]; len(next) > 0 && next[0] == r.Value {
				effects[r.Key] = next[1:]
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(effects)) {
		if missing := effects[key]; len(missing) > 0 {
			w.violate("copies", "copy %q at %s is lost, or out of order", missing[0], key)
		}
	}
}
