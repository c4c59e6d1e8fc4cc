package kafkaio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/router"
)

const (
	// batchHeader is the size of a record batch's header (magic 2), in bytes.
	batchHeader = 61
	// batchMagicAt is where every message format keeps its version.
	batchMagicAt = 16
	// batchMagic is the only message format that brokers write since Kafka 0.11.
	batchMagic = 2
	// attrAppendTime says that the broker's clock, and not the producer's, gave the records their time.
	attrAppendTime = 0x08

	attrCodec         = 0x07
	attrTransactional = 0x10
	attrControl       = 0x20
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errBatch  = errors.New("damaged record batch")
	errFormat = errors.New("message format is older than Kafka 0.11: write the topic again with a producer of today")
)

// batchView is a record batch as the broker holds it; the layout stands at batch.
type batchView struct {
	base, next int64 // offsets of the first record and after the last
	first      int64 // timestamp of the first record, unix ms
	latest     int64 // largest timestamp
	producer   producer
	epoch      int32 // of the leader that appended it
	count      int32
	attributes uint16
	records    []byte // still compressed
}

func (v *batchView) control() bool       { return v.attributes&attrControl != 0 }
func (v *batchView) transactional() bool { return v.attributes&attrTransactional != 0 }
func (v *batchView) codec() kgo.CompressionCodecType {
	return kgo.CompressionCodecType(v.attributes & attrCodec)
}

// parseBatch reads the batch at the head of b into v, as views of b, checks its checksum, and returns its length; 0 for
// one that is cut off, as the last of a fetch may be.
func parseBatch(b []byte, v *batchView) (int, error) {
	be := binary.BigEndian
	if len(b) <= batchMagicAt {
		return 0, nil
	}
	if b[batchMagicAt] < batchMagic {
		return 0, fmt.Errorf("%w (version %d)", errFormat, b[batchMagicAt])
	}
	n := int64(int32(be.Uint32(b[8:]))) + 12
	if n < batchHeader {
		return 0, errBatch
	}
	if n > int64(len(b)) {
		return 0, nil
	}
	b = b[:n:n]
	delta := int32(be.Uint32(b[23:]))
	v.base, v.count = int64(be.Uint64(b)), int32(be.Uint32(b[57:]))
	if b[batchMagicAt] != batchMagic || delta < 0 || v.base < 0 || v.base > maxOffset || v.count < 0 || crc32c(b[21:]) != be.Uint32(b[17:]) {
		return 0, errBatch
	}
	v.next = v.base + int64(delta) + 1
	v.first, v.latest = int64(be.Uint64(b[27:])), int64(be.Uint64(b[35:]))
	v.producer = producer{int64(be.Uint64(b[43:])), int16(be.Uint16(b[51:]))}
	v.epoch = int32(be.Uint32(b[12:]))
	v.attributes, v.records = be.Uint16(b[21:]), b[batchHeader:]
	return int(n), nil
}

// maxOffset leaves room for the largest delta of a batch below the largest integer.
const maxOffset = 1<<63 - 1 - 1<<32

// eachRecord walks the records of a batch in order. Keys and values are views that end with the call.
func (v *batchView) eachRecord(d kgo.Decompressor, visit func(offset int64, key, value []byte)) error {
	plain := v.records
	if v.codec() != kgo.CodecNone {
		var err error
		if plain, err = d.Decompress(plain, v.codec()); err != nil {
			return err
		}
	}
	var w walker
	w.start(v, plain)
	for w.left > 0 {
		var r router.Record
		if _, err := w.next(&r); err != nil {
			return err
		}
		visit(r.Offset, r.Key, r.Value)
	}
	return nil
}

// walker goes through the records of one batch in place. It trusts no length.
type walker struct {
	rest  []byte // not read yet
	left  int32  // records not read yet
	base  int64  // offset of delta 0
	least int64  // the smallest delta that may come next: offsets rise
	most  int64  // the largest
	time  int64  // of delta 0, or of all records
	fixed bool   // the broker's time stands for all records
}

