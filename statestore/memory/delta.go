package memory

import (
	"fmt"
	"math"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
)

const (
	// maxDeltaBytes bounds one key group's delta of one epoch, so that marks stay within 32 bits.
	maxDeltaBytes = 1 << 30
	// maxBase is where marks start again: every entry is visited once per 2 GiB of deltas.
	maxBase = math.MaxUint32 - maxDeltaBytes
	// minVoidBytes keeps small deltas from being rewritten, which would save little.
	minVoidBytes = 64 << 10
)

// delta is the block of what changed in one table since the last seal. It is written as entries change, while they are
// hot; sealing only takes it away.
//
// The mark of an entry is base plus the offset of its record, and base moves past all marks at every seal: so a mark of
// at least base tells that the entry has a record in this epoch, and where. A changed value of the same size overwrites
// the record; any other makes it void and appends, and when void records outweigh the rest the block is rewritten.
type delta struct {
	base    uint32
	block   []byte // nil before the first write of an epoch
	written int
	count   int
	void    int // bytes
	last    int // size of the last epoch's block: what the next one starts with
	deleted []uint32
}

// record notes a change of the entry p. The entry's key, value and expiry are e's.
func (t *table) record(p []byte, e *statestore.Entry) error {
	size := statestore.EntryBytes(e)
	if mark := markOf(p); mark >= t.base {
		old := t.block[mark-t.base:]
		n := statestore.EntryLen(old)
		if n == size {
			statestore.PutEntry(old, e)
			return nil
		}
		statestore.VoidEntry(old)
		t.void += n
		t.count--
	}
	if t.written+size > len(t.block) {
		setMark(p, 0)
		if err := t.extend(size); err != nil {
			return err
		}
	}
	setMark(p, t.base+uint32(t.written))
	statestore.PutEntry(t.block[t.written:], e)
	t.written += size
	t.count++
	return nil
}

// begin prepares for the first write of an epoch.
func (t *table) begin() error {
	if err := t.purge(); err != nil {
		return err
	}
	if err := t.compact(); err != nil {
		return err
	}
	if t.base > maxBase {
		for _, slot := range t.slots {
			if slot != 0 {
				setMark(t.at(uint32(slot)), 0)
			}
		}
		t.base = 1
	}
	block, err := t.arena.take(max(t.last, statestore.BlockHeaderBytes))
	if err != nil {
		return err
	}
	t.block, t.written, t.count, t.void = block, statestore.BlockHeaderBytes, 0, 0
	return nil
}

// extend makes room for size more bytes: it leaves void records out if they are many, else it doubles the block.
func (t *table) extend(size int) error {
	keep := t.written + size
	rewrite := t.void > minVoidBytes && 2*t.void > t.written
	if rewrite {
		keep -= t.void
	}
	if keep > maxDeltaBytes {
		return fmt.Errorf("%w: changes of key group %d in one epoch exceed %d bytes", statestore.ErrFull, t.group, maxDeltaBytes)
	}
	block, err := t.arena.take(max(keep, min(2*t.written, maxDeltaBytes)))
	if err != nil {
		return err
	}
	if rewrite {
		t.rewrite(block)
	} else {
		copy(block, t.block[:t.written])
	}
	t.arena.put(t.block)
	t.block = block
	return nil
}

// rewrite copies the records that are not void, and marks their entries.
func (t *table) rewrite(block []byte) {
	statestore.PutBlockHeader(t.block[:t.written], t.group, t.count)
	at := statestore.BlockHeaderBytes
	for e, err := range statestore.Entries(t.block[:t.written]) {
		if err != nil {
			panic(fmt.Sprintf("memory: delta of key group %d: %v", t.group, err))
		}
		_, ref := t.find(&e, t.tag(e.State, e.Key, functions.Hash(e.Key)))
		setMark(t.at(ref), t.base+uint32(at))
		statestore.PutEntry(block[at:], &e)
		at += statestore.EntryBytes(&e)
	}
	t.written, t.void = at, 0
}

// seal completes the block and takes it away.
func (t *table) seal() statestore.Block {
	sealed := t.block[:t.written:t.written]
	statestore.PutBlockHeader(sealed, t.group, t.count)
	t.base += uint32(t.written)
	t.last = t.written
	t.block = nil
	return statestore.Block{Group: t.group, Bytes: sealed}
}
