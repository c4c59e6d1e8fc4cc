// Package tally checks the output of a keyed counter record by record: every key's counts must come as 1, 2, 3, in order.
//
// It hides how one number per key is enough for that: a count that jumps ahead has lost those between, and one that does
// not go on is there twice. Its invariant: no fault is evened out by another one, so a verdict without faults means that
// each record was counted once and came once. Its memory depends on the keys alone, however long the run is. It belongs to
// the caller, which adds the records of one partition in their order. It reads no Kafka and knows no clock.
package tally

import (
	"encoding/binary"
	"fmt"
)

const (
	// KeyBytes is the length of every key: "k" and eight digits.
	KeyBytes = 9
	// MaxKeys is what eight digits can tell apart.
	MaxKeys = 100_000_000
	// CountAt is where a value holds the count, in eight bytes, big-endian. The eight before it are the sender's.
	CountAt = 8
	// MinValueBytes is a value that holds its count and nothing behind it.
	MinValueBytes = CountAt + 8
)

// Key is the key with a number from 0 to MaxKeys-1, appended to dst.
func Key(dst []byte, number int64) []byte {
	var digits [KeyBytes]byte
	digits[0] = 'k'
	for i := KeyBytes - 1; i > 0; i-- {
		digits[i] = byte('0' + number%10)
		number /= 10
	}
	return append(dst, digits[:]...)
}

// number is the reverse of Key; -1 is no key.
func number(key []byte) int64 {
	if len(key) != KeyBytes || key[0] != 'k' {
		return -1
	}
	n := int64(0)
	for _, digit := range key[1:] {
		if digit < '0' || digit > '9' {
			return -1
		}
		n = n*10 + int64(digit-'0')
	}
	return n
}

// Tally is what has come so far.
type Tally struct {
	counts  []uint32 // the highest count of each key
	records int64
	lost    int64
	doubled int64
	strange int64
}

// New makes a tally of keys 0 to keys-1, at most MaxKeys.
func New(keys int64) *Tally { return &Tally{counts: make([]uint32, keys)} }

// Add takes one record, whose bytes stay the caller's.
func (t *Tally) Add(key, value []byte) {
	t.records++
	k := number(key)
	if k < 0 || k >= int64(len(t.counts)) || len(value) < MinValueBytes {
		t.strange++
		return
	}
	count, before := binary.BigEndian.Uint64(value[CountAt:]), uint64(t.counts[k])
	switch {
	case count == 0 || count > 1<<32-1:
		t.strange++
	case count <= before:
		t.doubled++
	default:
		t.lost += int64(count - before - 1)
		t.counts[k] = uint32(count)
	}
}

// Records is how many were added.
func (t *Tally) Records() int64 { return t.records }

// Verdict is nil when exactly the records of an input of so many have come. Otherwise it tells how many were lost, doubled,
// or no records of a counter. A record that comes behind a later one of its key is one lost and one doubled.
func (t *Tally) Verdict(input int64) error {
	counted := int64(0)
	for _, n := range t.counts {
		counted += int64(n)
	}
	lost, doubled := t.lost+max(0, input-counted), t.doubled+max(0, counted-input)
	if lost+doubled+t.strange > 0 {
		return fmt.Errorf("the output of %d records is not exact: lost %d, doubled %d, strange %d", input, lost, doubled, t.strange)
	}
	return nil
}
