package abi

import (
	"encoding/binary"
	"slices"
	"strconv"
)

var le = binary.LittleEndian

// Batch encodes a batch into a buffer that it owns and reuses: once warm it does not allocate. The order of calls is
// Reset, then per group Group, State for every state the function declares, in order, and Message at least once.
type Batch struct {
	buf    []byte
	group  int // where the open group starts; 0: none
	groups int
	states int // of the open group
	counts []int
}

// Reset starts an empty batch. now is in unix ms.
func (b *Batch) Reset(now int64, seed uint64) {
	if cap(b.buf) < batchHeader {
		b.buf = make([]byte, 0, 64<<10) // about 64 messages of a few hundred bytes
	}
	b.buf = b.buf[:batchHeader]
	clear(b.buf)
	le.PutUint16(b.buf, Version)
	le.PutUint64(b.buf[8:], uint64(now))
	le.PutUint64(b.buf[16:], seed)
	b.group, b.groups, b.states, b.counts = 0, 0, 0, b.counts[:0]
}

// Group opens the next group: function is its index in the module's description.
func (b *Batch) Group(function uint16, key []byte) {
	b.close()
	b.group = len(b.buf)
	b.groups++
	b.states = 0
	b.counts = append(b.counts, 0)
	h := b.extend(groupHeader + pad8(len(key)))
	le.PutUint64(h, uint64(function)<<32)
	le.PutUint64(h[8:], uint64(len(key)))
	le.PutUint64(h[16:], 0)
	padTail(h)
	copy(h[groupHeader:], key)
}

// State adds the value of the function's next state. An absent state has no value.
func (b *Batch) State(value []byte, present bool) {
	if !present {
		value = nil
	}
	b.states++
	h := b.extend(stateHeader + pad8(len(value)))
	padTail(h)
	set := uint64(0)
	if present {
		set = 1
	}
	le.PutUint64(h, set<<32|uint64(len(value)))
	copy(h[stateHeader:], value)
}

// Message adds a message to the open group. It panics when a type is longer than 64 KiB - 1: such a message is refused
// where it enters the job.
func (b *Batch) Message(m *Message) {
	if len(m.Type) > 0xFFFF || len(m.SenderType) > 0xFFFF {
		panic("abi: type names of " + strconv.Itoa(len(m.Type)) + " and " + strconv.Itoa(len(m.SenderType)) + " bytes")
	}
	b.counts[len(b.counts)-1]++
	size := pad8(messageHeader + len(m.Value) + len(m.Type) + len(m.SenderType) + len(m.SenderKey) + len(m.Ext))
	h := b.extend(size)
	padTail(h)
	le.PutUint64(h, uint64(size)|uint64(m.Kind)<<32|uint64(len(m.Type))<<48)
	le.PutUint64(h[8:], uint64(m.Time))
	le.PutUint64(h[16:], m.ID)
	le.PutUint64(h[24:], uint64(len(m.Value))|uint64(len(m.SenderType))<<32)
	le.PutUint64(h[32:], uint64(len(m.SenderKey))|uint64(len(m.Ext))<<32)
	at := messageHeader + copy(h[messageHeader:], m.Value)
	at += copy(h[at:], m.Type)
	at += copy(h[at:], m.SenderType)
	at += copy(h[at:], m.SenderKey)
	copy(h[at:], m.Ext)
}

// Bytes is the batch so far, valid until the next call of another method. It panics above MaxBytes: who fills a batch
// stops long before.
func (b *Batch) Bytes() []byte {
	if len(b.buf) > MaxBytes {
		panic("abi: batch of " + strconv.Itoa(len(b.buf)) + " bytes")
	}
	b.close()
	le.PutUint32(b.buf[4:], uint32(b.groups))
	le.PutUint32(b.buf[24:], uint32(len(b.buf)))
	return b.buf
}

// Len is the size of the batch so far in bytes.
func (b *Batch) Len() int { return len(b.buf) }

// Groups is the number of groups so far.
func (b *Batch) Groups() int { return b.groups }

// Counts is the number of messages of each group, as Result.Open takes them; valid until the next Reset or Group.
func (b *Batch) Counts() []int { return b.counts }

// close writes what is known of a group only at its end; it may be called again after more messages.
func (b *Batch) close() {
	if b.group == 0 {
		return
	}
	h := b.buf[b.group:]
	le.PutUint32(h, uint32(len(h)))
	le.PutUint16(h[6:], uint16(b.states))
	le.PutUint32(h[12:], uint32(b.counts[len(b.counts)-1]))
}

// extend appends n bytes, whatever they held before, and returns them.
func (b *Batch) extend(n int) []byte {
	at := len(b.buf)
	b.buf = slices.Grow(b.buf, n)[:at+n]
	return b.buf[at:]
}

// padTail clears the last 8 bytes of a block before its parts are copied in, so that padding is zero.
func padTail(block []byte) { le.PutUint64(block[len(block)-8:], 0) }
