package kafkaio_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

// bounded is an ingress of topics that ends.
func bounded(t *testing.T, k *kafka, bound functions.Bound, positions []router.Position, topics ...functions.IngressTopic) *kafkaio.Ingress {
	t.Helper()
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
		Tasks: 1, Positions: positions, Started: len(positions) > 0, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Ingress: functions.Ingress{ID: "in", Cluster: k.cluster(), Bounded: &bound, Topics: topics},
	})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// toTheEnd reads until the ingress is done, and returns how many records came and the positions after them.
func toTheEnd(t *testing.T, in *kafkaio.Ingress, done chan error) (records int, positions []router.Position) {
	t.Helper()
	next := map[router.Partition]router.Position{}
	tick := time.NewTicker(time.Millisecond) // being done is not said
	defer tick.Stop()
	for !in.Done() {
		if f := in.Poll(7); f != nil {
			records += len(f.Records)
			next[f.Partition] = f.Next
			continue
		}
		select {
		case <-in.Ready():
		case <-tick.C:
		case err := <-done:
			t.Fatalf("ingress ended: %v", err)
		}
	}
	if f := in.Poll(7); f != nil {
		t.Fatalf("poll after the end gave %+v", f)
	}
	positions, _ = in.Positions()
	for n := range positions {
		if p, ok := next[positions[n].Partition]; ok {
			positions[n] = p
		}
	}
	return records, positions
}

func TestBoundedIngressIsDoneAtTheEndItStartedWith(t *testing.T) {
	_, k := fake(t)
	k.Create(t, "in", 3) // partition 2 stays empty
	var before, after []routertest.Record
	for n := range 60 {
		before = append(before, routertest.Record{Partition: int32(n % 2), Value: []byte("before")})
		after = append(after, routertest.Record{Partition: int32(n % 3), Value: []byte("after")})
	}
	k.Write(t, "in", before...)
	in := bounded(t, k, functions.Bound{Type: "latest"}, nil, functions.IngressTopic{Topic: "in"})
	cancel, done := run(t, in)
	for settled := false; !settled; {
		<-in.Ready()
		_, settled = in.Positions()
	}
	k.Write(t, "in", after...)
	starts, _ := in.Positions()
	records, positions := toTheEnd(t, in, done)
	cancel()
	if records != 60 {
		t.Errorf("%d records, want 60", records)
	}
	for n, c := range []struct {
		name    string
		from    []router.Position
		records int
	}{{"FromTheStart", starts, 60}, {"FromTheEnd", positions, 0}} {
		t.Run(c.name, func(t *testing.T) {
			k.Grow(t, "in", 4+n)
			again := bounded(t, k, functions.Bound{Type: "latest"}, c.from, functions.IngressTopic{Topic: "in"})
			_, done := run(t, again)
			if records, positions := toTheEnd(t, again, done); records != c.records || len(positions) != 3 {
				t.Errorf("%d records and %d positions after a restart, want %d and 3", records, len(positions), c.records)
			}
		})
	}
}

func TestBoundedIngressEndsAtATime(t *testing.T) {
	_, k := fake(t)
	k.Create(t, "in", 1)
	start := time.Now().Add(-time.Hour).UnixMilli()
	var all []routertest.Record
	for n := range int64(50) {
		all = append(all, routertest.Record{Value: []byte("v"), Time: start + n})
	}
	k.Write(t, "in", all...) // one batch, which the end cuts
	in := bounded(t, k, functions.Bound{Type: "timestamp", Time: time.UnixMilli(start + 20)}, nil, functions.IngressTopic{Topic: "in"})
	_, done := run(t, in)
	records, positions := toTheEnd(t, in, done)
	if records != 20 || positions[0].Offset != 20 || positions[0].End != 20 {
		t.Errorf("%d records up to %+v, want 20", records, positions[0])
	}
}

func TestBoundedIngressWaitsForItsTopicsAndForOpenTransactions(t *testing.T) {
	_, k := fake(t)
	k.Create(t, "in", 1)
	k.Transact(t, "in", true, numberedValues(5, 1)...)
	k.Transact(t, "in", false, numberedValues(5, 1)...) // its records and marker end the log
	in := bounded(t, k, functions.Bound{Type: "latest"}, nil, functions.IngressTopic{Topic: "in"}, functions.IngressTopic{Topic: "late"}, functions.IngressTopic{Pattern: "none.*"})
	_, done := run(t, in)
	drain(t, in, done, 5)
	if in.Done() {
		t.Error("it is done before a topic that it names is there")
	}
	k.Create(t, "late", 1)
	if records, positions := toTheEnd(t, in, done); records != 0 || len(positions) != 2 {
		t.Errorf("%d more records of %d partitions, want none of 2", records, len(positions))
	}
}

func TestIngressThatIsNoLongerBoundedReadsOn(t *testing.T) {
	_, k := fake(t)
	k.Create(t, "in", 1)
	k.Write(t, "in", numberedValues(5, 1)...)
	at := position(t, k, "in", 2)
	at.End = 3
	in := open(t, k, "in", at)
	_, done := run(t, in)
	drain(t, in, done, 3)
	if in.Done() {
		t.Error("it is done, though it has no end")
	}
}
