package main

import (
	"math/rand/v2"
	"testing"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/sdk/go/weirtest"
)

// received is what a topic holds.
func received(t *testing.T, records []weirtest.Record, letter byte) []history.Received {
	t.Helper()
	var all []history.Received
	for _, r := range records {
		at, err := workload.ParseKey(r.Key, letter)
		if err != nil {
			t.Fatal(err)
		}
		out, err := workload.ParseOutput(r.String())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, history.Received{At: at, Output: out})
	}
	return all
}

func TestTheFunctionsDoWhatTheCheckerExpects(t *testing.T) {
	h := weirtest.New(t)
	random := rand.New(rand.NewPCG(1, 2))
	seen := history.History{Sources: map[uint16]history.Source{}, Counters: map[uint16]history.Counter{}}
	var seqs [workload.Sources]uint32
	for i := range uint32(300) {
		source := uint16(random.IntN(workload.Sources))
		seqs[source]++
		in := workload.Input{Seq: seqs[source], Fanout: uint8(1 + random.IntN(workload.MaxFanout)), Hops: uint8(random.IntN(workload.MaxHops + 1))}
		seen.Inputs = append(seen.Inputs, history.Input{Source: source, Input: in})
		h.Deliver(workload.Inputs, workload.SourceKey(source), string(in.Append(nil)))

		token := workload.Token{HTTP: true, Source: 3, Seq: i + 1}
		request := workload.Message{Token: token, From: 3, Number: i + 1}
		reply := h.Invoke(workload.Counter, workload.CounterKey(token.Target()), string(request.Append(nil)))
		if err := reply.Err(); err != nil {
			t.Fatal(err)
		}
		seen.Calls = append(seen.Calls, history.Call{Client: 3, Seq: i + 1, Answers: []uint32{uint32(reply.Int64())}})
	}
	if failures := h.Failures(); len(failures) > 0 {
		t.Fatal(failures)
	}
	seen.Effects, seen.Acks = received(t, h.Egress(workload.Effects), 'c'), received(t, h.Egress(workload.Acks), 's')
	for n := range uint16(workload.Sources) {
		seen.Sources[n] = history.Source{
			Count: state(h, count, workload.Source, workload.SourceKey(n)),
			Sent:  state(h, sent, workload.Source, workload.SourceKey(n)),
			Seq:   state(h, seq, workload.Source, workload.SourceKey(n)),
		}
	}
	for n := range uint16(workload.Counters) {
		seen.Counters[n] = history.Counter{
			Count: state(h, count, workload.Counter, workload.CounterKey(n)),
			Sent:  state(h, sent, workload.Counter, workload.CounterKey(n)),
		}
	}
	if v := history.Check(&seen); !v.Good() || v.Records != 300 || v.Requests != 300 {
		t.Errorf("%+v", v)
	}
}

func state(h *weirtest.Harness, of weirtest.State[int64], function, key string) int64 {
	n, _ := weirtest.Get(h, of, function, key)
	return n
}
