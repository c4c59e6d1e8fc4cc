package kafkaio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// stored is a batch as a broker holds it.
type stored struct {
	base       int64
	span       int32 // offsets that it covers; 0 is as many as it has records
	attributes uint16
	producer   int64
	epoch      int32
	codec      string
	records    []kmsg.Record // their lengths are filled in
}

// plainRecords are n records with rising offsets, each step after the last.
func plainRecords(n int, step int32, size int) []kmsg.Record {
	var all []kmsg.Record
	for i := range n {
		all = append(all, kmsg.Record{
			OffsetDelta: int32(i) * step, TimestampDelta64: int64(i), Key: fmt.Append(nil, "key", i), Value: bytes.Repeat([]byte{byte(i)}, size),
			Headers: []kmsg.Header{{Key: "trace", Value: fmt.Append(nil, i)}, {Key: "empty", Value: nil}},
		})
	}
	return all
}

func (s stored) append(t testing.TB, b []byte) []byte {
	t.Helper()
	var body []byte
	for _, r := range s.records {
		r.Length = 1
		r.Length = int32(len(r.AppendTo(nil)) - 1) // one byte of length
		body = r.AppendTo(body)
	}
	if s.codec != "" {
		codec, err := codecNamed(s.codec)
		if err != nil {
			t.Fatal(err)
		}
		c, err := kgo.DefaultCompressor(codec)
		if err != nil {
			t.Fatal(err)
		}
		packed, as := c.Compress(&bytes.Buffer{}, body)
		body, s.attributes = packed, s.attributes|uint16(as)
	}
	if s.span == 0 && len(s.records) > 0 {
		s.span = s.records[len(s.records)-1].OffsetDelta + 1
	}
	from := len(b)
	b = (&kmsg.RecordBatch{
		FirstOffset: s.base, Length: int32(len(body) + batchHeader - 12), PartitionLeaderEpoch: s.epoch, Magic: 2, Attributes: int16(s.attributes),
		LastOffsetDelta: s.span - 1, FirstTimestamp: 1000, MaxTimestamp: 9000, ProducerID: s.producer, NumRecords: int32(len(s.records)), Records: body,
	}).AppendTo(b)
	binary.BigEndian.PutUint32(b[from+17:], crc32c(b[from+21:]))
	return b
}

// single is an ingress without a cluster that reads one partition from a fetch.
func single(t testing.TB) (*Ingress, *source) {
	t.Helper()
	in, err := OpenIngress(IngressConfig{Tasks: 1, Ingress: functions.Ingress{
		ID: "in", Cluster: functions.Cluster{Address: "127.0.0.1:1"}, Topics: []functions.IngressTopic{{Topic: "t"}}, Invalid: functions.Invalid{MaxBytes: 1000},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.cl.Close)
	return in, &source{start: router.Position{Partition: router.Partition{Ingress: "in", Topic: "t"}}, at: mark{0, -1}}
}

// offer puts an answer where Poll finds it.
func offer(in *Ingress, src *source, p *kmsg.FetchResponseTopicPartition) error {
	f := &fetcher{in: in, taken: make(chan struct{}, 1)}
	d := f.blank()
	if err := d.add(src, p); err != nil || len(d.parts) == 0 {
		return err
	}
	d.seal()
	in.queue = append(in.queue, d)
	return nil
}

// polled is what Poll gives of an answer, limit records at a time, and the error with which Run would end.
func polled(in *Ingress, src *source, p *kmsg.FetchResponseTopicPartition, limit int) (got []router.Record, next router.Position, err error) {
	next = src.start
	next.Offset, next.LeaderEpoch = src.at.offset, src.at.epoch
	if err := offer(in, src, p); err != nil {
		return nil, next, err
	}
	for f := in.Poll(limit); f != nil; f = in.Poll(limit) {
		if len(f.Records) > limit {
			return nil, next, fmt.Errorf("poll of %d gave %d records", limit, len(f.Records))
		}
		for _, r := range f.Records {
			c := r
			c.Key, c.Value, c.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), nil
			for _, h := range r.Headers {
				c.Headers = append(c.Headers, router.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)})
			}
			got = append(got, c)
			if r.Offset >= f.Next.Offset {
				return nil, next, fmt.Errorf("record at %d, next at %d", r.Offset, f.Next.Offset)
			}
		}
		next = f.Next
	}
	select {
	case err = <-in.failed:
	default:
	}
	return got, next, err
}

