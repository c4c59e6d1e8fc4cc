// Package memory is the default backend of keyed state: every entry in memory, flat and outside the Go heap, and the
// delta of an epoch written as entries change.
//
// It hides the layout: one table per key group, made when the group has its first entry; an index of 8-byte slots, a
// slab of packed entries, and the epoch's block (index.go, slab.go, delta.go), all in blocks of one arena that is mapped
// from the operating system (arena.go; on the Go heap under the race detector). A small key of 16 bytes with a value of
// 8 takes 50 to 60 bytes, all in. Its invariant is that every change since the last Seal has exactly one live record in
// its group's block, so that sealing hands blocks over and touches no entry. The backend owns all memory; sealed blocks
// are the holder's until released. It is not durable, and no cache: what does not fit is ErrFull.
//
// Hashes come from the caller and can be predicted, so keys can be chosen to collide: a table that meets a run of more
// than 1024 slots hashes with a random seed of its own from then on.
package memory

import (
	"fmt"
	"slices"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
)

const (
	// DefaultMaxBytes stops a key space that grows without bound before it takes a usual machine with it.
	DefaultMaxBytes = 16 << 30
	// window is how many entries of a batch are looked up together, so that their cache misses overlap: as many as a
	// usual batch has.
	window = 64
	// maxSeen bounds what is kept of a Read for the Write that follows it: a usual batch of a function with four states.
	maxSeen = 4 * window
)

// Config of a backend. The zero value is a task that owns all of the default key groups.
type Config struct {
	From, To functions.KeyGroup // the groups owned, half open; both 0 is [0, functions.DefaultKeyGroups)
	MaxBytes int64              // limit of memory, overhead and deltas included; 0 is DefaultMaxBytes
}

// Backend implements statestore.Backend.
type Backend struct {
	arena  *arena
	from   functions.KeyGroup
	tables []*table    // by group; nil while a group is empty
	dirty  []*table    // with a block for this epoch
	now    int64       // the latest time that a Read has told
	sink   uint64      // keeps the loads that warm the cache
	seen   []candidate // of the last Read, in its order, for the Write that follows it
}

