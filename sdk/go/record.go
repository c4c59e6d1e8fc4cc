package weir

import (
	"errors"

	"github.com/weir-run/weir/sdk/abi"
)

// Record is a record for an egress on its way: choose topic and headers if need be, and end with one of the Put methods
// before the next record is started. A record that is not put fails the invocation, because it was surely meant to be.
type Record struct {
	call *Call
	open bool
	op   abi.Op // what stays from one record to the next is never set again
}

var (
	errUnput   = errors.New("a record was started with Egress but not put")
	errPut     = errors.New("a record was put twice, or after another was started")
	errTooLong = errors.New("a function type, egress, topic, value type or header name is longer than 65535 bytes")
)

// maxName bounds what the layout counts in 16 bits.
const maxName = 1<<16 - 1

// Egress starts a record for the egress of that id, to its default topic.
func (c *Call) Egress(id string) *Record {
	r := &c.record
	if r.open {
		c.fail(errUnput)
	}
	r.open = true
	r.op.Target, r.op.Topic, r.op.Ext = bytesOf(id), nil, r.op.Ext[:0]
	return r
}

// Topic chooses the topic: one that the job lists for the egress.
func (r *Record) Topic(topic string) *Record {
	r.op.Topic = bytesOf(topic)
	return r
}

// Header adds a header; order is kept and names may repeat.
func (r *Record) Header(name, value string) *Record {
	if len(name) > maxName {
		r.call.fail(errTooLong)
		return r
	}
	r.op.Ext = abi.AppendHeader(r.op.Ext, name, value)
	return r
}

// Put writes the record with a number as its value. An empty key is no key, as in StateFun.
func (r *Record) Put(key string, n int64) { r.put(key, r.call.decimal(n), false) }

// PutString is Put with text.
func (r *Record) PutString(key, s string) { r.put(key, bytesOf(s), false) }

// PutBytes is Put with bytes, which it copies.
func (r *Record) PutBytes(key string, value []byte) { r.put(key, value, false) }

// PutJSON is Put with v as JSON. A v that JSON cannot hold fails the invocation.
func (r *Record) PutJSON(key string, v any) {
	text, ok := r.call.json(v)
	r.put(key, text, !ok)
}

// PutTombstone writes a record without a value, which deletes the key in a compacted topic.
func (r *Record) PutTombstone(key string) { r.put(key, nil, true) }

func (r *Record) put(key string, value []byte, tombstone bool) {
	op := &r.op
	if !r.open || len(op.Target) > maxName || len(op.Topic) > maxName {
		r.refuse()
		return
	}
	r.open = false
	op.NoKey, op.NoValue = key == "", tombstone
	op.Key, op.Value = bytesOf(key), value
	r.call.guest.writer.Op(op)
}

func (r *Record) refuse() {
	if r.open {
		r.call.fail(errTooLong)
	} else {
		r.call.fail(errPut)
	}
	r.open = false
}