// twin is what the client library makes of the same answer.
func twin(src *source, p *kmsg.FetchResponseTopicPartition, maxBytes int) (want []router.Record, next int64, err error) {
	f, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Offset: src.at.offset, IsolationLevel: kgo.ReadCommitted(), Topic: "t"}, p, kgo.DefaultDecompressor(), nil)
	for _, k := range f.Records {
		r := router.Record{Key: k.Key, Value: k.Value, Time: k.Timestamp.UnixMilli(), Offset: k.Offset}
		size := len(k.Key) + len(k.Value)
		for _, h := range k.Headers {
			r.Headers = append(r.Headers, router.Header(h))
			size += len(h.Key) + len(h.Value)
		}
		r.Oversized = size > maxBytes
		want = append(want, r)
	}
	return want, next, f.Err
}

// same compares records; slices that are empty and those that are absent differ only in keys and values.
func same(got, want []router.Record) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d records, want %d", len(got), len(want))
	}
	for n := range got {
		if !reflect.DeepEqual(got[n], want[n]) {
			return fmt.Errorf("record %d is %+v, want %+v", n, got[n], want[n])
		}
	}
	return nil
}

// fetchOf is a fetch of batches.
func fetchOf(t testing.TB, batches ...stored) *kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	for _, b := range batches {
		p.RecordBatches = b.append(t, p.RecordBatches)
	}
	p.HighWatermark, p.LastStableOffset = 1000, 900
	return &p
}

func TestRecordsAreThoseThatTheClientLibraryReads(t *testing.T) {
	cut := fetchOf(t, stored{records: plainRecords(3, 1, 20)}, stored{base: 3, records: plainRecords(3, 1, 20)})
	cut.RecordBatches = cut.RecordBatches[:len(cut.RecordBatches)-5]
	aborted := fetchOf(t,
		stored{records: plainRecords(2, 1, 5), attributes: attrTransactional, producer: 1},
		stored{base: 2, records: plainRecords(2, 1, 5), attributes: attrTransactional, producer: 2},
		stored{base: 4, records: plainRecords(1, 1, 5), attributes: attrTransactional | attrControl, producer: 2},
		stored{base: 5, records: plainRecords(1, 1, 5), attributes: attrTransactional | attrControl, producer: 1},
		stored{base: 6, records: plainRecords(2, 1, 5), attributes: attrTransactional, producer: 2},
		stored{base: 8, records: plainRecords(1, 1, 5), producer: 1},
		stored{base: 9, records: plainRecords(1, 1, 5), attributes: attrTransactional | attrControl, producer: 2})
	aborted.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 2, FirstOffset: 6}, {ProducerID: 1, FirstOffset: 0}}
	cases := map[string]struct {
		from int64
		p    *kmsg.FetchResponseTopicPartition
	}{
		"Nothing":            {0, fetchOf(t)},
		"OneBatch":           {0, fetchOf(t, stored{records: plainRecords(100, 1, 20)})},
		"MiddleOfABatch":     {5, fetchOf(t, stored{records: plainRecords(10, 1, 20)})},
		"BatchBeforeOffset":  {3, fetchOf(t, stored{records: plainRecords(3, 1, 20)}, stored{base: 3, records: plainRecords(2, 1, 9)})},
		"Compacted":          {0, fetchOf(t, stored{records: plainRecords(4, 3, 20), span: 40}, stored{base: 40, span: 20}, stored{base: 70, records: plainRecords(1, 1, 1)})},
		"CompactedToNothing": {0, fetchOf(t, stored{base: 4, span: 3})},
		"CutOff":             {0, cut},
		"AppendTime":         {0, fetchOf(t, stored{records: plainRecords(3, 1, 20), attributes: attrAppendTime})},
		"Oversized":          {0, fetchOf(t, stored{records: plainRecords(2, 1, 1001)})},
		"Aborted":            {0, aborted},
		"NullsAndEmpties": {0, fetchOf(t, stored{records: []kmsg.Record{{}, {OffsetDelta: 1, Key: []byte{}, Value: []byte{}}, {
			OffsetDelta: 2, Headers: []kmsg.Header{{}, {Key: "a", Value: []byte{}}, {Key: "a", Value: []byte("2")}}}}})},
	}
	for _, codec := range []string{"gzip", "snappy", "lz4", "zstd"} {
		var many []stored
		for n := range int64(40) {
			many = append(many, stored{base: 50 * n, codec: codec, records: plainRecords(50, 1, 500), epoch: int32(n)})
		}
		cases["Compressed"+codec] = struct {
			from int64
			p    *kmsg.FetchResponseTopicPartition
		}{7, fetchOf(t, many...)}
	}
	for name, c := range cases {
		for _, limit := range []int{1, 3, 64, 10000} {
			t.Run(fmt.Sprintf("%s-%d", name, limit), func(t *testing.T) {
				in, src := single(t)
				src.at.offset = c.from
				want, end, err := twin(src, c.p, 1000)
				if err != nil {
					t.Fatal(err)
				}
				got, next, err := polled(in, src, c.p, limit)
				if err = errors.Join(err, same(got, want)); err != nil {
					t.Fatal(err)
				}
				if next.Offset != end {
					t.Errorf("goes on at %d, want %d", next.Offset, end)
				}
			})
		}
	}
}

