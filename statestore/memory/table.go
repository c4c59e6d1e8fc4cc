package memory

import (
	"encoding/binary"
	"hash/maphash"
	"slices"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
)

const (
	// sweepSlots is how many slots an insert looks at for expired entries, in tables that have any which expire: two,
	// so that the hand comes round before as many entries as the table holds are added.
	sweepSlots = 2
	// minCompactBytes keeps small tables from compacting, which would save little.
	minCompactBytes = 64 << 10
)

// table holds the entries of one key group. Every entry has one slot; entries of several states with one key share its
// bytes. Only the task's goroutine uses it, or one that loads.
type table struct {
	index
	slab
	delta
	arena    *arena
	group    functions.KeyGroup
	seed     *maphash.Seed // nil until chosen keys were suspected
	live     int
	kept     []keptState // of live entries
	lastKept int         // the one looked at last: most changes in a row are of one state
	expiring int         // entries with an expiry, absent ones included
	hand     int
	large    [][]byte
	spare    []uint32 // unused numbers of large values
}

func newTable(a *arena, group functions.KeyGroup) *table {
	t := &table{arena: a, group: group}
	t.base = 1
	return t
}

// tag is what an index knows of a state and key.
func (t *table) tag(state uint16, key []byte, hash uint64) uint32 {
	if t.seed != nil {
		hash = maphash.Bytes(*t.seed, key)
	}
	return uint32(hash>>32)&^stateMask | uint32(state)&stateMask
}

// key is the key of an entry.
func (t *table) key(p []byte) []byte {
	n := keyLenOf(p)
	if flagsOf(p)&flagKeyRef != 0 {
		p = t.at(keyRefOf(p))
	}
	return p[entryBytes : entryBytes+n : entryBytes+n]
}

// find returns the slot and reference of an entry, absent ones included; the reference is 0 when there is none.
func (t *table) find(e *statestore.Entry, tag uint32) (at int, ref uint32) {
	if len(t.slots) == 0 {
		return 0, 0
	}
	mask := t.mask()
	for at = t.home(tag); ; at = (at + 1) & mask {
		slot := t.slots[at]
		if slot == 0 {
			return at, 0
		}
		if uint32(slot>>32) != tag {
			continue
		}
		if t.holds(uint32(slot), e) {
			return at, uint32(slot)
		}
	}
}

// holds tells that ref is the entry of e's state and key.
func (t *table) holds(ref uint32, e *statestore.Entry) bool {
	p := t.at(ref)
	return stateOf(p) == e.State && keyLenOf(p) == len(e.Key) && string(t.key(p)) == string(e.Key)
}

// read fills e with views of an entry that is alive at now.
func (t *table) read(ref uint32, now int64, e *statestore.Entry) {
	p := t.at(ref)
	flags := flagsOf(p)
	if flags&flagAbsent != 0 {
		return
	}
	if flags&flagExpires != 0 {
		if expires := expiresOf(p); expires > now {
			e.Present, e.Expires, e.Value = true, expires, t.value(p)
		}
		return
	}
	e.Present, e.Value = true, t.value(p)
}

func (t *table) value(p []byte) []byte {
	v := inline(p)
	if flagsOf(p)&flagLarge != 0 {
		return t.large[binary.LittleEndian.Uint32(v)]
	}
	return v
}

// put writes a present entry and returns where it stands.
func (t *table) put(e *statestore.Entry) ([]byte, error) {
	at, ref := t.find(e, t.tag(e.State, e.Key, e.Hash))
	if ref == 0 {
		return t.insert(e)
	}
	if p := t.at(ref); t.overwrite(p, e) {
		return p, nil
	}
	return t.update(at, ref, e)
}

// keep counts an entry in or out, by its flags: absent ones are not counted.
func (t *table) keep(flags, state uint16, keyBytes, valueBytes, sign int) {
	if flags&flagAbsent != 0 {
		return
	}
	t.live += sign
	kept := t.keptOf(state)
	kept.Keys += int64(sign)
	kept.Bytes += int64(sign * (keyBytes + valueBytes))
}

// keptState is what a table holds of one state. There are few of them, and their ids are not dense.
type keptState struct {
	state uint16
	statestore.Kept
}

func (t *table) keptOf(state uint16) *statestore.Kept {
	if t.lastKept >= len(t.kept) || t.kept[t.lastKept].state != state {
		t.lastKept = slices.IndexFunc(t.kept, func(k keptState) bool { return k.state == state })
		if t.lastKept < 0 {
			t.lastKept = len(t.kept)
			t.kept = append(t.kept, keptState{state: state})
		}
	}
	return &t.kept[t.lastKept].Kept
}

// overwrite replaces a plain value by one of the same size, if it is that.
func (t *table) overwrite(p []byte, e *statestore.Entry) bool {
	if flagsOf(p)&(flagExpires|flagLarge|flagAbsent) != 0 || e.Expires != 0 || valueLenOf(p) != len(e.Value) {
		return false
	}
	copy(p[afterKey(p):], e.Value)
	return true
}

