package kafkaio

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// built is a batch of three records, as it goes to the broker.
func built(t testing.TB, codec string) []byte {
	t.Helper()
	c, err := codecNamed(codec)
	if err != nil {
		t.Fatal(err)
	}
	compressor, err := kgo.DefaultCompressor(c)
	if err != nil {
		t.Fatal(err)
	}
	var b batch
	b.reset()
	b.add(&router.EgressRecord{Key: []byte("a"), Value: bytes.Repeat([]byte("v"), 500), Time: 50, Ext: functions.AppendHeader(nil, []byte("h"), []byte("1"))}, 0, batchBytes)
	b.add(&router.EgressRecord{Value: []byte("no key"), Time: 40}, 1, batchBytes)
	b.add(&router.EgressRecord{Key: []byte("tombstone"), Time: 60}, 2, batchBytes)
	b.close(compressor, attrTransactional)
	b.seal(producer{7, 3}, 11)
	return bytes.Clone(b.sent)
}

func TestBatchesReadAsTheProtocolSays(t *testing.T) {
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		raw := built(t, codec)
		var want kmsg.RecordBatch
		if err := want.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		if want.ProducerID != 7 || want.ProducerEpoch != 3 || want.FirstSequence != 11 || want.NumRecords != 3 || want.FirstTimestamp != 50 || want.MaxTimestamp != 60 {
			t.Errorf("%s: batch reads as %+v", codec, want)
		}
		var v batchView
		n, err := parseBatch(append(raw, 1, 2, 3), &v)
		if err != nil || n != len(raw) || v.next != 3 || v.producer != (producer{7, 3}) || !v.transactional() || v.control() {
			t.Errorf("%s: parsed %d of %d bytes as %+v: %v", codec, n, len(raw), v, err)
		}
		var keys, values []string
		if err := v.eachRecord(kgo.DefaultDecompressor(), func(offset int64, key, value []byte) {
			if offset != int64(len(keys)) {
				t.Errorf("%s: offset %d of record %d", codec, offset, len(keys))
			}
			keys, values = append(keys, string(key)), append(values, string(value))
		}); err != nil {
			t.Fatal(err)
		}
		if len(keys) != 3 || keys[0] != "a" || values[1] != "no key" || keys[2] != "tombstone" {
			t.Errorf("%s: records %q %q", codec, keys, values)
		}
	}
}

func TestRecordBoundIsNeverTooSmall(t *testing.T) {
	for _, r := range []router.EgressRecord{
		{}, {Key: []byte{}, Value: []byte{}}, {Time: 1 << 60, Key: make([]byte, 1<<20), Value: make([]byte, 1<<21)},
		{Ext: functions.AppendHeader(functions.AppendHeader(nil, make([]byte, 300), make([]byte, 70000)), nil, nil)},
	} {
		var b batch
		b.reset()
		b.add(&router.EgressRecord{}, 0, math.MaxInt)
		before := len(b.plain)
		b.add(&r, 1, math.MaxInt)
		if size := len(b.plain) - before; size > recordBound(&r) {
			t.Errorf("record takes %d bytes, bound is %d", size, recordBound(&r))
		}
	}
}

func FuzzBatches(f *testing.F) {
	for _, codec := range []string{"none", "lz4"} {
		f.Add(built(f, codec), true)
		f.Add(built(f, codec)[:80], false)
	}
	d := kgo.DefaultDecompressor()
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) > batchHeader { // get past the checksum
			binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
			binary.BigEndian.PutUint32(b[17:], crc32c(b[21:]))
		}
		_, _ = walk(b, []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7}}, 0, 1<<40, func(v *batchView) error {
			return v.eachRecord(d, func(_ int64, key, value []byte) { _ = len(key) + len(value) })
		})
	})
}

func FuzzFrameHeads(f *testing.F) {
	f.Add([]byte{0, 0, 0, 10, 0, 18, 0, 3})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, head []byte) {
		if len(head) < frameHead {
			return
		}
		size, err := judgeFrame(head)
		if err == nil && (size < smallestFrame || size > maxFrameBytes || kmsg.RequestForKey(int16(binary.BigEndian.Uint16(head[4:]))) == nil) {
			t.Errorf("frame of %d bytes with head %x is let through", size, head)
		}
	})
}

func BenchmarkOutboxIntoBatches(b *testing.B) {
	var box []byte
	const records = 1000
	for n := range records {
		box = router.AppendEgress(box, &router.EgressRecord{Topic: []byte("out"), Key: binary.BigEndian.AppendUint64(nil, uint64(n)), Value: make([]byte, 100)})
	}
	e := &Egress{}
	topics := map[string]*topic{
		"out":       {name: "out", leaders: make([]int32, 4), maxBytes: defaultMaxBytes},
		markerTopic: {name: markerTopic, leaders: make([]int32, markerPartitions), maxBytes: defaultMaxBytes},
	}
	e.topics.Store(&topics)
	l := newLane(e, "lane")
	b.ReportAllocs()
	b.SetBytes(int64(len(box)))
	number := uint64(0)
	for b.Loop() {
		number++
		if err := l.stage(b.Context(), number, [][]byte{box}); err != nil {
			b.Fatal(err)
		}
		for _, p := range l.staged {
			for _, one := range p.batches {
				one.seal(l.who, 0)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
}