func TestPositionsCarryTheEpochOfWhatWasRead(t *testing.T) {
	in, src := single(t)
	p := fetchOf(t, stored{records: plainRecords(2, 1, 5), epoch: 3}, stored{base: 2, records: plainRecords(1, 1, 5), epoch: 4},
		stored{base: 3, records: plainRecords(1, 1, 5), epoch: 5, attributes: attrControl})
	if err := offer(in, src, p); err != nil {
		t.Fatal(err)
	}
	for _, want := range []mark{{1, 3}, {2, 3}, {4, 5}} {
		f := in.Poll(1)
		if f == nil || f.Next.Offset != want.offset || f.Next.LeaderEpoch != want.epoch || f.HighWater != 900 {
			t.Fatalf("poll gave %+v, want to go on at %+v below 900", f, want)
		}
	}
}

func TestBatchesThatCannotBeReadAreNamed(t *testing.T) {
	flipped := fetchOf(t, stored{base: 7, records: plainRecords(3, 1, 20)})
	flipped.RecordBatches[len(flipped.RecordBatches)-1] ^= 1
	old := fetchOf(t, stored{records: plainRecords(3, 1, 20)})
	old.RecordBatches[batchMagicAt] = 1
	falling := plainRecords(2, 1, 20)
	falling[0].OffsetDelta, falling[1].OffsetDelta = 1, 0
	packed := fetchOf(t, stored{records: plainRecords(3, 1, 20)})
	packed.RecordBatches[22] = 4 // zstd, which it is not
	binary.BigEndian.PutUint32(packed.RecordBatches[17:], crc32c(packed.RecordBatches[21:]))
	more := fetchOf(t, stored{base: 7, records: plainRecords(3, 1, 20)})
	binary.BigEndian.PutUint32(more.RecordBatches[57:], 2) // the number of records
	mend(more.RecordBatches)
	for name, c := range map[string]struct {
		p    *kmsg.FetchResponseTopicPartition
		want string
	}{
		"TooMany":     {more, "read t[0]: batch at offset 7: damaged record batch"},
		"Checksum":    {flipped, "damaged record batch"},
		"OldFormat":   {old, "older than Kafka 0.11"},
		"FallOffsets": {fetchOf(t, stored{base: 7, span: 2, records: falling}), "read t[0]: batch at offset 7: damaged record batch"},
		"Packed":      {packed, "batch at offset 0: decompress"},
		"TooFew":      {fetchOf(t, stored{span: 9, records: append(plainRecords(1, 1, 20), kmsg.Record{OffsetDelta: 30})}), "damaged record batch"},
	} {
		t.Run(name, func(t *testing.T) {
			in, src := single(t)
			_, _, err := polled(in, src, c.p, 10)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
			if f := in.Poll(1); f != nil {
				t.Errorf("poll after the error gave %+v", f)
			}
		})
	}
}

