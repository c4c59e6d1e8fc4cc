package routertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// EgressTopic is a topic that an egress may write to.
type EgressTopic struct {
	Name        string
	Create      int
	Compression string
}

// OpenEgress is an implementation's constructor.
type OpenEgress func(topics ...EgressTopic) (router.Egress, error)

// TestEgress runs the suite of router.Egress and router.Lane.
func TestEgress(t *testing.T, w World, open OpenEgress) {
	s := egressSuite{w, open}
	for name, run := range map[string]func(*testing.T){
		"PublishedOutboxesAreVisibleOnceInOrder":   s.publish,
		"PreparedOutboxIsSeenWhenPublished":        s.prepared,
		"PreparedOutboxIsGivenUpForAnother":        s.givenUp,
		"RecoverGivesUpWhatWasPrepared":            s.abandoned,
		"RecordsLeaveWholeWithEveryCompression":    s.whole,
		"KeysChooseThePartitionThatJavaChooses":    s.keys,
		"LargeOutboxIsCutIntoBatches":              s.large,
		"RecoverSendsOnlyWhatLiesAboveTheMarker":   s.recover,
		"RecoverOfANewLaneWritesMarkerZero":        s.fresh,
		"MarkerThatDoesNotFitIsRefused":            s.misfit,
		"FencedLanePublishesNothing":               s.fenced,
		"LanesShareTopicsAndKeepTheirMarkers":      s.lanes,
		"RecordThatIsTooLargeIsCheckedAndRefused":  s.tooLarge,
		"UnknownTopicIsChecked":                    s.unknown,
		"TopicIsCreatedOnDemand":                   s.create,
		"SendAcknowledgesAllOrTellsWhatWasRefused": s.send,
	} {
		t.Run(name, run)
	}
}

type egressSuite struct {
	w    World
	open OpenEgress
}

// opened is an egress whose Run goes on in background, and a context that ends a test that hangs.
func (s egressSuite) opened(t *testing.T, topics ...EgressTopic) (context.Context, router.Egress) {
	t.Helper()
	e, err := s.open(topics...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, e.Close()); err != nil {
			t.Errorf("egress did not end in order: %v", err)
		}
	})
	return ctx, e
}

func (s egressSuite) topic(t *testing.T, partitions int) string {
	name := topicName(t, "out")
	s.w.Create(t, name, partitions)
	return name
}

