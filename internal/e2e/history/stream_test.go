package history_test

import (
	"strings"
	"testing"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

// begin tells a Stream every input, and every request that is to be sent.
func begin(t *testing.T, h *history.History) *history.Stream {
	t.Helper()
	s := history.NewStream()
	for _, in := range h.Inputs {
		if err := s.Input(in); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range h.Calls {
		if err := s.Asked(c.Client, c.Seq); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func answer(s *history.Stream, h *history.History) {
	for _, c := range h.Calls {
		s.Answered(c.Client, c.Seq, c.Answers...)
	}
}

func tell(s *history.Stream, h *history.History) {
	for _, r := range h.Effects {
		s.Effect(r)
	}
	for _, r := range h.Acks {
		s.Ack(r)
	}
}

// streamed are the verdicts of a Stream when clients hear of their answers first, and last.
func streamed(t *testing.T, h *history.History) []history.Verdict {
	t.Helper()
	early, late := begin(t, h), begin(t, h)
	answer(early, h)
	tell(early, h)
	tell(late, h)
	answer(late, h)
	return []history.Verdict{early.Finish(h.Sources, h.Counters), late.Finish(h.Sources, h.Counters)}
}

func totals(v *history.Verdict) [9]int {
	return [9]int{v.Records, v.Requests, v.Outputs, v.Lost, v.Doubled, v.OutOfOrder, v.Unexplained, v.WrongState, v.WrongReply}
}

// agree holds a Stream against Check, its slow and obvious twin.
func agree(t *testing.T, h *history.History) {
	t.Helper()
	whole := history.Check(h)
	for _, v := range streamed(t, h) {
		if totals(&v) != totals(&whole) {
			t.Errorf("a stream finds %v, the whole %v: %s", totals(&v), totals(&whole), strings.Join(v.Details, "\n"))
		}
	}
}

func TestAStreamFindsWhatCheckFinds(t *testing.T) {
	for name, spoil := range map[string]func(h *history.History){
		"nothing":                              func(*history.History) {},
		"all is lost":                          func(h *history.History) { h.Effects, h.Acks = nil, nil },
		"every effect is doubled":              func(h *history.History) { h.Effects = append(h.Effects, h.Effects...) },
		"every acknowledgement is doubled":     func(h *history.History) { h.Acks = append(h.Acks, h.Acks...) },
		"a request is not answered":            func(h *history.History) { h.Calls[19].Answers = nil },
		"a request has neither":                func(h *history.History) { h.Calls = append(h.Calls, history.Call{Client: 5, Seq: 21}) },
		"a record names a branch too many":     phantom(func(r *history.Received) { r.Branch = workload.MaxFanout }),
		"a record names a hop too many":        phantom(func(r *history.Received) { r.Hop = r.Hops + 1 }),
		"a record names other hops":            func(h *history.History) { h.Acks[0].Hops = 0 },
		"a request is said to have hops":       func(h *history.History) { h.Effects[len(h.Effects)-1].Hops = 1 },
		"an input numbered 0 has an effect":    phantom(func(r *history.Received) { r.Seq = 0 }),
		"an effect stands among the others":    func(h *history.History) { h.Acks = append(h.Acks, h.Effects[len(h.Effects)-1]) },
		"two sources exchange numbers of acks": func(h *history.History) { h.Acks[0].Number, h.Acks[1].Number = h.Acks[1].Number, h.Acks[0].Number },
	} {
		t.Run(name, func(t *testing.T) {
			h := good()
			spoil(h)
			agree(t, h)
		})
	}
}

// phantom adds an effect that resembles a good one, at the address that it should be at.
func phantom(change func(*history.Received)) func(*history.History) {
	return func(h *history.History) {
		r := h.Effects[0]
		change(&r)
		r.At = r.Target()
		h.Effects = append(h.Effects, r)
	}
}

func TestAnEffectThatIsDoubledLongAfterIsFound(t *testing.T) {
	h := good()
	s := begin(t, h)
	tell(s, h)
	answer(s, h)
	if s.Open() != 0 {
		t.Fatalf("%d are open after all has come", s.Open())
	}
	request := h.Effects[len(h.Effects)-1]
	s.Effect(h.Effects[0])
	s.Ack(h.Acks[0])
	s.Effect(request)
	if v := s.Finish(h.Sources, h.Counters); v.Doubled != 3 || v.Lost+v.OutOfOrder+v.Unexplained+v.WrongState+v.WrongReply != 0 {
		t.Errorf("%+v", v)
	}
}

func TestAStreamKeepsNothingOfWhatIsComplete(t *testing.T) {
	h := &history.History{Sources: map[uint16]history.Source{}, Counters: map[uint16]history.Counter{}}
	s := history.NewStream()
	seq := uint32(0)
	step := func() {
		seq++
		in := history.Input{Source: uint16(seq % 2), Input: workload.Input{Seq: (seq + 1) / 2, Fanout: 3, Hops: 2}}
		if err := s.Input(in); err != nil {
			t.Fatal(err)
		}
		if err := s.Asked(1, seq); err != nil {
			t.Fatal(err)
		}
		h.Effects, h.Acks, h.Calls = h.Effects[:0], h.Acks[:0], h.Calls[:0]
		run(h, in.Source, in.Input)
		call(h, 1, seq)
		tell(s, h)
		answer(s, h)
	}
	for range 20_000 { // more than may be open, and every sender has sent to every address
		step()
	}
	if s.Open() != 0 {
		t.Errorf("%d are open", s.Open())
	}
	// The answers, the lists of the history and the windows: nothing that grows with what came before.
	if n := testing.AllocsPerRun(100, step); n > 30 {
		t.Errorf("%v allocations for an input and a request", n)
	}
	if v := s.Finish(h.Sources, h.Counters); !v.Good() || v.Records != int(seq) || v.Requests != int(seq) {
		t.Errorf("%+v", v)
	}
}

func TestALossLongAgoEndsAStream(t *testing.T) {
	s := history.NewStream()
	for seq := uint32(1); ; seq++ {
		err := s.Input(history.Input{Input: workload.Input{Seq: seq, Fanout: 1}})
		if err != nil {
			if s.Open() < 10_000 || !strings.Contains(err.Error(), "number 1 is not complete") {
				t.Errorf("%d open: %v", s.Open(), err)
			}
			return
		}
		if seq == 100_000 {
			t.Fatal("inputs without any effect are taken without end")
		}
	}
}

func TestAnInputThatIsNotTheNextIsRefused(t *testing.T) {
	for _, seqs := range [][]uint32{{1, 1}, {1, 3}, {2}, {0}} {
		s := history.NewStream()
		var err error
		for _, seq := range seqs {
			err = s.Input(history.Input{Source: 3, Input: workload.Input{Seq: seq, Fanout: 1}})
		}
		if err == nil {
			t.Errorf("inputs %v are taken", seqs)
		}
	}
}
