package sim

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// manifests is the log of the run's job as it has become durable, with what must hold of it.
type manifests struct {
	world *world

	mu     sync.Mutex // guards what follows; a leaf
	number map[uint64]*checkpoint.Manifest
	latest *checkpoint.Manifest
}

// wrote says that a manifest has become durable.
func (l *manifests) wrote(number uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.number[number] != nil
}

func (l *manifests) get(number uint64) *checkpoint.Manifest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.number[number]
}

// written checks a file that has become durable: if it is a manifest, it follows the last, it names only what is durable, and
// what it names is a consistent cut.
func (l *manifests) written(name string, content []byte) {
	if !strings.Contains(name, "/manifest-") {
		return
	}
	w := l.world
	m, err := checkpoint.DecodeManifest(content)
	if err != nil {
		w.violate("log", "%s: %v", name, err)
		return
	}
	last := l.latest
	l.mu.Lock()
	if l.number == nil || last != nil && last.UID != m.UID { // the first deployment failed, and left nothing
		l.number, last = map[uint64]*checkpoint.Manifest{}, nil
	}
	taken := l.number[m.Number] != nil
	if !taken {
		l.number[m.Number] = m
	}
	l.mu.Unlock()
	switch {
	case taken: // by a process that was left behind, when the first was swept: nothing may come of it, see completes
		return
	case last == nil:
	case m.Number != last.Number+1:
		w.violate("log", "number %d follows %d", m.Number, last.Number)
		return
	case m.Term < last.Term, m.Attempt < last.Attempt:
		w.violate("log", "manifest %d of term %d, attempt %d follows term %d, attempt %d", m.Number, m.Term, m.Attempt, last.Term, last.Attempt)
		return
	}
	l.latest = m
	if m.Epoch {
		w.epochs++
		if w.resting && len(w.processes) == 1 { // one that is left behind may take the job back, until there is an election
			w.violate("rest", "manifest %d commits an epoch, and the job is at rest", m.Number)
		}
	}
	if last != nil && len(m.Bases) > 0 && (len(last.Bases) == 0 || last.Bases[0].Name != m.Bases[0].Name) {
		w.folds++
	}
	for _, ref := range m.Files() {
		if !w.disk.isDurable(ref.Name) {
			w.violate("durable", "manifest %d names %s, which is not durable", m.Number, ref.Name)
			return
		}
	}
	if m.Epoch || m.Final {
		if err := w.consistent(m); err != nil {
			w.violate("cut", "manifest %d: %v", m.Number, err)
		}
	}
}

// completes checks that an epoch is completed for the attempt whose manifest has its number: the first that had it.
func (l *manifests) completes(c *wire.Complete) {
	if m := l.get(c.Number); m == nil || m.UID != c.Job || m.Attempt != c.Attempt.Attempt {
		l.world.violate("log", "epoch %d is completed for attempt %d, and its manifest is %+v", c.Number, c.Attempt.Attempt, m)
	}
}

// deleted checks that nothing goes that a manifest still names.
func (l *manifests) deleted(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.latest == nil || strings.Contains(name, "/manifest-") {
		return
	}
	for _, ref := range l.latest.Files() {
		if ref.Name == name {
			l.world.violate("retention", "%s is deleted, and manifest %d names it", name, l.latest.Number)
		}
	}
}

// leaves checks an outbox that is about to become visible: it is committed, and whoever publishes it still holds its lane.
func (w *world) leaves(l *lane, number uint64) {
	if w.logs.newest[l.id] != l {
		w.violate("fence", "epoch %d leaves through lane %s, which somebody else has taken over", number, l.id)
	}
	if number == 0 {
		return
	}
	m := w.manifests.get(number)
	if m == nil {
		// The file may have become durable in this very step.
		w.disk.look()
		m = w.manifests.get(number)
	}
	if m == nil {
		w.violate("commit", "epoch %d leaves through lane %s before its manifest is durable", number, l.id)
		return
	}
	for i := range m.Lanes {
		for _, outbox := range m.Lanes[i].Outboxes {
			if m.Lanes[i].ID == l.id && outbox.Number == number {
				return
			}
		}
	}
	w.violate("commit", "epoch %d leaves through lane %s, and its manifest names no such outbox", number, l.id)
}

// state is what a manifest's files make of every key: the last value of each state.
func (w *world) state(m *checkpoint.Manifest) (map[stateKey][]byte, error) {
	values := map[stateKey][]byte{}
	for _, part := range []struct {
		kind checkpoint.SectionKind
		refs []checkpoint.FileRef
	}{{checkpoint.KindBase, m.Bases}, {checkpoint.KindDelta, m.Deltas}} {
		for _, ref := range part.refs {
			if err := w.sections(m, ref, part.kind, func(_ checkpoint.Section, body []byte) error { return apply(values, body) }); err != nil {
				return nil, err
			}
		}
	}
	return values, nil
}

// sections calls do with every section of a kind in a file that a manifest names.
func (w *world) sections(m *checkpoint.Manifest, ref checkpoint.FileRef, kind checkpoint.SectionKind, do func(checkpoint.Section, []byte) error) error {
	file, err := checkpoint.OpenSnapshot(context.Background(), m.Over(w.disk), ref)
	if err != nil {
		return err
	}
	for _, section := range file.Sections() {
		if section.Kind != kind {
			continue
		}
		body, err := file.Read(section)
		if err == nil {
			err = do(section, body)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", ref.Name, err)
		}
	}
	return file.Close()
}
