// Package statestoretest is what every statestore.Backend passes unchanged: Run, a conformance suite of named promises,
// and a model test that holds a backend against Twin, a slow and obvious one, on random histories.
//
// It hides nothing and owns nothing; a backend under test is made, used and closed by the tests.
package statestoretest

import (
	"bytes"
	"fmt"
	"sort"
	"sync"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
)

// Twin is the obvious backend: a Go map of copies, and a map of changes. It is the reference of what Read returns.
type Twin struct {
	loading sync.Mutex // guards entries during Load, which may run for several groups at once
	entries map[twinKey]statestore.Entry
	changed map[twinKey]bool
}

type twinKey struct {
	group functions.KeyGroup
	state uint16
	key   string
}

// NewTwin returns an empty backend that owns every key group.
func NewTwin() *Twin {
	return &Twin{entries: map[twinKey]statestore.Entry{}, changed: map[twinKey]bool{}}
}

func keyOf(e *statestore.Entry) twinKey { return twinKey{e.Group, e.State, string(e.Key)} }

// Load applies a block.
func (w *Twin) Load(group functions.KeyGroup, block []byte) error {
	w.loading.Lock()
	defer w.loading.Unlock()
	for e, err := range statestore.Entries(block) {
		if err != nil {
			return err
		}
		if e.Group != group {
			return fmt.Errorf("%w: a block of key group %d", statestore.ErrBlock, e.Group)
		}
		w.set(e)
	}
	return nil
}

func (w *Twin) set(e statestore.Entry) {
	if !e.Present {
		delete(w.entries, keyOf(&e))
		return
	}
	e.Key, e.Value = bytes.Clone(e.Key), append([]byte{}, e.Value...)
	w.entries[keyOf(&e)] = e
}

// Read looks entries up.
func (w *Twin) Read(now int64, entries []statestore.Entry) error {
	for i := range entries {
		e := &entries[i]
		found, ok := w.entries[keyOf(e)]
		e.Present, e.Value, e.Expires = false, nil, 0
		if ok && alive(found, now) {
			e.Present, e.Value, e.Expires = true, found.Value, found.Expires
		}
	}
	return nil
}

func alive(e statestore.Entry, now int64) bool { return e.Expires == 0 || e.Expires > now }

// Write applies changes.
func (w *Twin) Write(entries []statestore.Entry) error {
	for _, e := range entries {
		if len(e.Key) > statestore.MaxKeyBytes || len(e.Value) > statestore.MaxValueBytes {
			return fmt.Errorf("key of %d and value of %d bytes are too large", len(e.Key), len(e.Value))
		}
		if _, had := w.entries[keyOf(&e)]; e.Present || had {
			w.changed[keyOf(&e)] = true
		}
		w.set(e)
	}
	return nil
}

// Seal copies what changed.
func (w *Twin) Seal() statestore.Sealed {
	groups := map[functions.KeyGroup]*statestore.BlockWriter{}
	for key := range w.changed {
		if groups[key.group] == nil {
			groups[key.group] = statestore.NewBlockWriter(key.group, nil)
		}
		e, ok := w.entries[key]
		if !ok {
			e = statestore.Entry{Group: key.group, State: key.state, Key: []byte(key.key)}
		}
		groups[key.group].Add(&e)
	}
	w.changed = map[twinKey]bool{}
	sealed := statestore.Sealed{Release: func() {}}
	for group, block := range groups {
		sealed.Blocks = append(sealed.Blocks, statestore.Block{Group: group, Bytes: block.Bytes()})
	}
	sort.Slice(sealed.Blocks, func(i, j int) bool { return sealed.Blocks[i].Group < sealed.Blocks[j].Group })
	return sealed
}

// Each walks a key group.
func (w *Twin) Each(group functions.KeyGroup, now int64, yield func(statestore.Entry) bool) error {
	for _, e := range w.entries {
		if e.Group == group && alive(e, now) && !yield(e) {
			break
		}
	}
	return nil
}

// Stats counts entries and the bytes of keys and values.
func (w *Twin) Stats() statestore.Stats {
	s := statestore.Stats{Keys: int64(len(w.entries))}
	for _, e := range w.entries {
		s.Bytes += int64(len(e.Key) + len(e.Value))
	}
	for key := range w.changed {
		s.DeltaBytes += int64(len(key.key))
	}
	return s
}

// State counts the entries of one state.
func (w *Twin) State(state uint16) (sum statestore.Kept) {
	for key, e := range w.entries {
		if key.state == state {
			sum.Keys++
			sum.Bytes += int64(len(e.Key) + len(e.Value))
		}
	}
	return sum
}

// Close has nothing to free.
func (w *Twin) Close() error { return nil }
