package weir

import (
	"errors"

	"github.com/weir-run/weir/sdk/abi"
)

// Record is a record for an egress on its way: choose topic and headers if need be, and end with one of the Put methods
// before the next record is started. A topic or headers that are not put fail the invocation, because they were surely
// meant to be.
type Record struct {
	call *Call
	id   string
	op   abi.PutOp // abi.PutStaged when it has a topic or headers
}

var (
	errUnput   = errors.New("a record got a topic or headers but was not put before the next one")
	errPut     = errors.New("a record with a topic or headers was put twice, or after another was started")
	errTooLong = errors.New("a function type, egress, topic, value type or header name is longer than 65535 bytes")
)

// Egress starts a record for the egress of that id, to its default topic.
func (c *Call) Egress(id string) Record { return Record{c, id, abi.PutRecord} }

// Topic chooses the topic: one that the job lists for the egress.
func (r Record) Topic(topic string) Record {
	r = r.stage()
	r.call.pass.StageTopic(topic)
	return r
}

// Header adds a header; order is kept and names may repeat.
func (r Record) Header(name, value string) Record {
	r = r.stage()
	r.call.pass.StageHeader(name, value)
	return r
}

func (r Record) stage() Record {
	if r.op != abi.PutStaged {
		r.call.pass.Stage()
	}
	r.op = abi.PutStaged
	return r
}

// Put writes the record with a number as its value. An empty key is no key, as in StateFun.
func (r Record) Put(key string, n int64) { r.call.pass.PutInt(r.op, r.id, key, n) }

// PutString is Put with text.
func (r Record) PutString(key, s string) {
	r.call.pass.PutText(r.op, r.id, key, s)
}

// PutBytes is Put with bytes, which it copies.
func (r Record) PutBytes(key string, value []byte) {
	r.call.pass.Put(r.op, r.id, key, value)
}

// PutJSON is Put with v as JSON. A v that JSON cannot hold fails the invocation.
func (r Record) PutJSON(key string, v any) {
	text, _ := r.call.json(v)
	r.call.pass.Put(r.op, r.id, key, text)
}

// PutTombstone writes a record without a value, which deletes the key in a compacted topic.
func (r Record) PutTombstone(key string) { r.call.pass.PutTombstone(r.op, r.id, key) }
