package weir

import (
	"slices"
	"strconv"

	"github.com/weir-run/weir/sdk/abi"
)

// Record is a record for an egress on its way: choose topic and headers if need be, and end with one of the Put methods.
type Record struct {
	call       *Call
	id, topic  string
	from, till int // its headers in call.headers
}

// Egress starts a record for the egress of that id, to its default topic.
func (c *Call) Egress(id string) Record { return Record{call: c, id: id} }

// Topic chooses the topic: one that the job lists for the egress.
func (r Record) Topic(topic string) Record {
	r.topic = topic
	return r
}

// Header adds a header; order is kept and names may repeat.
func (r Record) Header(name, value string) Record {
	c := r.call
	if len(name) > 0xFFFF {
		c.fail(errTooLong)
		return r
	}
	if r.till != len(c.headers) { // another record's headers came between
		own := slices.Clone(c.headers[r.from:r.till])
		r.from = len(c.headers)
		c.headers = append(c.headers, own...)
	}
	c.headers = abi.AppendHeader(c.headers, name, value)
	r.till = len(c.headers)
	return r
}

// Put writes the record with a number as its value. An empty key is no key, as in StateFun.
func (r Record) Put(key string, n int64) {
	r.put(key, strconv.AppendInt(r.call.digits[:0], n, 10), false)
}

// PutString is Put with text.
func (r Record) PutString(key, s string) { r.put(key, bytesOf(s), false) }

// PutBytes is Put with bytes, which it copies.
func (r Record) PutBytes(key string, value []byte) { r.put(key, value, false) }

// PutJSON is Put with v as JSON. A v that JSON cannot hold fails the invocation.
func (r Record) PutJSON(key string, v any) {
	if text, ok := r.call.json(v); ok {
		r.put(key, text, false)
	}
}

// PutTombstone writes a record without a value, which deletes the key in a compacted topic.
func (r Record) PutTombstone(key string) { r.put(key, nil, true) }

func (r Record) put(key string, value []byte, tombstone bool) {
	c := r.call
	if max(len(r.id), len(r.topic)) > 0xFFFF {
		c.fail(errTooLong)
		return
	}
	c.op = abi.Op{
		Kind: abi.Egress, Target: bytesOf(r.id), Topic: bytesOf(r.topic), Key: bytesOf(key), NoKey: key == "",
		Value: value, NoValue: tombstone, Ext: c.headers[r.from:r.till],
	}
	c.guest.writer.Op(&c.op)
}
