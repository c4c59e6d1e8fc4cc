package memory

import (
	"hash/maphash"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
)

// remove takes an entry out of the table: its slot, its memory and, when others share its key, its part in that.
func (t *table) remove(at int) error {
	slot := t.slots[at]
	ref := uint32(slot)
	t.keep(flagsOf(t.at(ref)), stateOf(t.at(ref)), keyLenOf(t.at(ref)), len(t.value(t.at(ref))), -1)
	t.dropLarge(t.at(ref))
	if flagsOf(t.at(ref))&flagShared != 0 {
		if err := t.inherit(uint32(slot>>32), ref); err != nil {
			return err
		}
	}
	p := t.at(ref)
	if flagsOf(p)&flagExpires != 0 {
		t.expiring--
	}
	t.slab.put(ref, sizeOf(p))
	t.index.remove(at)
	return nil
}

// inherit moves the key of an entry that goes to the first of those that share it. They are all in one run of slots.
func (t *table) inherit(tag, ref uint32) error {
	heir := uint32(0)
	mask := t.mask()
	for at := t.home(tag); t.slots[at] != 0; at = (at + 1) & mask {
		p := t.at(uint32(t.slots[at]))
		if flagsOf(p)&flagKeyRef == 0 || keyRefOf(p) != ref {
			continue
		}
		if heir != 0 {
			setKeyRef(p, heir)
			q := t.at(heir)
			setFlags(q, flagsOf(q)|flagShared)
			continue
		}
		key := t.key(p)
		moved, err := t.slab.take(t.arena, sizeOf(p)-keyRefBytes+len(key))
		if err != nil {
			return err
		}
		q := t.at(moved)
		copy(q[:entryBytes], p)
		setFlags(q, flagsOf(p)&^(flagKeyRef|flagShared))
		copy(q[entryBytes:], key)
		copy(q[afterKey(q):], p[afterKey(p):sizeOf(p)])
		t.slab.put(uint32(t.slots[at]), sizeOf(p))
		t.slots[at] = slotOf(uint32(t.slots[at]>>32), moved)
		heir = moved
	}
	return nil
}

// repoint tells the entries that share a key where its owner moved. The slot is the owner's.
func (t *table) repoint(slot uint64, from, to uint32) {
	mask := t.mask()
	for at := t.home(uint32(slot >> 32)); t.slots[at] != 0; at = (at + 1) & mask {
		if p := t.at(uint32(t.slots[at])); flagsOf(p)&flagKeyRef != 0 && keyRefOf(p) == from {
			setKeyRef(p, to)
		}
	}
}

// sweep moves the hand by a few slots and removes what has expired. An entry with a record in the epoch's delta stays,
// so that the delta keeps one record per key.
func (t *table) sweep(now int64) error {
	for range sweepSlots {
		t.hand = (t.hand + 1) & t.mask()
		slot := t.slots[t.hand]
		if slot == 0 {
			continue
		}
		p := t.at(uint32(slot))
		if expires := expiresOf(p); expires == 0 || expires > now || markOf(p) >= t.base || flagsOf(p)&flagAbsent != 0 {
			continue
		}
		if err := t.remove(t.hand); err != nil {
			return err
		}
	}
	return nil
}

// purge removes the entries deleted in an epoch that is sealed.
func (t *table) purge() error {
	for _, tag := range t.deleted {
		mask := t.mask()
		for at := t.home(tag); t.slots[at] != 0; {
			slot := t.slots[at]
			if uint32(slot>>32) == tag && flagsOf(t.at(uint32(slot)))&flagAbsent != 0 {
				if err := t.remove(at); err != nil {
					return err
				}
				continue // another entry may have moved here
			}
			at = (at + 1) & mask
		}
	}
	t.deleted = t.deleted[:0]
	return nil
}

// reseed hashes all keys anew with a random seed, as too many have hashes alike: somebody may have chosen them.
func (t *table) reseed() {
	seed := maphash.MakeSeed()
	t.seed = &seed
	slots := append([]uint64(nil), t.slots...)
	clear(t.slots)
	t.used = 0
	t.deleted = t.deleted[:0]
	for _, slot := range slots {
		if slot == 0 {
			continue
		}
		p := t.at(uint32(slot))
		tag := t.tag(stateOf(p), t.key(p), 0)
		t.index.insert(slotOf(tag, uint32(slot)))
		if flagsOf(p)&flagAbsent != 0 {
			t.deleted = append(t.deleted, tag)
		}
	}
}

// compact copies all entries into fresh chunks, when more than half of the slab is free.
func (t *table) compact() error {
	if t.slab.bytes < minCompactBytes || t.freeBytes*2 < t.slab.bytes {
		return nil
	}
	old := t.slab
	t.slab = slab{}
	for at, slot := range t.slots {
		if slot == 0 {
			continue
		}
		p := old.at(uint32(slot))
		size := sizeOf(p)
		ref, err := t.slab.take(t.arena, size)
		if err != nil {
			return err
		}
		copy(t.slab.at(ref)[:size], p)
		setMark(p, ref) // for those who share its key
		t.slots[at] = slotOf(uint32(slot>>32), ref)
	}
	for _, slot := range t.slots {
		if slot == 0 {
			continue
		}
		if p := t.at(uint32(slot)); flagsOf(p)&flagKeyRef != 0 {
			setKeyRef(p, markOf(old.at(keyRefOf(p))))
		}
	}
	old.drop(t.arena)
	t.frees = old.frees + 1
	return nil
}

// each calls yield for every entry alive at now.
func (t *table) each(now int64, yield func(statestore.Entry) bool) {
	for _, slot := range t.slots {
		if slot == 0 {
			continue
		}
		p := t.at(uint32(slot))
		e := statestore.Entry{Group: t.group, State: stateOf(p), Key: t.key(p)}
		if t.read(uint32(slot), now, &e); !e.Present {
			continue
		}
		e.Hash = functions.Hash(e.Key)
		if !yield(e) {
			return
		}
	}
}