// start begins with the records of v, which are plain when uncompressed.
func (w *walker) start(v *batchView, plain []byte) {
	*w = walker{rest: plain, left: v.count, base: v.base, most: v.next - 1 - v.base, time: v.first}
	if v.attributes&attrAppendTime != 0 {
		w.time, w.fixed = v.latest, true
	}
}

// next reads one record into r, as views, all but its headers: those come back as the bytes of their number and of what
// follows.
func (w *walker) next(r *router.Record) (headers []byte, err error) {
	b := w.rest
	size, k := varint(b)
	if k <= 0 || size < 1 || size > int64(len(b)-k) {
		return nil, errBatch
	}
	w.rest = b[k+int(size):]
	b = b[k+1 : k+int(size)] // without the attributes, of which no bit is used
	delta, k := varint(b)
	if k <= 0 {
		return nil, errBatch
	}
	r.Time = w.time
	if !w.fixed {
		r.Time += delta
	}
	b = b[k:]
	delta, k = varint(b)
	if k <= 0 || delta < w.least || delta > w.most {
		return nil, errBatch
	}
	r.Offset, w.least = w.base+delta, delta+1
	b = b[k:]
	var ok bool
	if r.Key, b, ok = takeBytes(b); !ok {
		return nil, errBatch
	}
	if r.Value, b, ok = takeBytes(b); !ok {
		return nil, errBatch
	}
	if w.left--; w.left == 0 && len(w.rest) > 0 {
		return nil, errBatch
	}
	return b, nil
}

// takeHeader splits a header off the bytes that follow the number of headers.
func takeHeader(b []byte) (key, value, rest []byte, ok bool) {
	if key, b, ok = takeBytes(b); !ok || key == nil {
		return nil, nil, nil, false
	}
	value, rest, ok = takeBytes(b)
	return key, value, rest, ok
}

// takeBytes splits a nullable run of bytes off b.
func takeBytes(b []byte) (v, rest []byte, ok bool) {
	n, k := varint(b)
	if k <= 0 || n > int64(len(b)-k) {
		return nil, nil, false
	}
	b = b[k:]
	if n < 0 {
		return nil, b, true
	}
	return b[:n:n], b[n:], true
}

// varint is binary.Varint, with the one and two bytes that nearly all numbers of a record have taken first.
func varint(b []byte) (int64, int) {
	if len(b) >= 2 {
		if b[0] < 0x80 {
			return int64(b[0]>>1) ^ -int64(b[0]&1), 1
		}
		if b[1] < 0x80 {
			u := uint64(b[0]&0x7f) | uint64(b[1])<<7
			return int64(u>>1) ^ -int64(u&1), 2
		}
	}
	return binary.Varint(b)
}

// aborts leaves out what read_committed does not show: the batches of transactions that were aborted.
type aborts struct {
	ahead []kmsg.FetchResponseTopicPartitionAbortedTransaction // by first offset
	void  map[int64]bool                                       // producers inside of an aborted transaction
}

// newAborts takes the list that a fetch brought, in any order.
func newAborts(list []kmsg.FetchResponseTopicPartitionAbortedTransaction) aborts {
	if len(list) == 0 {
		return aborts{}
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return int(min(max(a.FirstOffset-b.FirstOffset, -1), 1))
	})
	return aborts{list, map[int64]bool{}}
}

// hides says whether v is no committed data: a marker, or a batch of an aborted transaction. It is asked once for each
// batch, in order.
func (a *aborts) hides(v *batchView) bool {
	for len(a.ahead) > 0 && a.ahead[0].FirstOffset < v.next {
		a.void[a.ahead[0].ProducerID] = true
		a.ahead = a.ahead[1:]
	}
	if v.control() {
		delete(a.void, v.producer.id)
		return true
	}
	return v.transactional() && a.void[v.producer.id]
}

func crc32c(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
