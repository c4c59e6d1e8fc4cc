package kafkaio

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// script drives a sender without a network: the test is the clock and the brokers.
type script struct {
	t    *testing.T
	s    *sender
	now  time.Time
	told []string // of Sends that are over, in order
}

// scripted has the topic "out" with these leaders.
func scripted(t *testing.T, leaders ...int32) *script {
	e := &Egress{cfg: EgressConfig{Log: slog.New(slog.DiscardHandler)}, declared: map[string]EgressTopic{"out": {Name: "out"}}, extra: map[string]bool{}}
	e.sender = newSender(e)
	e.sender.who = producer{7, 0}
	sc := &script{t: t, s: e.sender, now: time.Now()}
	sc.learn(leaders...)
	return sc
}

// learn is a look that found these leaders; none is a topic that is not found.
func (sc *script) learn(leaders ...int32) {
	topics := map[string]*topic{}
	if len(leaders) > 0 {
		topics["out"] = &topic{name: "out", leaders: leaders, maxBytes: defaultMaxBytes}
	}
	sc.s.e.topics.Store(&topics)
}

// send sends one record for each key; an empty one is none.
func (sc *script) send(name string, keys ...string) {
	var b []byte
	for _, key := range keys {
		r := router.EgressRecord{Topic: []byte("out"), Value: []byte(name)}
		if key != "" {
			r.Key = []byte(key)
		}
		b = router.AppendEgress(b, &r)
	}
	sc.s.accept(b, func(err error) {
		if err != nil {
			name += ": " + err.Error()
		}
		sc.told = append(sc.told, name)
	})
}

// key is one that belongs to a partition.
func (sc *script) key(partition int32) string {
	parts := len((*sc.s.e.topics.Load())["out"].leaders)
	for n := 0; ; n++ {
		if key := fmt.Sprint("k", n); keyPartition([]byte(key), parts) == partition {
			return key
		}
	}
}

// flights are those that leave, long after what came before.
func (sc *script) flights() []*flight {
	sc.now = sc.now.Add(time.Hour)
	for _, t := range sc.s.topics {
		for _, p := range t.parts {
			p.stale = false // a look has passed
		}
	}
	flights := sc.s.plan(sc.now).flights
	slices.SortFunc(flights, func(a, b *flight) int { return int(a.leader - b.leader) })
	for _, f := range flights {
		for _, c := range f.cargo {
			if c.b.sent == nil {
				c.b.close(nil, 0)
			}
			c.b.seal(c.who, c.sequence)
		}
	}
	return flights
}

// answer answers a flight, each of its partitions with the same code.
func (sc *script) answer(f *flight, code *kerr.Error) {
	req, resp := kmsg.NewPtrProduceRequest(), kmsg.NewPtrProduceResponse()
	for _, c := range f.cargo {
		addBatch(req, c.in, c.part.id, c.b.sent)
		rp := kmsg.NewProduceResponseTopicPartition()
		if rp.Partition = c.part.id; code != nil {
			rp.ErrorCode = code.Code
		}
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.Partitions = "out", []kmsg.ProduceResponseTopicPartition{rp}
		resp.Topics = append(resp.Topics, rt)
	}
	sc.s.settle(f, req, resp, nil)
}

// wantFlights wants leader:partition=records@epoch/sequence, space-separated.
func (sc *script) wantFlights(flights []*flight, want string) {
	sc.t.Helper()
	var got []byte
	for _, f := range flights {
		for _, c := range f.cargo {
			got = fmt.Appendf(got, "%d:%d=%d@%d/%d ", f.leader, c.part.id, c.b.count, c.who.epoch, c.sequence)
		}
	}
	if g := string(bytes.TrimSpace(got)); g != want {
		sc.t.Errorf("flights %s, want %s", g, want)
	}
}

func (sc *script) wantTold(want ...string) {
	sc.t.Helper()
	if !slices.Equal(sc.told, want) {
		sc.t.Errorf("told %q, want %q", sc.told, want)
	}
}