func TestBatchesThatWouldFillTheMemoryAreRefused(t *testing.T) {
	zeros := kmsg.Record{Value: make([]byte, maxPlainBytes)}
	in, src := single(t)
	_, _, err := polled(in, src, fetchOf(t, stored{codec: "zstd", records: []kmsg.Record{zeros}}), 10)
	if !errors.Is(err, kgo.ErrMaxDecompress) {
		t.Errorf("got error %v, want %v", err, kgo.ErrMaxDecompress)
	}
}

func FuzzFetchedBatches(f *testing.F) {
	for _, codec := range []string{"", "gzip", "snappy", "lz4", "zstd"} {
		p := fetchOf(f, stored{records: plainRecords(3, 2, 20), codec: codec}, stored{base: 6, records: plainRecords(1, 1, 1), attributes: attrControl | attrTransactional})
		f.Add(p.RecordBatches, int64(0), uint8(2), true)
		f.Add(p.RecordBatches[:len(p.RecordBatches)-9], int64(3), uint8(1), false)
	}
	in, src := single(f)
	f.Fuzz(func(t *testing.T, b []byte, from int64, limit uint8, aborts bool) {
		if len(b) > 1<<16 || from < 0 {
			return
		}
		mend(b)
		in.reader.work, in.reader.open, in.reader.broken, in.queue, src.at.offset = nil, false, false, nil, from
		p := kmsg.NewFetchResponseTopicPartition()
		p.RecordBatches = b
		if aborts {
			p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 0, FirstOffset: 0}, {ProducerID: math.MaxInt64, FirstOffset: math.MinInt64}}
		}
		got, next, err := polled(in, src, &p, int(limit)+1)
		if err != nil {
			return // the library is more lenient
		}
		want, end, err := twin(src, &p, 1000)
		hidden := hiddenIn(&p)
		if err != nil && hidden {
			return // it looks into what is hidden
		}
		if err = errors.Join(err, same(got, want)); err != nil {
			t.Fatal(err)
		}
		if next.Offset != end && !hidden {
			t.Fatalf("goes on at %d, want %d", next.Offset, end)
		}
	})
}

// hiddenIn says whether read_committed leaves out some batch of an answer.
func hiddenIn(p *kmsg.FetchResponseTopicPartition) bool {
	aborted := newAborts(p.AbortedTransactions)
	var v batchView
	for b := p.RecordBatches; ; {
		n, err := parseBatch(b, &v)
		if err != nil || n == 0 {
			return false
		}
		if aborted.hides(&v) {
			return true
		}
		b = b[n:]
	}
}

// mend gets batches past their checksums.
func mend(b []byte) {
	for len(b) > batchHeader {
		n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + 12
		if n < batchHeader || n > int64(len(b)) {
			return
		}
		binary.BigEndian.PutUint32(b[17:], crc32c(b[21:n]))
		b = b[n:]
	}
}

// BenchmarkPoll is the way from the bytes of an answer to views of records, checksums included.
func BenchmarkPoll(b *testing.B) {
	for _, codec := range []string{"", "lz4", "zstd"} {
		for _, size := range []int{10, 1000} { // records in a batch
			var all []stored
			const records = 10000
			for n := range records / size {
				s := stored{base: int64(n * size), codec: codec, records: plainRecords(size, 1, 100)}
				for i := range s.records {
					s.records[i].Headers = nil
				}
				all = append(all, s)
			}
			p := fetchOf(b, all...)
			b.Run(fmt.Sprintf("codec=%s/batch=%d", codec, size), func(b *testing.B) {
				in, src := single(b)
				f := &fetcher{in: in, taken: make(chan struct{}, 1)}
				b.ReportAllocs()
				b.ResetTimer()
				for left := b.N; left > 0; {
					d := f.blank()
					if err := d.add(src, p); err != nil {
						b.Fatal(err)
					}
					d.seal()
					in.queue = append(in.queue, d)
					for got := in.Poll(512); got != nil; got = in.Poll(512) {
						left -= len(got.Records)
					}
				}
			})
		}
	}
}
