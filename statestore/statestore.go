// Package statestore is the contract of keyed state, crossed once per batch of invocations, and the block format in
// which every backend hands its changes to a checkpoint.
//
// A backend belongs to one task. It hides where values live; its invariant is that Read sees every earlier Write, and
// that loading a base block and then all delta blocks of a key group, in order, gives the state as of the last Seal.
// It is not the checkpoint itself (statestore/checkpoint) and knows nothing of functions but key groups and hashes.
package statestore

import (
	"errors"

	"github.com/weir-run/weir/functions"
)

// Entry is one value of one key: an argument of Read and Write.
type Entry struct {
	Group   functions.KeyGroup
	State   uint16 // state id of the job's dictionary
	Hash    uint64 // functions.Hash(Key)
	Key     []byte
	Value   []byte // Read: a view, valid until the next Write, Seal or Close
	Present bool   // Read: found; Write: false deletes
	Expires int64  // unix ms after which the value is gone; 0 is never
}

const (
	// MaxKeyBytes bounds a key, so that its length fits two bytes everywhere.
	MaxKeyBytes = 1 << 15
	// MaxValueBytes bounds one value; larger data belongs into several keys.
	MaxValueBytes = 16 << 20
)

// ErrBlock reports a block that is damaged or of an unknown version.
var ErrBlock = errors.New("damaged state block")

// ErrFull reports that a backend has reached its limit of bytes.
var ErrFull = errors.New("state is full")

// Backend holds the keyed state of one task. It is used from one goroutine, the task's, but for Sealed, which is read
// by the goroutine that writes the snapshot. Any error ends the attempt.
type Backend interface {
	// Load applies one block to a key group: the base first, then deltas in the order of their epochs. It may be called
	// for several groups at once from several goroutines, before any Read or Write. It keeps nothing of the block.
	Load(group functions.KeyGroup, block []byte) error
	// Read fills Value, Present and Expires of every entry. An entry expired at now (unix ms) is absent.
	Read(now int64, entries []Entry) error
	// Write applies every entry in order, and keeps nothing of their bytes. The last write of a key wins.
	Write(entries []Entry) error
	// Seal ends the epoch: it returns what was written since the last Seal, without copying state, and starts a new
	// delta. An epoch without writes has no blocks.
	Seal() Sealed
	// Each calls yield for every live entry of a key group until it returns false; for queries and tests, not the
	// message path. Views as in Read.
	Each(group functions.KeyGroup, now int64, yield func(Entry) bool) error
	// Stats is cheap.
	Stats() Stats
	// State is what is kept under one state id; cheap.
	State(state uint16) Kept
	// Close frees everything. Sealed deltas stay readable until released.
	Close() error
}

// Sealed is one epoch's delta, immutable. Release gives its memory back, from any goroutine, once.
type Sealed struct {
	Blocks  []Block
	Release func()
}

// Block is the encoded changes of one key group: one per key and epoch, the last write.
type Block struct {
	Group functions.KeyGroup
	Bytes []byte
}

// Kept is what a backend holds of one state.
type Kept struct {
	Keys  int64
	Bytes int64 // of keys and values, without overhead
}

// Stats is what a backend holds.
type Stats struct {
	Keys       int64
	Bytes      int64 // memory taken, overhead included
	DeltaBytes int64 // of the epoch not yet sealed
}
