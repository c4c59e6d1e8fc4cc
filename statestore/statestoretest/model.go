package statestoretest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
)

// agrees runs random histories of writes, reads, seals, expiry and restores on a backend and its twin.
func agrees(t *testing.T, open opener) {
	rapid.Check(t, func(r *rapid.T) {
		m := &model{r: r, open: open, backend: open.open(open.t), twin: NewTwin(), now: 1}
		r.Repeat(map[string]func(*rapid.T){
			"write":   m.write,
			"read":    m.read,
			"seal":    m.seal,
			"wait":    m.wait,
			"restore": m.restore,
			"":        func(*rapid.T) {},
		})
		m.compare()
		if err := m.backend.Close(); err != nil {
			r.Fatal(err)
		}
	})
}

type model struct {
	r       *rapid.T
	open    opener
	backend statestore.Backend
	twin    *Twin
	now     int64
	blocks  [Groups][][]byte // what was sealed, in order
}

// A few keys, states and sizes, so that histories meet.
var (
	modelKeys   = []string{"", "a", "b", "12345678", "123456789", strings.Repeat("k", 16), strings.Repeat("k", 300), "c", "d", "e"}
	modelStates = []uint16{0, 1, 2, 33, 65535}
	modelSizes  = []int{0, 1, 8, 8, 8, 9, 30, 300, 5000, 33_000, 100_000}
)

func (m *model) entry() statestore.Entry {
	e := deleted(rapid.SampledFrom(modelStates).Draw(m.r, "state"), rapid.SampledFrom(modelKeys).Draw(m.r, "key"))
	e.Group = functions.KeyGroup(rapid.IntRange(0, 1).Draw(m.r, "group")) // two groups, so that keys meet
	return e
}

func (m *model) write(*rapid.T) {
	entries := make([]statestore.Entry, rapid.IntRange(1, 70).Draw(m.r, "writes"))
	for i := range entries {
		e := m.entry()
		if e.Present = rapid.IntRange(0, 3).Draw(m.r, "put") > 0; e.Present {
			n := rapid.SampledFrom(modelSizes).Draw(m.r, "size")
			e.Value = bytes.Repeat([]byte{byte('a' + i%26)}, n)
			if rapid.IntRange(0, 3).Draw(m.r, "expires") == 0 {
				e.Expires = m.now + rapid.Int64Range(0, 20).Draw(m.r, "ttl")
			}
		}
		entries[i] = e
	}
	for _, b := range []statestore.Backend{m.backend, m.twin} {
		if err := b.Write(entries); err != nil {
			m.r.Fatal(err)
		}
	}
}

func (m *model) wait(*rapid.T) { m.now += rapid.Int64Range(1, 10).Draw(m.r, "ms") }

func (m *model) read(*rapid.T) { m.compare() }

func (m *model) seal(*rapid.T) {
	sealed := m.backend.Seal()
	m.twin.Seal().Release()
	for _, block := range sealed.Blocks {
		m.blocks[block.Group] = append(m.blocks[block.Group], bytes.Clone(block.Bytes))
		seen := map[string]bool{}
		for e, err := range statestore.Entries(block.Bytes) {
			name := fmt.Sprint(e.State, " ", string(e.Key))
			if err != nil || seen[name] {
				m.r.Fatalf("sealed block: error %v, %.20s twice %v", err, name, seen[name])
			}
			seen[name] = true
		}
	}
	sealed.Release()
}

// restore goes on with a fresh backend, from what was sealed: folded, or as it was.
func (m *model) restore(r *rapid.T) {
	m.seal(r)
	fresh := m.open.open(m.open.t)
	for group, blocks := range m.blocks {
		if len(blocks) > 0 && rapid.Bool().Draw(m.r, "fold") {
			base, err := statestore.Fold(m.now, blocks[0], blocks[1:]...)
			if err != nil {
				m.r.Fatal(err)
			}
			m.blocks[group] = [][]byte{base}
		}
		for _, block := range m.blocks[group] {
			if err := fresh.Load(functions.KeyGroup(group), block); err != nil {
				m.r.Fatal(err)
			}
		}
	}
	if err := m.backend.Close(); err != nil {
		m.r.Fatal(err)
	}
	m.backend = fresh
	m.compare()
}

// compare reads every key of both, and walks the backend.
func (m *model) compare() {
	var got, want []statestore.Entry
	for group := range functions.KeyGroup(2) {
		for _, state := range modelStates {
			for _, key := range modelKeys {
				e := deleted(state, key)
				e.Group = group
				got = append(got, e)
			}
		}
	}
	want = append(want, got...)
	if err := m.backend.Read(m.now, got); err != nil {
		m.r.Fatal(err)
	}
	if err := m.twin.Read(m.now, want); err != nil {
		m.r.Fatal(err)
	}
	alive := 0
	for i := range want {
		g, w := got[i], want[i]
		if g.Present != w.Present || g.Expires != w.Expires || !bytes.Equal(g.Value, w.Value) {
			m.r.Fatalf("at %d state %d of %.20q in group %d: present %v, %d bytes, expires %d; want %v, %d, %d", m.now, g.State,
				g.Key, g.Group, g.Present, len(g.Value), g.Expires, w.Present, len(w.Value), w.Expires)
		}
		if w.Present {
			alive++
		}
	}
	for group := range functions.KeyGroup(2) {
		if err := m.backend.Each(group, m.now, func(statestore.Entry) bool { alive--; return true }); err != nil {
			m.r.Fatal(err)
		}
	}
	if alive != 0 {
		m.r.Fatalf("Each yields %d entries fewer than Read finds", alive)
	}
	m.compareKept()
}

// compareKept holds what the backend says it keeps against its entries, those included that have expired and are not
// reclaimed yet.
func (m *model) compareKept() {
	want := map[uint16]statestore.Kept{}
	for group := range functions.KeyGroup(2) {
		if err := m.backend.Each(group, 0, func(e statestore.Entry) bool {
			kept := want[e.State]
			want[e.State] = statestore.Kept{Keys: kept.Keys + 1, Bytes: kept.Bytes + int64(len(e.Key)+len(e.Value))}
			return true
		}); err != nil {
			m.r.Fatal(err)
		}
	}
	for _, state := range modelStates {
		if got := m.backend.State(state); got != want[state] {
			m.r.Fatalf("state %d keeps %+v; its entries are %+v", state, got, want[state])
		}
	}
}

var _ statestore.Backend = (*Twin)(nil)
