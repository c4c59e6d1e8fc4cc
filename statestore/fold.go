package statestore

import (
	"bytes"
	"fmt"
	"math/bits"

	"github.com/weir-run/weir/functions"
)

// Fold merges the blocks of one key group, oldest first, into one base block: the newest entry of a state and key wins;
// deleted entries and those expired at now (unix ms) are left out. An empty base or delta is skipped; without any block
// the result is nil. It needs memory for the result and 24 to 40 bytes per entry of its arguments.
func Fold(now int64, base []byte, deltas ...[]byte) ([]byte, error) {
	f := folder{blocks: append([][]byte{base}, deltas...)}
	return f.fold(func(e *Entry) bool { return e.Present && (e.Expires == 0 || e.Expires > now) })
}

// Merge joins delta blocks of one key group, oldest first, into one delta block: the newest entry of a state and key
// wins, and deletes stay, as there is a base below. Otherwise as Fold.
func Merge(deltas ...[]byte) ([]byte, error) {
	f := folder{blocks: deltas}
	return f.fold(func(*Entry) bool { return true })
}

// folder finds the newest entry of every state and key: an open-addressed index over a flat list of places, as a Go map
// of strings would copy every key.
type folder struct {
	group  functions.KeyGroup
	blocks [][]byte
	newest []place
	size   int      // of the newest entries, encoded
	index  []uint64 // tag<<32 | position in newest plus one, by hash; a power of two long, at most half full
}

// place is an entry of one of the blocks: the block's index in the upper bits, the offset in the lower ones.
type place uint64

const placeBits = 44 // of the offset: 16 TiB, more than any memory

func (p place) bytes(blocks [][]byte) []byte { return blocks[p>>placeBits][p&(1<<placeBits-1):] }

// fold finds the newest entries and writes those that keep wants.
func (f *folder) fold(keep func(*Entry) bool) ([]byte, error) {
	if any, err := f.reserve(); err != nil || !any {
		return nil, err
	}
	for i, block := range f.blocks {
		if len(block) == 0 {
			continue
		}
		if err := f.add(i, block); err != nil {
			return nil, fmt.Errorf("fold block %d: %w", i, err)
		}
	}
	return f.write(keep), nil
}

// reserve reads all headers, and makes an index for as many entries as they announce.
func (f *folder) reserve() (any bool, err error) {
	total := 0
	for i, block := range f.blocks {
		if len(block) == 0 {
			continue
		}
		group, count, err := ReadBlockHeader(block)
		if err != nil {
			return false, fmt.Errorf("fold block %d: %w", i, err)
		}
		if any && group != f.group {
			return false, fmt.Errorf("fold block %d: %w: key group %d among blocks of %d", i, ErrBlock, group, f.group)
		}
		f.group, any = group, true
		total += count
	}
	f.index = make([]uint64, 1<<bits.Len(uint(2*total)))
	f.newest = make([]place, 0, total)
	return any, nil
}

func (f *folder) add(i int, block []byte) error {
	walk, err := openBlock(block)
	if err != nil {
		return err
	}
	for {
		more, err := walk.next()
		if !more {
			return err
		}
		found := place(i)<<placeBits | place(walk.at)
		f.size += walk.end - walk.at
		tag := uint32(functions.Hash(walk.entry.Key)>>32) + uint32(walk.entry.State)*0x9E3779B1
		slot, older := f.slot(tag, &walk.entry)
		if older > 0 {
			f.size -= older
			f.newest[uint32(*slot)-1] = found
			continue
		}
		f.newest = append(f.newest, found)
		*slot = uint64(tag)<<32 | uint64(len(f.newest))
	}
}

// slot is where the place of e's state and key is, with the size of the entry there, or where it belongs, with 0. An entry
// is read, which is a cache miss, only when its tag is e's.
func (f *folder) slot(tag uint32, e *Entry) (slot *uint64, size int) {
	mask := uint32(len(f.index) - 1)
	var have Entry
	for at := tag & mask; ; at = (at + 1) & mask {
		slot := &f.index[at]
		if *slot == 0 {
			return slot, 0
		}
		if uint32(*slot>>32) != tag {
			continue
		}
		// The entry was read when it was added, so it reads again.
		n, _, _ := readEntry(f.newest[uint32(*slot)-1].bytes(f.blocks), &have)
		if have.State == e.State && bytes.Equal(have.Key, e.Key) {
			return slot, n
		}
	}
}

func (f *folder) write(keep func(*Entry) bool) []byte {
	var e Entry
	count, block := 0, make([]byte, BlockHeaderBytes, BlockHeaderBytes+f.size)
	for _, p := range f.newest {
		b := p.bytes(f.blocks)
		if n, _, _ := readEntry(b, &e); keep(&e) {
			count, block = count+1, append(block, b[:n]...)
		}
	}
	PutBlockHeader(block, f.group, count)
	return block
}
