package functions

import (
	"encoding/binary"
	"errors"
	"iter"
)

// Kind says where a message comes from and so who waits for its answer.
type Kind uint8

const (
	KindSend    Kind = iota // from another function
	KindIngress             // from a record of an ingress
	KindRequest             // from an HTTP request: its answer leaves at the commit point
	KindRead                // a linearizable state read: never reaches a guest
)

// NoSender is the Sender of a message that no function sent.
const NoSender = 0xFFFF

// Message is one message for one address, as a view into bytes that its holder owns.
//
//	 0 u32 length of all, header included      12 u32 value length
//	 4 u16 target: function id of the job      16 i64 event time, unix ms
//	 6 u16 sender: function id, or NoSender    24 u32 extensions length
//	 8 u8  kind   9 u8 attempts so far         28 u32 key length
//	10 u16 sender key length                   32 key | sender key | value | extensions
//
// All little-endian, not padded. Function ids are those of the job's dictionary (Job.Functions), stable over versions.
type Message struct {
	Target    uint16
	Sender    uint16
	Kind      Kind
	Attempts  uint8
	Time      int64
	Key       []byte
	SenderKey []byte
	Value     []byte
	Ext       []byte // tagged extensions: AppendExt, Exts
}

// MessageHeader is the size of a message's fixed header in bytes.
const MessageHeader = 32

// MaxMessageBytes bounds one encoded message: 16 times Kafka's default record limit.
const MaxMessageBytes = 16 << 20

// ErrMessage reports bytes that are not a message.
var ErrMessage = errors.New("damaged message")

// Size is the number of bytes that AppendMessage writes.
func (m *Message) Size() int {
	return MessageHeader + len(m.Key) + len(m.SenderKey) + len(m.Value) + len(m.Ext)
}

// AppendMessage appends m in bytes.
func AppendMessage(b []byte, m *Message) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(m.Size()))
	b = le.AppendUint16(b, m.Target)
	b = le.AppendUint16(b, m.Sender)
	b = append(b, byte(m.Kind), m.Attempts)
	b = le.AppendUint16(b, uint16(len(m.SenderKey)))
	b = le.AppendUint32(b, uint32(len(m.Value)))
	b = le.AppendUint64(b, uint64(m.Time))
	b = le.AppendUint32(b, uint32(len(m.Ext)))
	b = le.AppendUint32(b, uint32(len(m.Key)))
	b = append(b, m.Key...)
	b = append(b, m.SenderKey...)
	b = append(b, m.Value...)
	return append(b, m.Ext...)
}

// ParseMessage reads the message at the head of b into m, as views of b, and returns its length in bytes.
func ParseMessage(b []byte, m *Message) (int, error) {
	le := binary.LittleEndian
	if len(b) < MessageHeader {
		return 0, ErrMessage
	}
	n := int(le.Uint32(b))
	if n < MessageHeader || n > len(b) {
		return 0, ErrMessage
	}
	senderKey, value, ext, key := int(le.Uint16(b[10:])), int(le.Uint32(b[12:])), int(le.Uint32(b[24:])), int(le.Uint32(b[28:]))
	if uint64(n) != uint64(MessageHeader)+uint64(key)+uint64(senderKey)+uint64(value)+uint64(ext) {
		return 0, ErrMessage
	}
	m.Target, m.Sender = le.Uint16(b[4:]), le.Uint16(b[6:])
	m.Kind, m.Attempts = Kind(b[8]), b[9]
	m.Time = int64(le.Uint64(b[16:]))
	at := MessageHeader
	m.Key = b[at : at+key : at+key]
	at += key
	m.SenderKey = b[at : at+senderKey : at+senderKey]
	at += senderKey
	m.Value = b[at : at+value : at+value]
	at += value
	m.Ext = b[at:n:n]
	return n, nil
}

// Tag names an extension of a message or of an egress record.
type Tag uint8

const (
	TagType        Tag = 1 // value type name, such as io.statefun.types/long
	TagHeader      Tag = 2 // one header: u16 key length, key, value; may repeat, order kept
	TagCoordinates Tag = 3 // where an ingress record came from: i32 partition, i64 offset, topic
	TagCorrelation Tag = 4 // KindRequest and KindRead: opaque bytes that bring the answer back to who waits
	TagIdempotency Tag = 5 // KindRequest: the Idempotency-Key
	TagRedrive     Tag = 6 // KindRequest: a dead letter that is tried again, in place of an answer that was a failure
	TagTrace       Tag = 7 // the trace context of a sampled message: before all others, see AppendTrace
)

// AppendExt appends one extension: u8 tag, u8 0, u16 0, u32 length, value.
func AppendExt(b []byte, tag Tag, value []byte) []byte {
	b = append(b, byte(tag), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// AppendHeader appends one header as a TagHeader extension.
func AppendHeader(b []byte, key, value []byte) []byte {
	b = append(b, byte(TagHeader), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(2+len(key)+len(value)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(key)))
	b = append(b, key...)
	return append(b, value...)
}

// Exts walks the extensions in b; it stops at the first damaged one. Unknown tags are for the caller to skip.
func Exts(b []byte) iter.Seq2[Tag, []byte] {
	return func(yield func(Tag, []byte) bool) {
		for len(b) >= 8 {
			n := uint64(binary.LittleEndian.Uint32(b[4:]))
			if n > uint64(len(b)-8) {
				return
			}
			if !yield(Tag(b[0]), b[8:8+n:8+n]) {
				return
			}
			b = b[8+n:]
		}
	}
}

// Ext is the first extension with this tag, or nil.
func Ext(b []byte, tag Tag) []byte {
	for t, v := range Exts(b) {
		if t == tag {
			return v
		}
	}
	return nil
}

// SplitHeader splits the value of a TagHeader extension; ok is false when it is damaged.
func SplitHeader(v []byte) (key, value []byte, ok bool) {
	if len(v) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(v))
	if n > len(v)-2 {
		return nil, nil, false
	}
	return v[2 : 2+n : 2+n], v[2+n:], true
}
