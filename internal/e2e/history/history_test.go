package history_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

// good is the history of a perfect platform, which takes inputs and requests one after the other.
func good() *history.History {
	h := &history.History{Sources: map[uint16]history.Source{}, Counters: map[uint16]history.Counter{}}
	requests := uint32(0)
	for seq := uint32(1); seq <= 20; seq++ {
		for source := range uint16(3) {
			in := workload.Input{Seq: seq, Fanout: uint8(seq%workload.MaxFanout) + 1, Hops: uint8(seq % (workload.MaxHops + 1))}
			h.Inputs = append(h.Inputs, history.Input{Source: source, Input: in})
			run(h, source, in)
		}
		requests++
		call(h, 5, requests)
	}
	return h
}

func run(h *history.History, source uint16, in workload.Input) {
	s := h.Sources[source]
	s.Seq = int64(in.Seq)
	var queue []workload.Message
	send := func(m workload.Message) {
		s.Sent++
		m.From, m.Number = source, uint32(s.Sent)
		queue = append(queue, m)
	}
	for branch := range in.Fanout {
		send(workload.Message{Token: workload.Token{Source: source, Seq: in.Seq, Branch: branch}, Hops: in.Hops})
	}
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		receive(h, m)
		if m.Hop == m.Hops {
			continue
		}
		counter := h.Counters[m.Target()]
		counter.Sent++
		h.Counters[m.Target()] = counter
		m.From, m.Number = m.Target(), uint32(counter.Sent)
		s.Count++
		h.Acks = append(h.Acks, history.Received{At: source, Output: workload.Output{Message: m, Count: uint32(s.Count)}})
		m.Hop++
		send(m)
	}
	h.Sources[source] = s
}

func receive(h *history.History, m workload.Message) uint32 {
	counter := h.Counters[m.Target()]
	counter.Count++
	h.Counters[m.Target()] = counter
	h.Effects = append(h.Effects, history.Received{At: m.Target(), Output: workload.Output{Message: m, Count: uint32(counter.Count)}})
	return uint32(counter.Count)
}

func call(h *history.History, client uint16, seq uint32) {
	m := workload.Message{Token: workload.Token{HTTP: true, Source: client, Seq: seq}, From: client, Number: seq}
	n := receive(h, m)
	h.Calls = append(h.Calls, history.Call{Client: client, Seq: seq, Answers: []uint32{n, n}})
}

func TestAGoodHistoryIsFoundGood(t *testing.T) {
	h := good()
	v := history.Check(h)
	if !v.Good() || len(v.Details) > 0 {
		t.Fatalf("%+v", v)
	}
	if v.Records != 60 || v.Requests != 20 || v.Outputs != len(h.Effects)+len(h.Acks) {
		t.Errorf("totals %+v", v)
	}
}

func TestAnEmptyHistoryIsGood(t *testing.T) {
	if v := history.Check(&history.History{}); !v.Good() {
		t.Errorf("%+v", v)
	}
}

// counts are the totals of a verdict that matter.
type counts struct{ lost, doubled, outOfOrder, unexplained, wrongState, wrongReply int }

// spoiled is a good history with one fault made by hand, and what is to be found of it.
type spoiled struct {
	spoil func(h *history.History)
	want  counts
}

func found(t *testing.T, cases map[string]spoiled) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := good()
			c.spoil(h)
			v := history.Check(h)
			got := counts{v.Lost, v.Doubled, v.OutOfOrder, v.Unexplained, v.WrongState, v.WrongReply}
			if got != c.want || v.Good() {
				t.Errorf("got %+v, want %+v: %s", got, c.want, strings.Join(v.Details, "\n"))
			}
			agree(t, h)
		})
	}
}

func TestBadOutputIsFound(t *testing.T) {
	found(t, map[string]spoiled{
		"an effect is lost":          {func(h *history.History) { h.Effects = slices.Delete(h.Effects, 7, 8) }, counts{lost: 1}},
		"an acknowledgement is lost": {func(h *history.History) { h.Acks = slices.Delete(h.Acks, 7, 8) }, counts{lost: 1}},
		"a tail is lost":             {func(h *history.History) { h.Acks = h.Acks[:len(h.Acks)-5] }, counts{lost: 5}},
		"an effect is doubled": {func(h *history.History) {
			h.Effects = slices.Insert(h.Effects, 9, h.Effects[8])
		}, counts{doubled: 1}},
		"a whole epoch is published twice": {func(h *history.History) {
			h.Effects = slices.Insert(h.Effects, 30, h.Effects[20:30]...)
		}, counts{doubled: 10}},
		"an effect is doubled by running twice": {func(h *history.History) {
			again := h.Effects[8]
			counter := h.Counters[again.At]
			counter.Count++
			h.Counters[again.At] = counter
			again.Count = uint32(counter.Count)
			h.Effects = append(h.Effects, again)
		}, counts{doubled: 1, wrongState: 1}},
		"two records of an address change places": {func(h *history.History) {
			a, b := pairAt(h.Acks)
			h.Acks[a], h.Acks[b] = h.Acks[b], h.Acks[a]
		}, counts{outOfOrder: 1}},
		"an aborted record is visible": {func(h *history.History) {
			phantom := h.Effects[3]
			phantom.Seq = 21
			phantom.At = phantom.Target()
			h.Effects = append(h.Effects, phantom)
		}, counts{unexplained: 1}},
	})
}

