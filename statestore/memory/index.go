package memory

import (
	"math/bits"
	"unsafe"
)

const (
	minSlots = minBlockBytes / slotBytes
	// slotBytes is one reference and 32 bits of hash, so that neither growing nor deleting reads an entry.
	slotBytes = 8
	// loadNum/loadDen is how full an index gets: right after doubling it costs 20 bytes a key, on average 14.
	loadNum, loadDen = 4, 5
	// maxProbe is the run of slots from which an index suspects chosen keys. With hashes at random a run of this length
	// in a table of any size we can hold is less likely than one in a million.
	maxProbe = 1024
	// stateBits of a tag tell the states of one key apart; the others are of the hash, so all states of a key are
	// neighbours and find each other to share the key.
	stateBits = 5
	stateMask = 1<<stateBits - 1
)

// index maps tags to references: open addressing, linear probing, no tombstones. A slot is tag<<32 | reference, and 0
// when empty. The home of a tag is given by its upper bits, so growing keeps the order.
type index struct {
	slots  []uint64
	memory []byte // of slots
	shift  uint8
	used   int
}

func slotOf(tag, ref uint32) uint64 { return uint64(tag)<<32 | uint64(ref) }

func (x *index) mask() int { return len(x.slots) - 1 }

func (x *index) home(tag uint32) int { return int(tag >> x.shift) }

// full tells that one more slot would exceed the load.
func (x *index) full() bool { return (x.used+1)*loadDen > len(x.slots)*loadNum }

// resize makes room for n slots at the load.
func (x *index) resize(a *arena, n int) error {
	slots := minSlots
	for slots*loadNum < n*loadDen {
		slots *= 2
	}
	block, err := a.take(slots * slotBytes)
	if err != nil {
		return err
	}
	clear(block)
	grown := index{
		slots:  unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(block))), slots),
		memory: block,
		shift:  uint8(33 - bits.Len(uint(slots))),
	}
	for _, slot := range x.slots {
		if slot != 0 {
			grown.insert(slot)
		}
	}
	a.put(x.memory)
	*x = grown
	return nil
}

func (x *index) insert(slot uint64) {
	at := x.home(uint32(slot >> 32))
	for x.slots[at] != 0 {
		at = (at + 1) & x.mask()
	}
	x.slots[at] = slot
	x.used++
}

// remove empties a slot and moves later ones of its run up, each no further than to its home.
func (x *index) remove(at int) {
	mask := x.mask()
	hole := at
	for next := (hole + 1) & mask; x.slots[next] != 0; next = (next + 1) & mask {
		home := x.home(uint32(x.slots[next] >> 32))
		if (next-home)&mask >= (next-hole)&mask {
			x.slots[hole] = x.slots[next]
			hole = next
		}
	}
	x.slots[hole] = 0
	x.used--
}

// first is the first reference with this tag, 0 if there is none; its entry may be another's.
func (x *index) first(tag uint32) uint32 {
	for at := x.home(tag); ; at = (at + 1) & x.mask() {
		slot := x.slots[at]
		if slot == 0 || uint32(slot>>32) == tag {
			return uint32(slot)
		}
	}
}