func TestOneRequestPerLeaderCarriesAllThatCameMeanwhile(t *testing.T) {
	sc := scripted(t, 1, 2, 1, 2, 1)
	sc.send("first", sc.key(0), sc.key(2))
	first := sc.flights()
	sc.wantFlights(first, "1:0=1@0/0 1:2=1@0/0")
	sc.send("second", sc.key(0), sc.key(1), sc.key(0))
	sc.send("third", sc.key(0), sc.key(4))
	other := sc.flights()
	sc.wantFlights(other, "2:1=1@0/0")
	sc.answer(other[0], nil)
	sc.wantTold()
	sc.answer(first[0], nil)
	sc.wantTold("first")
	next := sc.flights()
	sc.wantFlights(next, "1:4=1@0/0 1:0=3@0/1")
	sc.answer(next[0], kerr.DuplicateSequenceNumber)
	sc.wantTold("first", "second", "third")
	sc.wantFlights(sc.flights(), "")
}

func TestADisownedPartitionBeginsAgainWithALaterEpoch(t *testing.T) {
	sc := scripted(t, 1, 2)
	for range 3 {
		sc.send("settled", sc.key(0), sc.key(1))
		for _, f := range sc.flights() {
			sc.answer(f, nil)
		}
	}
	sc.send("a", sc.key(0), sc.key(1))
	sc.send("b", sc.key(0), sc.key(1))
	flights := sc.flights()
	sc.wantFlights(flights, "1:0=2@0/3 2:1=2@0/3")
	sc.answer(flights[0], kerr.OutOfOrderSequenceNumber)
	sc.answer(flights[1], nil)
	sc.send("c", sc.key(0), sc.key(1))
	flights = sc.flights()
	sc.wantFlights(flights, "1:0=2@1/0 2:1=1@0/5")
	sc.answer(flights[0], nil)
	sc.answer(flights[1], kerr.InvalidProducerEpoch) // a broker with one epoch for all partitions
	flights = sc.flights()
	sc.wantFlights(flights, "1:0=1@1/2 2:1=1@1/0")
	sc.answer(flights[0], nil)
	sc.answer(flights[1], nil)
	sc.wantTold("settled", "settled", "settled", "a", "b", "c")
}

func TestASequenceWrapsAsBrokersWrapIt(t *testing.T) {
	sc := scripted(t, 1)
	sc.send("first", sc.key(0))
	sc.answer(sc.flights()[0], nil)
	sc.s.topics["out"].parts[0].sequence = math.MaxInt32 - 1
	sc.send("second", sc.key(0), sc.key(0), sc.key(0))
	sc.answer(sc.flights()[0], nil)
	sc.send("third", sc.key(0))
	sc.wantFlights(sc.flights(), "1:0=1@0/1")
}

func TestAnEpochThatIsUsedUpAsksForAnotherProducer(t *testing.T) {
	sc := scripted(t, 1)
	sc.s.who.epoch = math.MaxInt16 - 1
	sc.send("a", sc.key(0))
	sc.answer(sc.flights()[0], kerr.UnknownProducerID)
	sc.s.topics["out"].parts[0].stale = false
	if p := sc.s.plan(sc.now.Add(2 * time.Hour)); !p.identify || len(p.flights) > 0 {
		t.Errorf("plan %+v, want to ask for a producer id", p)
	}
	sc.s.who = producer{8, 0}
	sc.wantFlights(sc.flights(), "1:0=1@0/0")
}

func TestAnUnansweredBatchIsSentAgainAsItWas(t *testing.T) {
	sc := scripted(t, 1)
	sc.send("a", sc.key(0))
	f := sc.flights()[0]
	before := f.cargo[0].b.sent
	was := bytes.Clone(before)
	sc.s.settle(f, kmsg.NewPtrProduceRequest(), nil, errors.New("connection is cut"))
	sc.send("b", sc.key(0))
	f = sc.flights()[0]
	sc.wantFlights([]*flight{f}, "1:0=1@0/0")
	again := f.cargo[0].b.sent
	if !bytes.Equal(again, was) {
		t.Errorf("sent %x, then %x", was, again)
	}
	if &again[0] == &before[0] {
		t.Error("the bytes that a connection may still read are written to")
	}
	sc.answer(f, nil)
	sc.wantFlights(sc.flights(), "1:0=1@0/1")
	sc.wantTold("a")
}