func TestBadStateAndRepliesAreFound(t *testing.T) {
	found(t, map[string]spoiled{
		"a record is at another address":           {func(h *history.History) { h.Effects[3].At++ }, counts{unexplained: 1, lost: 1}},
		"an acknowledgement is of another counter": {func(h *history.History) { h.Acks[3].From++ }, counts{unexplained: 1, lost: 1}},
		"a counter is too high": {func(h *history.History) {
			h.Counters[h.Effects[0].At] = history.Counter{Count: 100}
		}, counts{wrongState: 1}},
		"the state of a source is gone": {func(h *history.History) { delete(h.Sources, 1) }, counts{wrongState: 1}},
		"a source forgot its last input": {func(h *history.History) {
			s := h.Sources[2]
			s.Seq--
			h.Sources[2] = s
		}, counts{wrongState: 1}},
		"there is state of an address that nobody called": {func(h *history.History) {
			h.Sources[50] = history.Source{Count: 1}
			h.Counters[9999] = history.Counter{Count: 1}
		}, counts{wrongState: 2}},
		"a retry is answered otherwise": {func(h *history.History) { h.Calls[3].Answers[1]++ }, counts{wrongReply: 1}},
		"a request that was answered has no effect": {func(h *history.History) {
			i := slices.IndexFunc(h.Effects, func(r history.Received) bool { return r.HTTP })
			counter := h.Counters[h.Effects[i].At]
			counter.Count--
			h.Counters[h.Effects[i].At] = counter
			h.Effects = slices.Delete(h.Effects, i, i+1)
		}, counts{lost: 1, wrongReply: 2}},
		"a retry ran again": {func(h *history.History) {
			i := slices.IndexFunc(h.Effects, func(r history.Received) bool { return r.HTTP })
			again := h.Effects[i]
			again.Count = 1000
			h.Effects = append(h.Effects, again)
		}, counts{doubled: 1}},
		"a request that nobody sent had an effect": {func(h *history.History) {
			i := slices.IndexFunc(h.Effects, func(r history.Received) bool { return r.HTTP })
			phantom := h.Effects[i]
			phantom.Seq, phantom.Number = 999, 999
			phantom.At = phantom.Target()
			h.Effects = append(h.Effects, phantom)
		}, counts{unexplained: 1}},
	})
}

// pairAt is the first acknowledgement, and the next one at the same address.
func pairAt(acks []history.Received) (int, int) {
	for i := range acks {
		for k := i + 1; k < len(acks); k++ {
			if acks[k].At == acks[i].At {
				return i, k
			}
		}
	}
	panic("no two records at one address")
}

func TestARequestWithoutAnAnswerMayHaveHadItsEffectOrNot(t *testing.T) {
	h := good()
	h.Calls[19].Answers = nil
	if v := history.Check(h); !v.Good() {
		t.Errorf("with its effect: %+v", v)
	}
	h.Calls = append(h.Calls, history.Call{Client: 5, Seq: 21})
	if v := history.Check(h); !v.Good() {
		t.Errorf("without: %+v", v)
	}
}

func TestAnInputThatIsInTheTopicTwiceIsExpectedTwice(t *testing.T) {
	h := good()
	again := h.Inputs[len(h.Inputs)-1]
	h.Inputs = append(h.Inputs, again)
	if v := history.Check(h); v.Good() || v.Lost == 0 {
		t.Errorf("its second effects are not missed: %+v", v)
	}
	run(h, again.Source, again.Input)
	if v := history.Check(h); !v.Good() {
		t.Errorf("%+v", v)
	}
}

func TestInputsTakenInAnotherOrderAreFound(t *testing.T) {
	h := &history.History{Sources: map[uint16]history.Source{}, Counters: map[uint16]history.Counter{}}
	first, second := workload.Input{Seq: 1, Fanout: 1}, workload.Input{Seq: 2, Fanout: 1}
	h.Inputs = []history.Input{{Source: 0, Input: first}, {Source: 0, Input: second}}
	run(h, 0, second)
	run(h, 0, first)
	s := h.Sources[0]
	s.Seq = 2
	h.Sources[0] = s
	if v := history.Check(h); v.OutOfOrder != 1 || v.Good() {
		t.Errorf("%+v", v)
	}
	agree(t, h)
}

func TestMessagesOfOneSenderThatOvertakeEachOtherAreFound(t *testing.T) {
	h := good()
	// Of one source's messages to one counter, the second was received first: their records keep the receiver's order.
	first := map[[2]uint16]int{}
	for i := range h.Effects {
		r := &h.Effects[i]
		key := [2]uint16{r.From, r.At}
		k, seen := first[key]
		if r.HTTP || !seen {
			if !r.HTTP {
				first[key] = i
			}
			continue
		}
		h.Effects[i].Message, h.Effects[k].Message = h.Effects[k].Message, h.Effects[i].Message
		if v := history.Check(h); v.OutOfOrder == 0 || v.Lost+v.Doubled+v.Unexplained != 0 {
			t.Errorf("%+v", v)
		}
		agree(t, h)
		return
	}
	t.Fatal("no source has sent twice to one counter")
}
