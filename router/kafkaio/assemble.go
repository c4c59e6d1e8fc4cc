package kafkaio

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/router"
)

const (
	// batchBytes is where a batch is cut, where the topic takes more: Kafka's default, so that consumers need not fetch
	// larger pieces than they do anyway.
	batchBytes = 1 << 20
	// recordOverhead bounds what a record's own lengths add: seven varints of five bytes, attributes, a timestamp delta.
	recordOverhead = 7*5 + 1 + 10
	// headerOverhead bounds the two lengths of a header.
	headerOverhead = 2 * 5
)

// batch is one record batch under construction:
//
//	 0 i64 base offset      23 i32 last offset delta   53 i32 base sequence
//	 8 i32 length after it  27 i64 first timestamp     57 i32 records
//	12 i32 leader epoch     35 i64 max timestamp       61 records: varint length, attributes, timestamp delta,
//	16 i8  magic, 2         43 i64 producer id            offset delta, key, value, headers
//	17 u32 crc32c from 21   51 i16 producer epoch
//	21 i16 attributes
type batch struct {
	plain  []byte       // header and records
	packed bytes.Buffer // compressed records
	sent   []byte       // plain, or header and packed: what goes to the broker
	wire   []byte       // backs sent when packed
	index  []int32      // of each record in the outbox
	count  int32
	lent   bool  // a connection may still read sent: no byte of it is written again, and the batch is not used again
	first  int64 // timestamp of the first record, unix ms
	latest int64 // largest timestamp
}

func (b *batch) reset() {
	b.plain = append(b.plain[:0], make([]byte, batchHeader)...)
	b.index, b.count, b.sent = b.index[:0], 0, nil
}

// recordBound is at least the size of r within a batch, in bytes.
func recordBound(r *router.EgressRecord) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for k, v := range router.Headers(r.Ext) {
		n += headerOverhead + len(k) + len(v)
	}
	return n
}

// add appends r, which is record number index of its outbox, and returns true: unless the batch would then have more than
// limit bytes. Its first record a batch takes at any size.
func (b *batch) add(r *router.EgressRecord, index int32, limit int) bool {
	if b.count == 0 {
		b.first, b.latest = r.Time, r.Time
	}
	delta, headers := r.Time-b.first, int64(0)
	size := 1 + varintSize(delta) + varintSize(int64(b.count)) + bytesSize(r.Key) + bytesSize(r.Value)
	if len(r.Ext) > 0 {
		for k, v := range router.Headers(r.Ext) {
			headers++
			size += varintSize(int64(len(k))) + len(k) + bytesSize(v)
		}
	}
	size += varintSize(headers)
	whole := len(b.plain) + varintSize(int64(size)) + size
	if whole > limit && b.count > 0 {
		return false
	}
	p := slices.Grow(b.plain, whole-len(b.plain))
	p = append(binary.AppendVarint(p, int64(size)), 0) // no attributes
	p = binary.AppendVarint(p, delta)
	p = binary.AppendVarint(p, int64(b.count))
	p = appendBytes(p, r.Key)
	p = appendBytes(p, r.Value)
	p = binary.AppendVarint(p, headers)
	if headers > 0 {
		for k, v := range router.Headers(r.Ext) {
			p = append(binary.AppendVarint(p, int64(len(k))), k...)
			p = appendBytes(p, v)
		}
	}
	b.plain = p
	b.took(r.Time, index)
	return true
}

// addBody is add for a record whose key, value and headers are encoded already.
func (b *batch) addBody(at int64, body []byte, index int32, limit int) bool {
	if b.count == 0 {
		b.first, b.latest = at, at
	}
	size := 1 + varintSize(at-b.first) + varintSize(int64(b.count)) + len(body)
	if len(b.plain)+varintSize(int64(size))+size > limit && b.count > 0 {
		return false
	}
	b.plain = append(binary.AppendVarint(b.plain, int64(size)), 0) // no attributes
	b.plain = binary.AppendVarint(b.plain, at-b.first)
	b.plain = binary.AppendVarint(b.plain, int64(b.count))
	b.plain = append(b.plain, body...)
	b.took(at, index)
	return true
}

func (b *batch) took(at int64, index int32) {
	b.latest = max(b.latest, at)
	b.index = append(b.index, index)
	b.count++
}

// varintSize is the number of bytes of a varint.
func varintSize(v int64) int {
	return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7
}

// bytesSize is the number of bytes that appendBytes appends.
func bytesSize(v []byte) int {
	if v == nil {
		return 1
	}
	return varintSize(int64(len(v))) + len(v)
}

// appendBytes appends a nullable run of bytes.
func appendBytes(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	b = binary.AppendVarint(b, int64(len(v)))
	return append(b, v...)
}

// close compresses, if c is not nil and it helps, and fills what does not depend on the producer. attributes are those of
// the batch but its codec.
func (b *batch) close(c kgo.Compressor, attributes uint16) {
	b.sent = b.plain
	if c != nil {
		b.packed.Reset()
		if packed, codec := c.Compress(&b.packed, b.plain[batchHeader:]); codec != kgo.CodecNone && len(packed) < len(b.plain)-batchHeader {
			b.wire = append(append(b.wire[:0], b.plain[:batchHeader]...), packed...)
			b.sent, attributes = b.wire, attributes|uint16(codec)
		}
	}
	be := binary.BigEndian
	be.PutUint64(b.sent, 0)
	be.PutUint32(b.sent[8:], uint32(len(b.sent)-12))
	be.PutUint32(b.sent[12:], 0xffffffff)
	b.sent[16] = 2
	be.PutUint16(b.sent[21:], attributes)
	be.PutUint32(b.sent[23:], uint32(b.count-1))
	be.PutUint64(b.sent[27:], uint64(b.first))
	be.PutUint64(b.sent[35:], uint64(b.latest))
	be.PutUint32(b.sent[57:], uint32(b.count))
}

// seal fills what the producer says, and the checksum. It may be called again for another producer epoch.
func (b *batch) seal(p producer, sequence int32) {
	be := binary.BigEndian
	be.PutUint64(b.sent[43:], uint64(p.id))
	be.PutUint16(b.sent[51:], uint16(p.epoch))
	be.PutUint32(b.sent[53:], uint32(sequence))
	be.PutUint32(b.sent[17:], crc32c(b.sent[21:]))
}

// unanswered is told when a request with the batch ended without an answer: the connection may still be about to write
// it, so the next try gets bytes of its own.
func (b *batch) unanswered() {
	b.sent, b.lent = slices.Clone(b.sent), true
}