func TestRecordsAreGivenUpWhenThereIsNoHope(t *testing.T) {
	for _, one := range []struct {
		err     *kerr.Error
		tries   int
		refused error // that it wraps; nil: none
	}{
		{kerr.UnknownTopicOrPartition, unknownTries, router.ErrUnknownTopic},
		{kerr.UnknownTopicID, unknownTries, router.ErrUnknownTopic},
		{kerr.UnknownServerError, transactTries + 1, nil},
		{kerr.InvalidRecord, 1, kerr.InvalidRecord},
		{kerr.ClusterAuthorizationFailed, 1, nil},
	} {
		t.Run(one.err.Message, func(t *testing.T) {
			sc := scripted(t, 1)
			var told []error
			record := router.AppendEgress(nil, &router.EgressRecord{Topic: []byte("out")})
			sc.s.accept(record, func(err error) { told = append(told, err) })
			for try := range one.tries {
				if len(told) > 0 {
					t.Fatalf("given up after %d tries: %v", try, told)
				}
				sc.answer(sc.flights()[0], one.err)
			}
			if len(told) != 1 || !errors.Is(told[0], one.err) || errors.Is(told[0], router.ErrRefused) != (one.refused != nil) || !errors.Is(told[0], one.refused) && one.refused != nil {
				t.Fatalf("told %v", told)
			}
			if errors.Is(one.err, kerr.ClusterAuthorizationFailed) != errors.Is(told[0], router.ErrAuth) {
				t.Errorf("told %v", told)
			}
			sc.send("next", "k")
			sc.wantFlights(sc.flights(), "1:0=1@0/0")
		})
	}
}

func TestRecordsOfATopicThatIsGoneAreGivenUp(t *testing.T) {
	sc := scripted(t, 1)
	sc.send("before", "k")
	sc.learn()
	sc.send("after", "k")
	for range unknownTries {
		sc.wantTold()
		sc.s.mu.Lock()
		sc.s.refresh(sc.s.topics["out"])
		sc.s.lost(false) // a look without an answer says nothing
		sc.s.lost(true)
		sc.s.unlock()
	}
	if len(sc.told) != 2 {
		t.Fatalf("told %q", sc.told)
	}
	sc.learn(1)
	sc.send("again", "k")
	sc.wantFlights(sc.flights(), "1:0=1@0/0")
}

func TestRecordsOfAPartitionWithoutLeaderWait(t *testing.T) {
	sc := scripted(t, 1, 1)
	sc.send("stays", sc.key(0))
	sc.send("goes", sc.key(1))
	sc.learn(-1) // made again, with one partition
	for range 2 * unknownTries {
		sc.s.mu.Lock()
		sc.s.refresh(sc.s.topics["out"])
		if sc.s.lost(true) != "out" {
			t.Fatal("nothing waits")
		}
		sc.s.unlock()
	}
	sc.wantTold("goes: " + router.ErrRefused.Error() + ": send record 0 to out: " + router.ErrUnknownTopic.Error())
	sc.learn(1)
	sc.wantFlights(sc.flights(), "1:0=1@0/0")
}

func TestRecordsOfATopicThatMayNotBeSeenAreRefused(t *testing.T) {
	sc := scripted(t)
	var told []error
	sc.s.accept(router.AppendEgress(nil, &router.EgressRecord{Topic: []byte("out")}), func(err error) { told = append(told, err) })
	sc.s.e.refusals = map[string]error{"out": kerr.TopicAuthorizationFailed}
	sc.s.mu.Lock()
	sc.s.lost(true)
	sc.s.unlock()
	if len(told) != 1 || !errors.Is(told[0], router.ErrRefused) || !errors.Is(told[0], kerr.TopicAuthorizationFailed) {
		t.Errorf("told %v", told)
	}
}

func TestRecordsWithoutKeyStayTogetherUntilTheirBatchLeaves(t *testing.T) {
	sc := scripted(t, 1, -1, 1)
	sc.send("a", "", "", "")
	sc.wantFlights(sc.flights(), "1:2=3@0/0")
	sc.send("b", "", "")
	sc.send("c", "")
	sc.s.busy = map[int32]bool{}
	sc.wantFlights(sc.flights(), "1:0=3@0/0")
}