// New returns an empty backend. It takes no memory before the first write.
func New(cfg Config) *Backend {
	if cfg.From == 0 && cfg.To == 0 {
		cfg.To = functions.DefaultKeyGroups
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	return &Backend{arena: newArena(cfg.MaxBytes), from: cfg.From, tables: make([]*table, cfg.To-cfg.From)}
}

// Load applies a block; see statestore.Backend.
func (b *Backend) Load(group functions.KeyGroup, block []byte) error {
	of, count, err := statestore.ReadBlockHeader(block)
	if err != nil {
		return fmt.Errorf("load key group %d: %w", group, err)
	}
	if of != group {
		return fmt.Errorf("load key group %d: %w: a block of key group %d", group, statestore.ErrBlock, of)
	}
	if count == 0 {
		return nil
	}
	t, err := b.table(group)
	if err != nil {
		return err
	}
	if t.used == 0 {
		if err := t.index.resize(b.arena, count); err != nil {
			return fmt.Errorf("load key group %d: %w", group, err)
		}
	}
	for e, err := range statestore.Entries(block) {
		if err == nil {
			err = t.load(&e)
		}
		if err != nil {
			return fmt.Errorf("load key group %d: %w", group, err)
		}
	}
	return nil
}

func (t *table) load(e *statestore.Entry) error {
	if e.Present {
		_, err := t.put(e)
		return err
	}
	if at, ref := t.find(e, t.tag(e.State, e.Key, e.Hash)); ref != 0 {
		return t.remove(at)
	}
	return nil
}

// table is the table of a group, made if it is missing.
func (b *Backend) table(group functions.KeyGroup) (*table, error) {
	t, err := b.place(group)
	if err != nil {
		return nil, err
	}
	if *t == nil {
		*t = newTable(b.arena, group)
	}
	return *t, nil
}

// place is where the table of a group is, or belongs.
func (b *Backend) place(group functions.KeyGroup) (**table, error) {
	if group < b.from || int(group-b.from) >= len(b.tables) {
		return nil, fmt.Errorf("key group %d is not of this task: it has %d to %d", group, b.from, int(b.from)+len(b.tables)-1)
	}
	return &b.tables[group-b.from], nil
}

// Read looks entries up; see statestore.Backend.
func (b *Backend) Read(now int64, entries []statestore.Entry) error {
	b.now = max(b.now, now)
	b.seen = b.seen[:0]
	for len(entries) > 0 {
		n := min(window, len(entries))
		found := b.look(entries[:n])
		for i := range entries[:n] {
			e := &entries[i]
			ref := uint32(0)
			if t := found[i].table; t != nil {
				if ref = found[i].ref; ref == 0 || !t.holds(ref, e) {
					_, ref = t.find(e, t.tag(e.State, e.Key, e.Hash))
					found[i].ref = ref
				}
			} else if _, err := b.place(e.Group); err != nil {
				return err
			}
			e.Present, e.Expires, e.Value = false, 0, nil
			if ref != 0 {
				found[i].table.read(ref, now, e)
			}
		}
		entries = entries[n:]
	}
	return nil
}

// candidate is the entry that a state and key seem to have, before the key's bytes were compared; ref is 0 when there is
// none.
type candidate struct {
	hash  uint64
	table *table // nil when the group is empty, or another task's
	ref   uint32
	frees uint32 // the table's, when ref was found: while they are the same ref is an entry
	group functions.KeyGroup
	state uint16
}

func (c *candidate) is(e *statestore.Entry) bool {
	return c.hash == e.Hash && c.group == e.Group && c.state == e.State
}

// look finds the candidates of a window and loads what is read next: first all slots, then all entries, each with where
// its value begins, so that the processor waits for many at once. BenchmarkUpdate10M pays for it: with one entry after the
// other it takes twice as long. The candidates are valid until the next look.
func (b *Backend) look(entries []statestore.Entry) []candidate {
	if len(b.seen)+len(entries) > maxSeen {
		b.seen = b.seen[:0]
	}
	from := len(b.seen)
	b.seen = slices.Grow(b.seen, len(entries))[:from+len(entries)]
	found := b.seen[from:]
	sum := uint64(0)
	for i := range entries {
		e, c := &entries[i], &found[i]
		*c = candidate{hash: e.Hash, group: e.Group, state: e.State}
		at := int(e.Group) - int(b.from)
		if at < 0 || at >= len(b.tables) || b.tables[at] == nil {
			continue
		}
		t := b.tables[at]
		c.table, c.frees = t, t.frees
		if t.seed == nil && len(t.slots) > 0 {
			sum += t.slots[t.home(uint32(e.Hash>>32))]
		}
	}
	for i := range found {
		if t := found[i].table; t != nil && t.seed == nil && len(t.slots) > 0 {
			found[i].ref = t.first(t.tag(found[i].state, nil, found[i].hash))
		}
	}
	for i := range found {
		if ref := found[i].ref; ref != 0 {
			p := found[i].table.at(ref)
			sum += uint64(p[0]) + uint64(p[min(entryBytes+len(entries[i].Key), len(p)-1)])
		}
	}
	b.sink += sum
	return found
}

// Write applies changes; see statestore.Backend. For entries of the last Read, in its order, it takes what that found
// instead of looking again, which is a tenth of BenchmarkTurn1M.
func (b *Backend) Write(entries []statestore.Entry) error {
	seen := b.seen
	for len(entries) > 0 {
		e := &entries[0]
		for len(seen) > 0 && !seen[0].is(e) {
			seen = seen[1:]
		}
		if len(seen) == 0 {
			b.seen = b.seen[:0]
			seen = b.look(entries[:min(window, len(entries))])
		}
		if err := b.write(e, &seen[0]); err != nil {
			return fmt.Errorf("write state %d of key group %d: %w", e.State, e.Group, err)
		}
		entries, seen = entries[1:], seen[1:]
	}
	b.seen = b.seen[:0]
	return nil
}

func (b *Backend) write(e *statestore.Entry, found *candidate) error {
	if len(e.Key) > statestore.MaxKeyBytes || len(e.Value) > statestore.MaxValueBytes {
		return fmt.Errorf("key of %d and value of %d bytes exceed %d and %d", len(e.Key), len(e.Value),
			statestore.MaxKeyBytes, statestore.MaxValueBytes)
	}
	t := found.table
	if t == nil {
		var err error
		if t, err = b.table(e.Group); err != nil {
			return err
		}
	}
	if t.block == nil {
		if err := t.begin(); err != nil {
			return err
		}
		b.dirty = append(b.dirty, t)
	}
	if !e.Present {
		return t.delete(e)
	}
	if found.ref != 0 && found.frees == t.frees && t.holds(found.ref, e) {
		if p := t.at(found.ref); t.overwrite(p, e) {
			return t.record(p, e)
		}
	}
	used := t.used
	p, err := t.put(e)
	if err != nil {
		return err
	}
	if err := t.record(p, e); err != nil {
		return err
	}
	if t.used > used && t.expiring > 0 {
		return t.sweep(b.now)
	}
	return nil
}

// delete makes an entry absent. It leaves the table after the epoch, when its record in the delta is sealed.
func (t *table) delete(e *statestore.Entry) error {
	tag := t.tag(e.State, e.Key, e.Hash)
	_, ref := t.find(e, tag)
	if ref == 0 || flagsOf(t.at(ref))&flagAbsent != 0 {
		return nil
	}
	p := t.at(ref)
	t.keep(flagsOf(p), e.State, len(e.Key), len(t.value(p)), -1)
	t.dropLarge(p)
	setFlags(p, flagsOf(p)|flagAbsent)
	t.deleted = append(t.deleted, tag)
	return t.record(p, e)
}

// Seal ends the epoch; see statestore.Backend.
func (b *Backend) Seal() statestore.Sealed {
	if len(b.dirty) == 0 {
		return statestore.Sealed{Release: func() {}}
	}
	blocks := make([]statestore.Block, 0, len(b.dirty))
	taken := make([][]byte, 0, len(b.dirty))
	for _, t := range b.dirty {
		block := t.block
		if t.count == 0 {
			t.block = nil
			b.arena.put(block)
			continue
		}
		taken = append(taken, block)
		blocks = append(blocks, t.seal())
	}
	b.dirty = b.dirty[:0]
	slices.SortFunc(blocks, func(x, y statestore.Block) int { return int(x.Group) - int(y.Group) })
	a := b.arena
	a.hold()
	return statestore.Sealed{Blocks: blocks, Release: func() {
		for _, block := range taken {
			a.put(block)
		}
		// An error of giving memory back is Close's to report: nobody waits here.
		_ = a.release()
	}}
}

// Each walks a key group; see statestore.Backend.
func (b *Backend) Each(group functions.KeyGroup, now int64, yield func(statestore.Entry) bool) error {
	t, err := b.place(group)
	if err == nil && *t != nil {
		(*t).each(now, yield)
	}
	return err
}

// Stats counts entries that have expired until they are reclaimed.
func (b *Backend) Stats() statestore.Stats {
	s := statestore.Stats{Bytes: b.arena.bytes()}
	for _, t := range b.tables {
		if t != nil {
			s.Keys += int64(t.live)
		}
	}
	for _, t := range b.dirty {
		s.DeltaBytes += int64(t.written)
	}
	return s
}

// State counts entries that have expired until they are reclaimed.
func (b *Backend) State(state uint16) (sum statestore.Kept) {
	for _, t := range b.tables {
		if t == nil {
			continue
		}
		for i := range t.kept {
			if t.kept[i].state == state {
				sum.Keys += t.kept[i].Keys
				sum.Bytes += t.kept[i].Bytes
			}
		}
	}
	return sum
}

// Close frees everything but sealed blocks, which go when they are released.
func (b *Backend) Close() error {
	b.tables, b.dirty, b.seen = nil, nil, nil
	return b.arena.release()
}
