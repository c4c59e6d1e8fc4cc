package statestore

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/weir-run/weir/functions"
)

// A block is the entries of one key group in bytes, the same for a base and for a delta. All integers are little endian.
// Offsets and lengths only: a block can be moved, mapped and concatenated into files as it is.
//
//	header, 24 bytes
//	 0  4  magic "WBLK"
//	 4  1  version, 1
//	 5  1  zero
//	 6  2  key group
//	 8  8  count: entries, void ones not counted
//	16  8  length of the block in bytes, header included
//	entry, 8 bytes and what follows; entries stand back to back up to length
//	 0  2  state id
//	 2  2  key length K, at most MaxKeyBytes
//	 4  4  bit 31 delete, bit 30 expires, bit 29 void, bits 0-28 value length V, at most MaxValueBytes
//	 8  8  unix ms after which the value is gone; only with bit 30
//	    K  key
//	    V  value
//
// A deleted entry has no value and no expiry. A void entry is to be skipped: a later one of the block replaced it while
// the block was being written. At most one entry of a block has a given state and key, void ones not counted.
const (
	// BlockVersion is what this package writes, and the only version so far.
	BlockVersion = 1
	// BlockHeaderBytes is the size of a block without entries.
	BlockHeaderBytes = 24

	blockMagic       = "WBLK"
	entryHeaderBytes = 8
	expiresBytes     = 8

	markDelete  = 1 << 31
	markExpires = 1 << 30
	markVoid    = 1 << 29
	maskLength  = markVoid - 1
)

// EntryBytes is the size of e in a block.
func EntryBytes(e *Entry) int {
	n := entryHeaderBytes + len(e.Key)
	if !e.Present {
		return n
	}
	if e.Expires != 0 {
		n += expiresBytes
	}
	return n + len(e.Value)
}

// PutEntry encodes e at the start of dst, which has room for EntryBytes(e). Hash and Group do not stand in an entry.
func PutEntry(dst []byte, e *Entry) {
	_ = dst[entryHeaderBytes-1]
	binary.LittleEndian.PutUint16(dst, e.State)
	binary.LittleEndian.PutUint16(dst[2:], uint16(len(e.Key)))
	at := entryHeaderBytes
	if !e.Present {
		binary.LittleEndian.PutUint32(dst[4:], markDelete)
		copy(dst[at:], e.Key)
		return
	}
	marks := uint32(len(e.Value))
	if e.Expires != 0 {
		marks |= markExpires
		binary.LittleEndian.PutUint64(dst[at:], uint64(e.Expires))
		at += expiresBytes
	}
	binary.LittleEndian.PutUint32(dst[4:], marks)
	at += copy(dst[at:], e.Key)
	copy(dst[at:], e.Value)
}

// VoidEntry marks the encoded entry at the start of b as replaced by a later one.
func VoidEntry(b []byte) {
	binary.LittleEndian.PutUint32(b[4:], binary.LittleEndian.Uint32(b[4:])|markVoid)
}

// PutBlockHeader encodes a header at the start of block, whose length becomes that of the block.
func PutBlockHeader(block []byte, group functions.KeyGroup, count int) {
	copy(block, blockMagic)
	block[4], block[5] = BlockVersion, 0
	binary.LittleEndian.PutUint16(block[6:], uint16(group))
	binary.LittleEndian.PutUint64(block[8:], uint64(count))
	binary.LittleEndian.PutUint64(block[16:], uint64(len(block)))
}

// BlockWriter builds a block entry by entry. The caller adds a state and key once.
type BlockWriter struct {
	group functions.KeyGroup
	count int
	buf   []byte
}

// NewBlockWriter starts a block for a key group. It appends to buf[:0], which may be nil.
func NewBlockWriter(group functions.KeyGroup, buf []byte) *BlockWriter {
	return &BlockWriter{group: group, buf: append(buf[:0], make([]byte, BlockHeaderBytes)...)}
}

// Add appends an entry within the limits of MaxKeyBytes and MaxValueBytes, a delete mark when it is not Present.
func (w *BlockWriter) Add(e *Entry) {
	from, n := len(w.buf), EntryBytes(e)
	w.grow(n)
	w.buf = w.buf[:from+n]
	PutEntry(w.buf[from:], e)
	w.count++
}

func (w *BlockWriter) grow(n int) {
	if cap(w.buf)-len(w.buf) >= n {
		return
	}
	grown := make([]byte, len(w.buf), max(2*cap(w.buf), len(w.buf)+n))
	copy(grown, w.buf)
	w.buf = grown
}

// Count is the number of entries added.
func (w *BlockWriter) Count() int { return w.count }

// Bytes completes the header and returns the block; the writer's memory is the caller's from then on.
func (w *BlockWriter) Bytes() []byte {
	PutBlockHeader(w.buf, w.group, w.count)
	return w.buf
}

