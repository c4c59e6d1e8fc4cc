package memory

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/weir-run/weir/statestore"
)

// An entry in the slab, little endian, packed:
//
//	 0  4  mark: where its record in the delta stands (see delta.go); below the table's base when it has none
//	 4  2  state id
//	 6  2  key length K
//	 8  2  flags
//	10  2  length V of what stands for the value
//	12     K bytes of key, or 4 bytes: the entry of another state that holds the same key
//	    8  expiry, unix ms, if flagged
//	    V  value, or 4 bytes: its number among the table's large values
//
// Its size follows from its fields, rounded up to a class; so a value that changes its size within a class stays.
const (
	entryBytes   = 12
	keyRefBytes  = 4
	expiresBytes = 8
	largeIDBytes = 4

	flagExpires = 1 << 0
	flagKeyRef  = 1 << 1 // the key stands in another entry
	flagShared  = 1 << 2 // other entries refer to this one's key
	flagLarge   = 1 << 3 // the value stands in a block of its own
	flagAbsent  = 1 << 4 // deleted; kept until the epoch is sealed, as its delta has a record of it

	// maxInlineBytes is the largest value in the slab; larger ones would tear holes into chunks.
	maxInlineBytes = 32 << 10
	// minInternBytes is the key length from which referring to another entry's key saves memory.
	minInternBytes = 9

	unitBytes = 4 // references count in units, so that 32 bits reach 16 GiB per key group
	// chunkUnitBits is the part of a reference that counts inside a chunk: 4 MiB.
	chunkUnitBits = 20
	maxChunks     = 1 << (32 - chunkUnitBits)
	maxChunkBytes = unitBytes << chunkUnitBits
	// chunkShare bounds the unused end of the last chunk: a chunk is at most a sixteenth of what the slab has.
	chunkShare = 16

	smallClasses = 64 // of 4 to 256 bytes, then eight per power of two
	smallBytes   = smallClasses * unitBytes
	classes      = smallClasses + 1 + 8*9
)

// slab holds the entries of one table.
type slab struct {
	chunks    [][]byte
	bytes     int              // of all chunks
	tail      uint32           // unit of the last chunk from which nothing is taken
	free      *[classes]uint32 // first free entry by class, linked through mark; made when something is freed
	freeBytes int
	frees     uint32 // how often something was freed: what was an entry before may be none after
}

func (s *slab) at(ref uint32) []byte {
	return s.chunks[ref>>chunkUnitBits][int(ref&(1<<chunkUnitBits-1))*unitBytes:]
}

// classOf rounds a size up to its class.
func classOf(size int) (class, rounded int) {
	if size <= smallBytes {
		class = (size + unitBytes - 1) / unitBytes
		return class, class * unitBytes
	}
	log := bits.Len(uint(size - 1))
	low, step := 1<<(log-1), 1<<(log-4)
	k := (size - low + step - 1) / step
	return smallClasses + 8*(log-9) + k, low + k*step
}

func (s *slab) take(a *arena, size int) (uint32, error) {
	class, rounded := classOf(size)
	if s.free != nil && s.free[class] != 0 {
		ref := s.free[class]
		s.free[class] = binary.LittleEndian.Uint32(s.at(ref))
		s.freeBytes -= rounded
		return ref, nil
	}
	last := len(s.chunks) - 1
	if last < 0 || int(s.tail)*unitBytes+rounded > len(s.chunks[last]) {
		if err := s.grow(a, rounded); err != nil {
			return 0, err
		}
		last++
	}
	ref := uint32(last)<<chunkUnitBits | s.tail
	s.tail += uint32(rounded / unitBytes)
	return ref, nil
}

func (s *slab) grow(a *arena, rounded int) error {
	if len(s.chunks) == maxChunks {
		return fmt.Errorf("%w: a key group holds %d bytes of entries", statestore.ErrFull, s.bytes)
	}
	size := max(minBlockBytes, s.bytes/chunkShare, chunkShare*rounded)
	size = min(1<<(bits.Len(uint(size))-1), maxChunkBytes)
	chunk, err := a.take(size)
	if err != nil {
		return err
	}
	s.tail = 0
	if len(s.chunks) == 0 {
		s.tail = 1 // reference 0 is none
	}
	s.chunks = append(s.chunks, chunk)
	s.bytes += len(chunk)
	return nil
}

func (s *slab) put(ref uint32, size int) {
	class, rounded := classOf(size)
	if s.free == nil {
		s.free = new([classes]uint32)
	}
	binary.LittleEndian.PutUint32(s.at(ref), s.free[class])
	s.free[class] = ref
	s.freeBytes += rounded
	s.frees++
}

func (s *slab) drop(a *arena) {
	for _, chunk := range s.chunks {
		a.put(chunk)
	}
	s.chunks = nil
}

// The fields of an entry p, as slab.at returns it.

func markOf(p []byte) uint32          { return binary.LittleEndian.Uint32(p) }
func setMark(p []byte, mark uint32)   { binary.LittleEndian.PutUint32(p, mark) }
func stateOf(p []byte) uint16         { return binary.LittleEndian.Uint16(p[4:]) }
func keyLenOf(p []byte) int           { return int(binary.LittleEndian.Uint16(p[6:])) }
func flagsOf(p []byte) uint16         { return binary.LittleEndian.Uint16(p[8:]) }
func setFlags(p []byte, flags uint16) { binary.LittleEndian.PutUint16(p[8:], flags) }
func valueLenOf(p []byte) int         { return int(binary.LittleEndian.Uint16(p[10:])) }
func setValueLen(p []byte, n int)     { binary.LittleEndian.PutUint16(p[10:], uint16(n)) }
func keyRefOf(p []byte) uint32        { return binary.LittleEndian.Uint32(p[entryBytes:]) }
func setKeyRef(p []byte, ref uint32)  { binary.LittleEndian.PutUint32(p[entryBytes:], ref) }

// afterKey is where the expiry, or the value, begins.
func afterKey(p []byte) int {
	if flagsOf(p)&flagKeyRef != 0 {
		return entryBytes + keyRefBytes
	}
	return entryBytes + keyLenOf(p)
}

func expiresOf(p []byte) int64 {
	if flagsOf(p)&flagExpires == 0 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(p[afterKey(p):]))
}

// inline is what stands in the entry for its value.
func inline(p []byte) []byte {
	at := afterKey(p)
	if flagsOf(p)&flagExpires != 0 {
		at += expiresBytes
	}
	end := at + valueLenOf(p)
	return p[at:end:end]
}

// sizeOf is the size of an entry before it is rounded to a class.
func sizeOf(p []byte) int {
	n := afterKey(p) + valueLenOf(p)
	if flagsOf(p)&flagExpires != 0 {
		n += expiresBytes
	}
	return n
}