// lane opens a lane and recovers it.
func (s egressSuite) lane(ctx context.Context, t *testing.T, e router.Egress, id string, known bool, last uint64, cookie []byte, pending ...router.Pending) router.Lane {
	t.Helper()
	l, err := e.Lane(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := l.Recover(ctx, known, last, cookie, pending); err != nil {
		t.Fatal(err)
	}
	return l
}

// outbox encodes records for a topic, in two pieces.
func outbox(topic string, records ...Record) [][]byte {
	pieces := make([][]byte, 2)
	for n, r := range records {
		out := router.EgressRecord{Topic: []byte(topic), Key: r.Key, Value: r.Value, Time: r.Time}
		for _, h := range r.Headers {
			out.Ext = functions.AppendHeader(out.Ext, []byte(h.Key), h.Value)
		}
		p := n * 2 / len(records)
		pieces[p] = router.AppendEgress(pieces[p], &out)
	}
	return pieces
}

// keyed are records with the values from to to-1 and a key of their own.
func keyed(from, to int) []Record {
	var r []Record
	for n := from; n < to; n++ {
		r = append(r, Record{Key: fmt.Appendf(nil, "key-%d", n%10), Value: fmt.Appendf(nil, "%d", n), Time: hourAgo + int64(n)})
	}
	return r
}

// wantOrder wants the values of each key to rise.
func wantOrder(t *testing.T, got []Record) {
	t.Helper()
	last := map[string]string{}
	for _, r := range got {
		before := last[string(r.Key)]
		if now := string(r.Value); len(now) < len(before) || len(now) == len(before) && now <= before {
			t.Fatalf("key %s: value %s after %s", r.Key, now, before)
		}
		last[string(r.Key)] = string(r.Value)
	}
}

func publish(ctx context.Context, t *testing.T, l router.Lane, number uint64, box [][]byte) {
	t.Helper()
	if err := l.Publish(ctx, number, box); err != nil {
		t.Fatal(err)
	}
}

func (s egressSuite) publish(t *testing.T) {
	name := s.topic(t, 4)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	l := s.lane(ctx, t, e, name+"/0", false, 0, nil)
	for n := range 20 {
		publish(ctx, t, l, uint64(n+1), outbox(name, keyed(n*20, n*20+20)...))
		wantValues(t, s.w.Read(t, name), 0, n*20+20)
	}
	wantOrder(t, s.w.Read(t, name))
	publish(ctx, t, l, 40, nil) // numbers may be left out, and an outbox may be empty
	wantValues(t, s.w.Read(t, name), 0, 400)
}

func (s egressSuite) whole(t *testing.T) {
	for _, codec := range []string{"", "none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			name := s.topic(t, 1)
			ctx, e := s.opened(t, EgressTopic{Name: name, Compression: codec})
			l := s.lane(ctx, t, e, name, false, 0, nil)
			want := []Record{
				{Offset: 0, Key: []byte("k"), Value: bytes.Repeat([]byte("v"), 100), Time: hourAgo + 123, Headers: []router.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}},
				{Offset: 1, Value: []byte("no key"), Time: hourAgo + 100},
				{Offset: 2, Key: []byte("tombstone"), Time: hourAgo + 125},
				{Offset: 3, Key: []byte{}, Value: []byte{}, Time: hourAgo + 126, Headers: []router.Header{{Key: "b", Value: []byte{}}}},
			}
			publish(ctx, t, l, 1, outbox(name, want...))
			got := s.w.Read(t, name)
			for n := range got {
				got[n].Offset = want[n%len(want)].Offset // where it stands is the log's affair
			}
			if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
				t.Errorf("\n got %.2000s\nwant %.2000s", g, w)
			}
		})
	}
}

