package kafkaio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/router"
)

const (
	// batchHeader is the size of a record batch's header (magic 2), in bytes.
	batchHeader = 61
	// batchBytes is where a batch is cut, where the topic takes more: Kafka's default, so that consumers need not fetch
	// larger pieces than they do anyway.
	batchBytes = 1 << 20
	// recordOverhead bounds what a record's own lengths add: seven varints of five bytes, attributes, a timestamp delta.
	recordOverhead = 7*5 + 1 + 10
	// headerOverhead bounds the two lengths of a header.
	headerOverhead = 2 * 5

	attrCodec         = 0x07
	attrTransactional = 0x10
	attrControl       = 0x20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errBatch   = errors.New("damaged record batch")
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
	plain   []byte       // header and records
	packed  bytes.Buffer // compressed records
	sent    []byte       // plain, or header and packed: what goes to the broker
	wire    []byte       // backs sent when packed
	index   []int32      // of each record in the outbox
	count   int32
	first   int64 // timestamp of the first record, unix ms
	latest  int64 // largest timestamp
	scratch []byte
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

// add appends r, which is record number index of its outbox.
func (b *batch) add(r *router.EgressRecord, index int32) {
	if b.count == 0 {
		b.first, b.latest = r.Time, r.Time
	}
	b.latest = max(b.latest, r.Time)
	s := append(b.scratch[:0], 0) // attributes
	s = binary.AppendVarint(s, r.Time-b.first)
	s = binary.AppendVarint(s, int64(b.count))
	s = appendBytes(s, r.Key)
	s = appendBytes(s, r.Value)
	headers := int64(0)
	for range router.Headers(r.Ext) {
		headers++
	}
	s = binary.AppendVarint(s, headers)
	for k, v := range router.Headers(r.Ext) {
		s = binary.AppendVarint(s, int64(len(k)))
		s = append(s, k...)
		s = appendBytes(s, v)
	}
	b.plain = binary.AppendVarint(b.plain, int64(len(s)))
	b.plain = append(b.plain, s...)
	b.scratch = s
	b.index = append(b.index, index)
	b.count++
}

// appendBytes appends a nullable run of bytes.
func appendBytes(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	b = binary.AppendVarint(b, int64(len(v)))
	return append(b, v...)
}

// close compresses, if c is not nil and it helps, and fills what does not depend on the producer.
func (b *batch) close(c kgo.Compressor) {
	b.sent = b.plain
	var attributes uint16 = attrTransactional
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

// batchView is a record batch as the broker holds it.
type batchView struct {
	base, next int64 // offsets of the first record and after the last
	producer   producer
	attributes uint16
	count      int32
	records    []byte // still compressed
}

func (v *batchView) control() bool       { return v.attributes&attrControl != 0 }
func (v *batchView) transactional() bool { return v.attributes&attrTransactional != 0 }

// parseBatch reads the batch at the head of b into v, as views of b, and returns its length; 0 for one that is cut off,
// as the last of a fetch may be.
func parseBatch(b []byte, v *batchView) (int, error) {
	be := binary.BigEndian
	if len(b) < 12 {
		return 0, nil
	}
	n := int64(int32(be.Uint32(b[8:]))) + 12
	if n < batchHeader {
		return 0, errBatch
	}
	if n > int64(len(b)) {
		return 0, nil
	}
	b = b[:n]
	delta := int32(be.Uint32(b[23:]))
	v.base, v.count = int64(be.Uint64(b)), int32(be.Uint32(b[57:]))
	if b[16] != 2 || delta < 0 || v.base < 0 || v.count < 0 || crc32c(b[21:]) != be.Uint32(b[17:]) {
		return 0, errBatch
	}
	v.next = v.base + int64(delta) + 1
	v.producer = producer{int64(be.Uint64(b[43:])), int16(be.Uint16(b[51:]))}
	v.attributes, v.records = be.Uint16(b[21:]), b[batchHeader:]
	return int(n), nil
}

// eachRecord walks the records of a batch in order. Keys and values are views that end with the call.
func (v *batchView) eachRecord(d kgo.Decompressor, visit func(offset int64, key, value []byte)) error {
	records := v.records
	if codec := v.attributes & attrCodec; codec != 0 {
		var err error
		if records, err = d.Decompress(records, kgo.CompressionCodecType(codec)); err != nil {
			return err
		}
	}
	for len(records) > 0 {
		size, k := binary.Varint(records)
		if k <= 0 || size < 1 || size > int64(len(records)-k) {
			return errBatch
		}
		r := records[k+1 : k+int(size)] // without the attributes
		records = records[k+int(size):]
		_, k = binary.Varint(r)
		if k <= 0 {
			return errBatch
		}
		delta, j := binary.Varint(r[k:])
		if j <= 0 {
			return errBatch
		}
		key, r, ok := takeBytes(r[k+j:])
		if !ok {
			return errBatch
		}
		value, _, ok := takeBytes(r)
		if !ok {
			return errBatch
		}
		visit(v.base+delta, key, value)
	}
	return nil
}

// takeBytes splits a nullable run of bytes off b.
func takeBytes(b []byte) (v, rest []byte, ok bool) {
	n, k := binary.Varint(b)
	if k <= 0 || n > int64(len(b)-k) {
		return nil, nil, false
	}
	b = b[k:]
	if n < 0 {
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
