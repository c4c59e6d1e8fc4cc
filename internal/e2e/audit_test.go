package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

// stage is a broker with the topics of a soak, and what a perfect platform would write.
type stage struct {
	*world
	client *kgo.Client
	counts map[uint16]uint32
}

func newStage(t *testing.T) *stage {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	w := &world{options: &options{}, brokers: cluster.ListenAddrs()[0]}
	if err := w.createTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &stage{world: w, client: client, counts: map[uint16]uint32{}}
}

func (s *stage) write(t *testing.T, topic, key string, value []byte) {
	t.Helper()
	if err := s.client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// cause writes input seq of source 1, and effect writes what it causes.
func (s *stage) cause(t *testing.T, seq uint32) {
	t.Helper()
	s.write(t, workload.Inputs, workload.SourceKey(1), workload.Input{Seq: seq, Fanout: 1}.Append(nil))
}

func (s *stage) effect(t *testing.T, seq uint32) {
	t.Helper()
	token := workload.Token{Source: 1, Seq: seq}
	s.counts[token.Target()]++
	out := workload.Output{Message: workload.Message{Token: token, From: 1, Number: seq}, Count: s.counts[token.Target()]}
	s.write(t, workload.Effects, workload.CounterKey(token.Target()), out.Append(nil))
}

func (s *stage) audit(t *testing.T) *audit {
	t.Helper()
	a, err := s.openAudit()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}

func TestAnAuditExplainsOutputsByInputsThatItReadsAfterThem(t *testing.T) {
	s := newStage(t)
	a := s.audit(t)
	settled, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- a.follow(t.Context(), settled) }() // ends when settled is closed
	for seq := uint32(1); seq <= 200; seq++ {
		s.cause(t, seq)
		s.effect(t, seq)
	}
	close(settled)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := a.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if seen, open := a.progress(); seen != (totals{200, 200}) || open != 0 {
		t.Errorf("%+v, %d open: %+v", seen, open, a.verdict())
	}
}

func TestAnAuditFindsLossAndDoubling(t *testing.T) {
	s := newStage(t)
	for seq := range uint32(3) {
		s.cause(t, seq+1)
	}
	s.effect(t, 1)
	s.effect(t, 3)
	a := s.audit(t)
	if err := a.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, open := a.progress(); open != 2 {
		t.Errorf("%d open, want the lost one and the one behind it", open)
	}
	s.effect(t, 1)
	if err := a.finish(t.Context()); !errors.Is(err, errBad) {
		t.Errorf("an effect came twice: %v", err)
	}
	if v := a.stream.Finish(nil, nil); v.Lost != 1 || v.Doubled != 1 {
		t.Errorf("%+v", v)
	}
}

func TestAnAuditDoesNotSkipWhatRetentionTook(t *testing.T) {
	s := newStage(t)
	s.cause(t, 1)
	s.effect(t, 1)
	partition := kadm.Offsets{}
	ends, err := kadm.NewClient(s.client).ListEndOffsets(t.Context(), workload.Effects)
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			partition.AddOffset(o.Topic, o.Partition, o.Offset, -1)
		}
	})
	if _, err := kadm.NewClient(s.client).DeleteRecords(t.Context(), partition); err != nil {
		t.Fatal(err)
	}
	if err := s.audit(t).finish(t.Context()); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Errorf("the record is gone, and the audit says %v", err)
	}
}

func TestFeedingNumbersTheInputsOfASourceAndEndsWhenTold(t *testing.T) {
	s := newStage(t)
	s.rate = 10_000
	a := s.audit(t)
	var fed atomic.Int64
	enough, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.feedUntil(t.Context(), rand.New(rand.NewPCG(1, 1)), &fed, enough) }()
	read := func() int64 { // the stream refuses an input that is not the next of its source
		if err := a.finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen, _ := a.progress()
		return seen.inputs
	}
	for read() < 500 {
	}
	close(enough)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := read(); got != fed.Load() {
		t.Errorf("%d inputs are in the topic, of %d", got, fed.Load())
	}
}

func TestClientsTellTheAudit(t *testing.T) {
	a := &audit{stream: history.NewStream()}
	if err := a.asks(history.Call{Client: 2, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	a.heard(history.Call{Client: 2, Seq: 1, Answers: []uint32{4}})
	if _, open := a.progress(); open != 1 {
		t.Errorf("%d open before the effect has come", open)
	}
	if err := a.asks(history.Call{Client: 2, Seq: 3}); err == nil {
		t.Error("a request is left out, and nobody minds")
	}
}

func TestAnAuditEndsWithItsContext(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.audit(t).follow(ctx, make(chan struct{})); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