func (s egressSuite) keys(t *testing.T) {
	name := s.topic(t, 100)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	l := s.lane(ctx, t, e, name, false, 0, nil)
	// murmur2 with Kafka's seed, sign bit cleared, modulo 100: hashes from Kafka's own tests.
	want := map[string]int32{
		"21": (-973932308 & 0x7fffffff) % 100, "foobar": (-790332482 & 0x7fffffff) % 100,
		"a-little-bit-long-string": (-985981536 & 0x7fffffff) % 100, "a-little-bit-longer-string": (-1486304829 & 0x7fffffff) % 100,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": (-58897971 & 0x7fffffff) % 100, "abc": 479470107 % 100,
	}
	var records []Record
	for key := range want {
		records = append(records, Record{Key: []byte(key), Value: []byte("lane"), Time: hourAgo})
	}
	publish(ctx, t, l, 1, outbox(name, records...))
	done := make(chan error, 1)
	e.Send(bytes.Join(outbox(name, records...), nil), func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := s.w.Read(t, name)
	if len(got) != 2*len(want) {
		t.Fatalf("got %d records, want %d", len(got), 2*len(want))
	}
	for _, r := range got {
		if r.Partition != want[string(r.Key)] {
			t.Errorf("key %s is in partition %d, want %d", r.Key, r.Partition, want[string(r.Key)])
		}
	}
}

func (s egressSuite) large(t *testing.T) {
	name := s.topic(t, 2)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	l := s.lane(ctx, t, e, name, false, 0, nil)
	records := keyed(0, 60)
	for n := range records {
		records[n].Headers = []router.Header{{Key: "pad", Value: bytes.Repeat([]byte{byte(n)}, 100_000)}}
	}
	publish(ctx, t, l, 1, outbox(name, records...))
	got := s.w.Read(t, name)
	wantValues(t, got, 0, 60)
	wantOrder(t, got)
}

func (s egressSuite) recover(t *testing.T) {
	name := s.topic(t, 4)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	l := s.lane(ctx, t, e, name, false, 0, nil)
	box := func(n int) [][]byte { return outbox(name, keyed(n*20, n*20+20)...) }
	for n := range 5 {
		publish(ctx, t, l, uint64(n+1), box(n))
	}
	cookie := l.Cookie()
	publish(ctx, t, l, 6, box(5))
	// The manifest knows of outboxes 6 and 7, and that 5 is out; outbox 6 is out as well.
	again := s.lane(ctx, t, e, name, true, 7, cookie, router.Pending{Number: 6, Outbox: box(5)}, router.Pending{Number: 7, Outbox: box(6)})
	got := s.w.Read(t, name)
	wantValues(t, got, 0, 140)
	wantOrder(t, got)
	// Once more, as after a crash in the middle of that recovery.
	s.lane(ctx, t, e, name, true, 7, cookie, router.Pending{Number: 6, Outbox: box(5)}, router.Pending{Number: 7, Outbox: box(6)})
	wantValues(t, s.w.Read(t, name), 0, 140)
	if err := again.Publish(ctx, 8, box(7)); err == nil {
		t.Fatal("a lane that was taken over published")
	}
}

func (s egressSuite) fresh(t *testing.T) {
	name := s.topic(t, 1)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	s.lane(ctx, t, e, name, false, 0, nil)
	s.lane(ctx, t, e, name, false, 0, nil) // a crash before the manifest named it
	l := s.lane(ctx, t, e, name, true, 1, nil)
	publish(ctx, t, l, 2, outbox(name, keyed(0, 1)...))
	wantValues(t, s.w.Read(t, name), 0, 1)
}

func (s egressSuite) misfit(t *testing.T) {
	name := s.topic(t, 1)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	l, err := e.Lane(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Recover(ctx, true, 3, nil, nil); !errors.Is(err, router.ErrMarker) {
		t.Fatalf("recover of a lane without the marker it must have: %v, want %v", err, router.ErrMarker)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	publish(ctx, t, s.lane(ctx, t, e, name, false, 3, nil), 9, nil)
	again, err := e.Lane(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Recover(ctx, true, 8, nil, nil); !errors.Is(err, router.ErrMarker) {
		t.Fatalf("recover of a lane whose marker is above the manifest: %v, want %v", err, router.ErrMarker)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func (s egressSuite) fenced(t *testing.T) {
	name := s.topic(t, 4)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	dead := s.lane(ctx, t, e, name, false, 0, nil)
	publish(ctx, t, dead, 1, outbox(name, keyed(0, 20)...))
	alive := s.lane(ctx, t, e, name, true, 1, dead.Cookie())
	publish(ctx, t, alive, 2, outbox(name, keyed(20, 40)...))
	if err := dead.Publish(ctx, 2, outbox(name, keyed(20, 40)...)); err == nil {
		// It may find its outbox published by the other, which is the truth; it must not publish it.
		t.Log("the dead lane found its outbox published")
	}
	wantValues(t, s.w.Read(t, name), 0, 40)
	last := s.lane(ctx, t, e, name, true, 2, alive.Cookie())
	publish(ctx, t, last, 3, outbox(name, keyed(40, 60)...))
	wantValues(t, s.w.Read(t, name), 0, 60)
}

func (s egressSuite) lanes(t *testing.T) {
	name := s.topic(t, 4)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	const lanes = 20 // more than there can be partitions for markers
	var all [lanes]router.Lane
	for n := range all {
		all[n] = s.lane(ctx, t, e, fmt.Sprintf("%s/%d", name, n), false, 0, nil)
		publish(ctx, t, all[n], uint64(n+1), outbox(name, keyed(n*10, n*10+10)...))
	}
	for n := range all {
		s.lane(ctx, t, e, fmt.Sprintf("%s/%d", name, n), true, uint64(n+1), nil)
		publish(ctx, t, s.lane(ctx, t, e, fmt.Sprintf("%s/%d", name, n), true, uint64(n+1), nil), uint64(n+2), nil)
	}
	wantValues(t, s.w.Read(t, name), 0, lanes*10)
}

func (s egressSuite) tooLarge(t *testing.T) {
	name := s.topic(t, 1)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	l := s.lane(ctx, t, e, name, false, 0, nil)
	large := Record{Key: []byte("k"), Value: bytes.Repeat([]byte("x"), 2<<20), Time: hourAgo}
	if err := e.Check(&router.EgressRecord{Topic: []byte(name), Key: large.Key, Value: large.Value}); !errors.Is(err, router.ErrTooLarge) {
		t.Errorf("check: %v, want %v", err, router.ErrTooLarge)
	}
	if err := e.Check(&router.EgressRecord{Topic: []byte(name), Key: large.Key, Value: large.Value[:1000]}); err != nil {
		t.Errorf("check of a small record: %v", err)
	}
	err := l.Publish(ctx, 1, outbox(name, append(keyed(0, 3), large)...))
	if !errors.Is(err, router.ErrRefused) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "record 3") {
		t.Errorf("publish: %v, want %v that names record 3 to %s", err, router.ErrRefused, name)
	}
	if got := s.w.Read(t, name); len(got) != 0 {
		t.Errorf("%d records of a refused outbox are visible", len(got))
	}
	publish(ctx, t, s.lane(ctx, t, e, name, true, 0, nil), 1, outbox(name, keyed(0, 3)...))
	wantValues(t, s.w.Read(t, name), 0, 3)
}

func (s egressSuite) unknown(t *testing.T) {
	name, absent := s.topic(t, 1), topicName(t, "absent")
	ctx, e := s.opened(t, EgressTopic{Name: name}, EgressTopic{Name: absent})
	s.lane(ctx, t, e, name, false, 0, nil) // Kafka has answered
	for _, topic := range []string{absent, topicName(t, "undeclared")} {
		if err := e.Check(&router.EgressRecord{Topic: []byte(topic)}); !errors.Is(err, router.ErrUnknownTopic) {
			t.Errorf("check of a record to topic %s: %v, want %v", topic, err, router.ErrUnknownTopic)
		}
	}
	if err := e.Check(&router.EgressRecord{Topic: []byte(name)}); err != nil {
		t.Errorf("check of a topic that exists: %v", err)
	}
}

func (s egressSuite) create(t *testing.T) {
	name := topicName(t, "out")
	ctx, e := s.opened(t, EgressTopic{Name: name, Create: 3})
	l := s.lane(ctx, t, e, name, false, 0, nil)
	publish(ctx, t, l, 1, outbox(name, keyed(0, 30)...))
	got := s.w.Read(t, name)
	wantValues(t, got, 0, 30)
	used := map[int32]bool{}
	for _, r := range got {
		used[r.Partition] = true
	}
	if len(used) != 3 {
		t.Errorf("records are in partitions %v, want 3", used)
	}
}

func (s egressSuite) send(t *testing.T) {
	name := s.topic(t, 4)
	_, e := s.opened(t, EgressTopic{Name: name, Compression: "lz4"})
	done := make(chan error, 100)
	for n := range 100 {
		e.Send(bytes.Join(outbox(name, keyed(n*10, n*10+10)...), nil), func(err error) { done <- err })
	}
	for range 100 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	got := s.w.Read(t, name)
	wantValues(t, got, 0, 1000)
	wantOrder(t, got)
	e.Send(nil, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Errorf("send of nothing: %v", err)
	}
	random := make([]byte, 3<<20) // does not shrink below the limit, whatever the compression
	state := uint64(1)
	for n := range random {
		state = state*6364136223846793005 + 1442695040888963407
		random[n] = byte(state >> 56)
	}
	e.Send(bytes.Join(outbox(name, Record{Key: []byte("k"), Value: []byte("1000")}, Record{Key: []byte("k"), Value: random}), nil), func(err error) { done <- err })
	if err := <-done; !errors.Is(err, router.ErrRefused) || !strings.Contains(err.Error(), "record 1") {
		t.Errorf("send of a record that is too large: %v, want %v that names record 1", err, router.ErrRefused)
	}
}
