package weir

import (
	"errors"
	"strconv"

	"github.com/weir-run/weir/sdk/abi"
)

// Record is a record for an egress on its way: choose topic and headers if need be, and end with one of the Put methods
// before the next record is started. A topic or headers that are not put fail the invocation, because they were surely
// meant to be.
type Record struct {
	call   *Call
	id     string
	staged bool // it has a topic or headers, in call.stage
}

// stage is what the record under way has beyond its egress, key and value.
type stage struct {
	open    bool
	topic   string
	headers []byte
}

var (
	errUnput   = errors.New("a record got a topic or headers but was not put before the next one")
	errPut     = errors.New("a record with a topic or headers was put twice, or after another was started")
	errTooLong = errors.New("a function type, egress, topic, value type or header name is longer than 65535 bytes")
)

// maxName bounds what the layout counts in 16 bits.
const maxName = 1<<16 - 1

// Egress starts a record for the egress of that id, to its default topic.
func (c *Call) Egress(id string) Record { return Record{c, id, false} }

// Topic chooses the topic: one that the job lists for the egress.
func (r Record) Topic(topic string) Record {
	r = r.stage()
	r.call.stage.topic = topic
	return r
}

// Header adds a header; order is kept and names may repeat.
func (r Record) Header(name, value string) Record {
	if len(name) > maxName {
		r.call.fail(errTooLong)
		return r
	}
	r = r.stage()
	r.call.stage.headers = abi.AppendHeader(r.call.stage.headers, name, value)
	return r
}

func (r Record) stage() Record {
	s := &r.call.stage
	switch {
	case r.staged:
	case s.open:
		r.call.fail(errUnput)
	default:
		s.open, s.topic, s.headers = true, "", s.headers[:0]
	}
	r.staged = true
	return r
}

// Put writes the record with a number as its value. An empty key is no key, as in StateFun.
func (r Record) Put(key string, n int64) {
	c := r.call
	if r.staged || c.stage.open || len(r.id) > maxName || key == "" {
		r.put(key, strconv.AppendInt(c.digits[:0], n, 10), false)
		return
	}
	c.writer.PutInt(abi.Egress, 0, r.id, key, n)
}

// PutString is Put with text.
func (r Record) PutString(key, s string) { r.put(key, bytesOf(s), false) }

// PutBytes is Put with bytes, which it copies.
func (r Record) PutBytes(key string, value []byte) { r.put(key, value, false) }

// PutJSON is Put with v as JSON. A v that JSON cannot hold fails the invocation.
func (r Record) PutJSON(key string, v any) {
	text, ok := r.call.json(v)
	r.put(key, text, !ok)
}

// PutTombstone writes a record without a value, which deletes the key in a compacted topic.
func (r Record) PutTombstone(key string) { r.put(key, nil, true) }

func (r Record) put(key string, value []byte, tombstone bool) {
	c := r.call
	if r.staged || c.stage.open || len(r.id) > maxName {
		r.putStaged(key, value, tombstone)
		return
	}
	flags := uint8(0)
	if key == "" {
		flags = abi.NoKey
	}
	if tombstone {
		flags |= abi.NoValue
	}
	c.writer.Put(abi.Egress, flags, r.id, key, value)
}

func (r Record) putStaged(key string, value []byte, tombstone bool) {
	c := r.call
	s := &c.stage
	switch {
	case len(r.id) > maxName || len(s.topic) > maxName:
		c.fail(errTooLong)
	case !r.staged:
		c.fail(errUnput)
	case !s.open:
		c.fail(errPut)
	default:
		c.writer.Op(&abi.Op{
			Kind: abi.Egress, Target: bytesOf(r.id), Key: bytesOf(key), NoKey: key == "", Value: value, NoValue: tombstone,
			Topic: bytesOf(s.topic), Ext: s.headers,
		})
	}
	s.open = false
}