// ReadBlockHeader checks a block's header and tells its key group and number of entries, which is at most what fits.
func ReadBlockHeader(block []byte) (group functions.KeyGroup, count int, err error) {
	if len(block) < BlockHeaderBytes {
		return 0, 0, fmt.Errorf("%w: %d bytes are shorter than a header", ErrBlock, len(block))
	}
	if string(block[:4]) != blockMagic {
		return 0, 0, fmt.Errorf("%w: no magic", ErrBlock)
	}
	if block[4] != BlockVersion || block[5] != 0 {
		return 0, 0, fmt.Errorf("%w: version %d, want %d", ErrBlock, block[4], BlockVersion)
	}
	if length := binary.LittleEndian.Uint64(block[16:]); length != uint64(len(block)) {
		return 0, 0, fmt.Errorf("%w: length %d, have %d bytes", ErrBlock, length, len(block))
	}
	entries := binary.LittleEndian.Uint64(block[8:])
	if entries > uint64(len(block)-BlockHeaderBytes)/entryHeaderBytes {
		return 0, 0, fmt.Errorf("%w: %d entries do not fit %d bytes", ErrBlock, entries, len(block))
	}
	return functions.KeyGroup(binary.LittleEndian.Uint16(block[6:])), int(entries), nil
}

// Entries walks a block in its order: Key and Value are views into it, Hash is computed, a delete is not Present, void
// entries are left out. It never trusts a length. An ErrBlock comes once, last, with an empty entry.
func Entries(block []byte) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		walk, err := openBlock(block)
		for err == nil {
			var more bool
			if more, err = walk.next(); !more {
				break
			}
			walk.entry.Hash = functions.Hash(walk.entry.Key)
			if !yield(walk.entry, nil) {
				return
			}
		}
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// blockWalk steps through a block; it yields at most as many entries as the header says.
type blockWalk struct {
	block []byte
	left  int   // entries still to come
	at    int   // where entry stands
	end   int   // where it ends
	entry Entry // without its Hash
}

func openBlock(block []byte) (blockWalk, error) {
	group, count, err := ReadBlockHeader(block)
	return blockWalk{block: block, left: count, end: BlockHeaderBytes, entry: Entry{Group: group}}, err
}

// next steps to the next entry that is not void, and reports false at the end of the block.
func (w *blockWalk) next() (bool, error) {
	for w.end < len(w.block) {
		n, void, err := readEntry(w.block[w.end:], &w.entry)
		if err != nil {
			return false, fmt.Errorf("entry at byte %d: %w", w.end, err)
		}
		w.at, w.end = w.end, w.end+n
		if void {
			continue
		}
		if w.left == 0 {
			return false, fmt.Errorf("entry at byte %d: %w: more entries than the header says", w.at, ErrBlock)
		}
		w.left--
		return true, nil
	}
	if w.left != 0 {
		return false, fmt.Errorf("%w: %d entries fewer than the header says", ErrBlock, w.left)
	}
	return false, nil
}

// readEntry decodes the entry at the start of b and tells its size.
func readEntry(b []byte, e *Entry) (n int, void bool, err error) {
	if len(b) < entryHeaderBytes {
		return 0, false, fmt.Errorf("%w: %d bytes left", ErrBlock, len(b))
	}
	e.State = binary.LittleEndian.Uint16(b)
	keyLen := int(binary.LittleEndian.Uint16(b[2:]))
	marks := binary.LittleEndian.Uint32(b[4:])
	valueLen := int(marks & maskLength)
	if keyLen > MaxKeyBytes || valueLen > MaxValueBytes {
		return 0, false, fmt.Errorf("%w: key of %d and value of %d bytes", ErrBlock, keyLen, valueLen)
	}
	e.Present = marks&markDelete == 0
	if !e.Present && marks&^uint32(markVoid) != markDelete {
		return 0, false, fmt.Errorf("%w: a delete with a value or an expiry", ErrBlock)
	}
	e.Expires = 0
	at := entryHeaderBytes
	if marks&markExpires != 0 {
		if len(b) < at+expiresBytes {
			return 0, false, fmt.Errorf("%w: %d bytes left", ErrBlock, len(b))
		}
		e.Expires = int64(binary.LittleEndian.Uint64(b[at:]))
		if e.Expires == 0 {
			return 0, false, fmt.Errorf("%w: an expiry of zero", ErrBlock)
		}
		at += expiresBytes
	}
	if len(b)-at < keyLen+valueLen {
		return 0, false, fmt.Errorf("%w: key of %d and value of %d bytes in %d", ErrBlock, keyLen, valueLen, len(b)-at)
	}
	e.Key = b[at : at+keyLen : at+keyLen]
	e.Value = b[at+keyLen : at+keyLen+valueLen : at+keyLen+valueLen]
	if !e.Present {
		e.Value = nil
	}
	return at + keyLen + valueLen, marks&markVoid != 0, nil
}

// EntryLen is the size of the encoded entry at the start of b, which PutEntry wrote.
func EntryLen(b []byte) int {
	marks := binary.LittleEndian.Uint32(b[4:])
	n := entryHeaderBytes + int(binary.LittleEndian.Uint16(b[2:])) + int(marks&maskLength)
	if marks&markExpires != 0 {
		n += expiresBytes
	}
	return n
}