func TestARequestIsBounded(t *testing.T) {
	leaders := make([]int32, 40)
	sc := scripted(t, leaders...)
	value := make([]byte, 1_000_000)
	for p := range leaders {
		sc.s.accept(router.AppendEgress(nil, &router.EgressRecord{Topic: []byte("out"), Key: []byte(sc.key(int32(p))), Value: value}), func(err error) { sc.told = append(sc.told, fmt.Sprint(err)) })
	}
	for range 3 {
		f := sc.flights()[0]
		if f.bytes > requestBytes || len(f.cargo) > 16 {
			t.Fatalf("a request of %d bytes", f.bytes)
		}
		sc.answer(f, nil)
	}
	if len(sc.told) != 40 {
		t.Errorf("%d sends are over, want 40", len(sc.told))
	}
	huge := router.EgressRecord{Topic: []byte("out"), Value: make([]byte, requestBytes)}
	sc.s.accept(router.AppendEgress(nil, &huge), func(err error) {
		if !errors.Is(err, router.ErrTooLarge) || !errors.Is(err, router.ErrRefused) {
			t.Errorf("send of %d bytes: %v", requestBytes, err)
		}
		sc.told = nil
	})
	sc.wantTold()
}

func TestSplitParcelsHoldTheSameRecordsOfTheSameSends(t *testing.T) {
	sc := scripted(t, 1)
	whole, outs := sc.s.parcel(), []*outgoing{{}, {}, {}}
	var want []string
	for n := range 300 {
		r := router.EgressRecord{Key: fmt.Append(nil, n), Value: bytes.Repeat([]byte{byte(n)}, n%50), Time: int64(n * (n%3 - 1) * 1000)}
		if n%4 == 0 {
			r.Key, r.Ext = nil, functions.AppendHeader(nil, []byte("name"), fmt.Append(nil, n))
		}
		whole.add(&r, int32(n), math.MaxInt)
		whole.share(outs[n/100])
		want = append(want, fmt.Sprintf("%q %q %v", r.Key, r.Value, r.Time))
	}
	const limit = 2000
	var got []string
	var shares [3]int32
	for _, piece := range whole.split(limit, sc.s.parcel) {
		if len(piece.plain) > limit {
			t.Errorf("a piece has %d bytes", len(piece.plain))
		}
		piece.eachShare(func(out *outgoing, from, to int32) { shares[slices.Index(outs, out)] += to - from })
		piece.close(nil, 0)
		piece.seal(producer{1, 1}, 0)
		var raw kmsg.RecordBatch
		if err := raw.ReadFrom(piece.sent); err != nil {
			t.Fatal(err)
		}
		records := raw.Records
		for n := range raw.NumRecords {
			var r kmsg.Record
			if err := r.ReadFrom(records); err != nil {
				t.Fatal(err)
			}
			records = records[len(r.AppendTo(nil)):]
			if r.OffsetDelta != n || piece.index[n] != int32(len(got)) {
				t.Fatalf("record %d of a piece has delta %d and index %d, want index %d", n, r.OffsetDelta, piece.index[n], len(got))
			}
			got = append(got, fmt.Sprintf("%q %q %v", r.Key, r.Value, raw.FirstTimestamp+r.TimestampDelta64))
			if headers := (len(got)-1)%4 == 0; headers != (len(r.Headers) == 1) {
				t.Errorf("record %d has headers %v", len(got)-1, r.Headers)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pieces hold\n%q, want\n%q", got, want)
	}
	if shares != [3]int32{100, 100, 100} {
		t.Errorf("shares %v", shares)
	}
}

func TestCloseEndsWhatWaitsAndWhatIsUnderWay(t *testing.T) {
	sc := scripted(t, 1)
	sc.send("under way", "k")
	f := sc.flights()[0]
	sc.send("waits", "k")
	sc.s.close()
	sc.wantTold("under way: send record 0 to out: client closed", "waits: send record 0 to out: client closed")
	sc.answer(f, nil)
	sc.wantFlights(sc.flights(), "")
	if len(sc.told) != 2 {
		t.Errorf("told %q", sc.told)
	}
}

func TestADamagedSendIsToldOnce(t *testing.T) {
	sc := scripted(t, 1)
	good := router.AppendEgress(nil, &router.EgressRecord{Topic: []byte("out")})
	told := 0
	sc.s.accept(append(good, 1, 2, 3), func(err error) {
		if told++; !errors.Is(err, router.ErrOutbox) {
			t.Errorf("told %v", err)
		}
	})
	sc.answer(sc.flights()[0], nil)
	sc.s.close()
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	sc.s.accept(good, func(err error) {
		if told++; !errors.Is(err, kgo.ErrClientClosed) {
			t.Errorf("told %v", err)
		}
	})
}
