package abi

import "unsafe"

// MaxName bounds what the layout counts in 16 bits: names of functions, egresses, topics, types, and headers.
const MaxName = 1<<16 - 1

// stage is what the next record has beyond egress, key and value.
type stage struct {
	topic string
	ext   []byte
}

// Stage begins a record with a topic or headers: the next Put with staged true takes them. One that is never put makes its
// message odd, and so does another that is begun before it.
func (w *Writer) Stage() {
	if w.odd&oddStaged != 0 {
		w.blame(Unput)
		return
	}
	w.odd |= oddStaged
	w.stage.topic, w.stage.ext = "", w.stage.ext[:0]
}

// StageTopic chooses the topic of the staged record.
func (w *Writer) StageTopic(topic string) {
	if len(topic) > MaxName {
		w.blame(TooLong)
	}
	w.stage.topic = topic
}

// StageHeader adds a header to the staged record.
func (w *Writer) StageHeader(name, value string) {
	if len(name) > MaxName {
		w.blame(TooLong)
		return
	}
	w.stage.ext = AppendHeader(w.stage.ext, name, value)
}

// Put adds an op without type: a staged record, or any op without topic and extensions. A record or reply with an empty key
// has none. It does what Op does, in the form that costs a module the least.
func (w *Writer) Put(op PutOp, target, key string, value []byte) {
	put(w, op, target, key, unsafe.SliceData(value), len(value))
}

// PutOp is what Put adds.
type PutOp uint64

// The ops of Put.
const (
	PutSend   PutOp = PutOp(Send) << 32
	PutRecord PutOp = PutOp(Egress)<<32 | NoKey<<40
	PutStaged PutOp = PutRecord | oddStaged
	PutReply  PutOp = PutOp(Reply)<<32 | NoKey<<40
)

// PutInt is Put with a number in decimal.
func (w *Writer) PutInt(op PutOp, target, key string, n int64) {
	u := uint64(n)
	if n < 0 {
		u = -u
	}
	p, at := unsafe.Pointer(&w.digits), len(w.digits) // not one index into digits: a module would check each
	for ; u >= 1<<32; u /= 10 {
		at--
		*(*byte)(unsafe.Add(p, at)) = '0' + byte(u%10)
	}
	for u >= 10 {
		q := u * 0xCCCCCCCD >> 35 // u / 10 for 32 bits: a module has no cheap division
		at--
		*(*byte)(unsafe.Add(p, at)) = '0' + byte(u-q*10)
		u = q
	}
	at--
	*(*byte)(unsafe.Add(p, at)) = '0' + byte(u)
	if n < 0 {
		at--
		*(*byte)(unsafe.Add(p, at)) = '-'
	}
	put(w, op, target, key, (*byte)(unsafe.Add(p, at)), len(w.digits)-at)
}

// PutTombstone is Put of a record without a value.
func (w *Writer) PutTombstone(op PutOp, target, key string) {
	w.putOdd(op, target, key, nil, true)
}

// putInGo is put, in a module only for an op about which something is odd.
func putInGo(w *Writer, op PutOp, target, key string, value *byte, size int) {
	w.putOdd(op, target, key, view(unsafe.Pointer(value), size), false)
}

func (w *Writer) putOdd(op PutOp, target, key string, value []byte, tombstone bool) {
	staged, open, kind := op&oddStaged != 0, w.odd&oddStaged != 0, OpKind(op>>32&0xFF)
	switch {
	case len(target) > MaxName:
		w.blame(TooLong)
	case kind == Egress && open && !staged:
		w.blame(Unput)
	case staged && !open:
		w.blame(PutTwice)
	default:
		op := Op{
			Kind: kind, Target: bytesOf(target), Key: bytesOf(key), NoKey: key == "" && kind != Send, Value: value, NoValue: tombstone,
		}
		if staged {
			op.Topic, op.Ext = bytesOf(w.stage.topic), w.stage.ext
			w.odd &^= oddStaged
		}
		w.Op(&op)
	}
}

// bytesOf is the bytes of s, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Op adds an op of the open message; its Message is ignored. Target, Topic and Type are at most MaxName bytes, which the
// caller checks.
func (w *Writer) Op(op *Op) {
	b := w.reserve(pad8(opHeader + len(op.Target) + len(op.Key) + len(op.Value) + len(op.Topic) + len(op.Type) + len(op.Ext)))
	if b == nil {
		return
	}
	w.ops++
	flags := uint64(0)
	if op.NoKey {
		flags |= NoKey
	}
	if op.NoValue {
		flags |= NoValue
	}
	padTail(b)
	le.PutUint64(b, uint64(len(b))|uint64(op.Kind)<<32|flags<<40|uint64(len(op.Target))<<48)
	le.PutUint64(b[8:], uint64(w.done)|uint64(len(op.Key))<<32)
	le.PutUint64(b[16:], uint64(len(op.Value))|uint64(len(op.Topic))<<32|uint64(len(op.Type))<<48)
	le.PutUint64(b[24:], uint64(len(op.Ext)))
	le.PutUint64(b[32:], uint64(op.Delay))
	b = b[opHeader:]
	for _, part := range [...][]byte{op.Target, op.Key, op.Value, op.Topic, op.Type, op.Ext} {
		b = b[copy(b, part):]
	}
}

// PutText is Put with text.
func (w *Writer) PutText(op PutOp, target, key, value string) {
	put(w, op, target, key, unsafe.StringData(value), len(value))
}