// update gives an entry another value, in place if its class stays.
func (t *table) update(at int, ref uint32, e *statestore.Entry) ([]byte, error) {
	p := t.at(ref)
	before := flagsOf(p)
	t.keep(before, e.State, len(e.Key), len(t.value(p)), -1)
	t.dropLarge(p)
	class, _ := classOf(sizeOf(p))
	flags := before&(flagKeyRef|flagShared) | shape(e)
	size := afterKey(p) + valueBytes(e)
	if after, _ := classOf(size); after != class {
		moved, err := t.slab.take(t.arena, size)
		if err != nil {
			return nil, err
		}
		p = t.at(ref)
		q := t.at(moved)
		copy(q[:afterKey(p)], p)
		if flags&flagShared != 0 {
			t.repoint(t.slots[at], ref, moved)
		}
		t.slots[at] = slotOf(uint32(t.slots[at]>>32), moved)
		t.slab.put(ref, sizeOf(p))
		p = q
	}
	t.expiring += int(flags&flagExpires) - int(before&flagExpires)
	setFlags(p, flags)
	t.keep(flags, e.State, len(e.Key), len(e.Value), 1)
	return p, t.setValue(p, e)
}

// shape is the flags that an entry has for its value, and valueBytes what its value and expiry take in the slab.
func shape(e *statestore.Entry) (flags uint16) {
	if e.Expires != 0 {
		flags |= flagExpires
	}
	if len(e.Value) > maxInlineBytes {
		flags |= flagLarge
	}
	return flags
}

func valueBytes(e *statestore.Entry) int {
	n := len(e.Value)
	if n > maxInlineBytes {
		n = largeIDBytes
	}
	if e.Expires != 0 {
		n += expiresBytes
	}
	return n
}

// setValue writes expiry and value to an entry whose flags are those of e and whose size suffices.
func (t *table) setValue(p []byte, e *statestore.Entry) error {
	at := afterKey(p)
	if e.Expires != 0 {
		binary.LittleEndian.PutUint64(p[at:], uint64(e.Expires))
		at += expiresBytes
	}
	if len(e.Value) <= maxInlineBytes {
		setValueLen(p, len(e.Value))
		copy(p[at:], e.Value)
		return nil
	}
	block, err := t.arena.take(len(e.Value))
	if err != nil {
		return err
	}
	block = block[:copy(block, e.Value)]
	id := uint32(len(t.large))
	if n := len(t.spare); n > 0 {
		id, t.spare = t.spare[n-1], t.spare[:n-1]
		t.large[id] = block
	} else {
		t.large = append(t.large, block)
	}
	setValueLen(p, largeIDBytes)
	binary.LittleEndian.PutUint32(p[at:], id)
	return nil
}

// dropLarge frees an entry's large value; what stands in the entry for it means nothing from then on.
func (t *table) dropLarge(p []byte) {
	if flagsOf(p)&flagLarge == 0 {
		return
	}
	id := binary.LittleEndian.Uint32(inline(p))
	t.arena.put(t.large[id])
	t.large[id] = nil
	t.spare = append(t.spare, id)
	setFlags(p, flagsOf(p)&^flagLarge)
}

// insert adds an entry that is not in the table.
func (t *table) insert(e *statestore.Entry) ([]byte, error) {
	if t.index.full() {
		if err := t.index.resize(t.arena, max(2*t.used, t.used+1)); err != nil {
			return nil, err
		}
	}
	at, tag, owner := t.place(e)
	key := len(e.Key)
	flags := shape(e)
	if owner != 0 {
		key, flags = keyRefBytes, flags|flagKeyRef
	}
	ref, err := t.slab.take(t.arena, entryBytes+key+valueBytes(e))
	if err != nil {
		return nil, err
	}
	p := t.at(ref)
	setMark(p, 0)
	binary.LittleEndian.PutUint16(p[4:], e.State)
	binary.LittleEndian.PutUint16(p[6:], uint16(len(e.Key)))
	setFlags(p, flags)
	if owner != 0 {
		setKeyRef(p, owner)
		shared := t.at(owner)
		setFlags(shared, flagsOf(shared)|flagShared)
	} else {
		copy(p[entryBytes:], e.Key)
	}
	t.slots[at] = slotOf(tag, ref)
	t.used++
	t.keep(flags, e.State, len(e.Key), len(e.Value), 1)
	if e.Expires != 0 {
		t.expiring++
	}
	return p, t.setValue(p, e)
}

// place finds the empty slot for an entry that is not in the table and, if the key is worth it, the entry of another
// state that holds the same key. A run that is too long makes the table hash with a random seed from then on.
func (t *table) place(e *statestore.Entry) (at int, tag, owner uint32) {
	tag = t.tag(e.State, e.Key, e.Hash)
	mask := t.mask()
	home := t.home(tag)
	for at = home; t.slots[at] != 0; at = (at + 1) & mask {
		slot := t.slots[at]
		if owner != 0 || uint32(slot>>32)^tag > stateMask || len(e.Key) < minInternBytes {
			continue
		}
		p := t.at(uint32(slot))
		if keyLenOf(p) != len(e.Key) || string(t.key(p)) != string(e.Key) {
			continue
		}
		owner = uint32(slot)
		if flagsOf(p)&flagKeyRef != 0 {
			owner = keyRefOf(p)
		}
	}
	if (at-home)&mask > maxProbe && t.seed == nil {
		t.reseed()
		return t.place(e)
	}
	return at, tag, owner
}
