package router

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/weir-run/weir/functions"
)

// EgressRecord is one record on its way out. Headers are functions.TagHeader extensions in Ext.
//
// In an outbox, little-endian, not padded:
//
//	 0 u32 length of all, header included     12 u32 value length, or 0xFFFFFFFF for a tombstone
//	 4 u16 topic length   6 u16 0             16 i64 timestamp, unix ms
//	 8 u32 key length, or 0xFFFFFFFF: no key  24 u32 extensions length    28 u32 0
//	32 topic | key | value | extensions
type EgressRecord struct {
	Topic []byte
	Key   []byte // nil: no key
	Value []byte // nil: a tombstone
	Time  int64
	Ext   []byte
}

const egressHeader = 32

// none is the length that stands for an absent key or value.
const none = 0xFFFFFFFF

// ErrOutbox reports bytes that are not an outbox.
var ErrOutbox = errors.New("damaged outbox")

// AppendEgress appends r in bytes.
func AppendEgress(b []byte, r *EgressRecord) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(r.Size()))
	b = le.AppendUint16(b, uint16(len(r.Topic)))
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, optional(r.Key))
	b = le.AppendUint32(b, optional(r.Value))
	b = le.AppendUint64(b, uint64(r.Time))
	b = le.AppendUint32(b, uint32(len(r.Ext)))
	b = le.AppendUint32(b, 0)
	b = append(b, r.Topic...)
	b = append(b, r.Key...)
	b = append(b, r.Value...)
	return append(b, r.Ext...)
}

func optional(b []byte) uint32 {
	if b == nil {
		return none
	}
	return uint32(len(b))
}

// ParseEgress reads the record at the head of b into r, as views of b, and returns its length in bytes.
func ParseEgress(b []byte, r *EgressRecord) (int, error) {
	le := binary.LittleEndian
	if len(b) < egressHeader {
		return 0, ErrOutbox
	}
	n := uint64(le.Uint32(b))
	topic, key, value, ext := uint64(le.Uint16(b[4:])), le.Uint32(b[8:]), le.Uint32(b[12:]), uint64(le.Uint32(b[24:]))
	sum := egressHeader + topic + ext
	if key != none {
		sum += uint64(key)
	}
	if value != none {
		sum += uint64(value)
	}
	if n != sum || n > uint64(len(b)) {
		return 0, ErrOutbox
	}
	at := uint64(egressHeader)
	take := func(size uint64) []byte {
		v := b[at : at+size : at+size]
		at += size
		return v
	}
	r.Topic = take(topic)
	r.Key, r.Value = nil, nil
	if key != none {
		r.Key = take(uint64(key))
	}
	if value != none {
		r.Value = take(uint64(value))
	}
	r.Ext = take(ext)
	r.Time = int64(le.Uint64(b[16:]))
	return int(n), nil
}

// EgressRecords walks the records of an outbox; after a damaged one it yields ErrOutbox and ends. The record is reused.
func EgressRecords(b []byte) iter.Seq2[*EgressRecord, error] {
	return func(yield func(*EgressRecord, error) bool) {
		var r EgressRecord
		for len(b) > 0 {
			n, err := ParseEgress(b, &r)
			if !yield(&r, err) || err != nil {
				return
			}
			b = b[n:]
		}
	}
}

// Headers walks the headers in the extensions of a record.
func Headers(ext []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		for tag, v := range functions.Exts(ext) {
			if tag != functions.TagHeader {
				continue
			}
			key, value, ok := functions.SplitHeader(v)
			if !ok || !yield(key, value) {
				return
			}
		}
	}
}

// Size is the number of bytes that AppendEgress writes.
func (r *EgressRecord) Size() int {
	return egressHeader + len(r.Topic) + len(r.Key) + len(r.Value) + len(r.Ext)
}
