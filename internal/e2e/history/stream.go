package history

import (
	"fmt"

	"github.com/weir-run/weir/internal/e2e/workload"
)

// maxOpen bounds the inputs of one source, and the requests of one client, of which something is missing: some minutes of
// any rate that one machine takes. More is a loss long ago, and the run need not go on to prove it.
const maxOpen = 1 << 14

// Stream judges a run while it goes on, by the rules of Check and with its verdicts. Its memory depends on what is open, not
// on how long the run is: an input or request whose effects have all come leaves only its number behind.
//
// An input is told before the outputs that it causes, and a request before it is sent for the first time; outputs are told
// in the order of each partition. One goroutine calls it at a time. One thing is coarser than in Check: a record of an input
// that has been left behind counts as doubled, whatever branch and hop it names.
type Stream struct {
	verdict  Verdict
	inputs   map[uint16]*window[input]
	requests map[uint16]*window[request]
	taken    map[uint16]*lastTaken
	effects  order
	acks     order
	sources  map[uint16]Source // as the inputs make them
	counters map[uint16]Counter
}

// input is one that is open.
type input struct {
	fanout, hops  uint8
	effects, acks uint16                     // what has come, by bit
	numbers       [workload.MaxFanout]uint32 // the source's running number of each branch's first message
}

// request is one that is open.
type request struct {
	effect, answered bool
	count            uint32 // the counter's running number in the effect
	answers          []uint32
}

// lastTaken is the last number that a source gave to what it sent for an input, of those left behind.
type lastTaken struct {
	number     uint32
	disordered bool // told once per source
}

// NewStream is a Stream that has been told nothing.
func NewStream() *Stream {
	return &Stream{
		inputs: map[uint16]*window[input]{}, requests: map[uint16]*window[request]{}, taken: map[uint16]*lastTaken{},
		effects: newOrder(), acks: newOrder(),
		sources: map[uint16]Source{}, counters: map[uint16]Counter{},
	}
}

// Input tells the next record of the inputs' topic. It refuses one that is not the next of its source, since what it should
// cause is not known then, and one before which too many are open.
func (s *Stream) Input(in Input) error {
	w := s.inputs[in.Source]
	if w == nil {
		w = &window[input]{}
		s.inputs[in.Source], s.taken[in.Source] = w, &lastTaken{}
	}
	if in.Fanout > workload.MaxFanout || in.Hops > workload.MaxHops {
		return fmt.Errorf("input %d of source %d: fan-out %d and hops %d are more than the workload has", in.Seq, in.Source, in.Fanout, in.Hops)
	}
	if err := w.push(in.Seq, input{fanout: in.Fanout, hops: in.Hops}); err != nil {
		return fmt.Errorf("input %d of source %d: %w", in.Seq, in.Source, err)
	}
	s.verdict.Records++
	source := s.sources[in.Source]
	source.Seq = int64(in.Seq)
	source.Sent += int64(in.Fanout) * int64(in.Hops+1)
	source.Count += int64(in.Fanout) * int64(in.Hops)
	s.sources[in.Source] = source
	for branch := range in.Fanout {
		for hop := range in.Hops + 1 {
			target := workload.Token{Source: in.Source, Seq: in.Seq, Branch: branch, Hop: hop}.Target()
			counter := s.counters[target]
			counter.Count++
			if hop < in.Hops {
				counter.Sent++
			}
			s.counters[target] = counter
		}
	}
	s.leaveInputs(in.Source, w)
	return nil
}

// Asked tells that a client is about to send a request, whose number is the next of that client.
func (s *Stream) Asked(client uint16, seq uint32) error {
	w := s.requests[client]
	if w == nil {
		w = &window[request]{}
		s.requests[client] = w
	}
	if err := w.push(seq, request{}); err != nil {
		return fmt.Errorf("request %d of client %d: %w", seq, client, err)
	}
	return nil
}

// Answered tells every answer that a request got, once, when it will not be sent any more. None says that it is not known
// whether the request had its effect.
func (s *Stream) Answered(client uint16, seq uint32, answers ...uint32) {
	w := s.requests[client]
	r, _ := w.at(seq)
	if r == nil || r.answered {
		panic(fmt.Sprintf("history: request %d of client %d is answered and not open", seq, client))
	}
	if len(answers) > 0 {
		s.verdict.Requests++
	}
	r.answered, r.answers = true, answers
	if r.effect {
		s.compare(client, seq, r)
	}
	w.leave(func(r *request) bool { return r.effect && r.answered })
}

// Effect tells the next record of a partition of the topic Effects.
func (s *Stream) Effect(r Received) {
	s.verdict.Outputs++
	switch {
	case r.At != r.Target():
		s.unexplained("effect", &r)
	case r.HTTP:
		s.requested(&r)
	default:
		s.caused("effect", &r, &s.effects, true)
	}
}

// Ack tells the next record of a partition of the topic Acks.
func (s *Stream) Ack(r Received) {
	s.verdict.Outputs++
	if r.HTTP || r.At != r.Source || r.From != r.Target() {
		s.unexplained("acknowledgement", &r)
		return
	}
	s.caused("acknowledgement", &r, &s.acks, false)
}

// Open is how many inputs and requests are not complete.
func (s *Stream) Open() (n int) {
	for _, w := range s.inputs {
		n += len(w.open)
	}
	for _, w := range s.requests {
		n += len(w.open)
	}
	return n
}

// Verdict is what has been found, without what may still come.
func (s *Stream) Verdict() Verdict { return s.verdict }

// Finish judges the end: everything has been told, and the state is the API's. The Stream is not used any more.
func (s *Stream) Finish(sources map[uint16]Source, counters map[uint16]Counter) Verdict {
	for source, w := range s.inputs {
		for i := range w.open {
			s.lost(source, w.done+uint32(i)+1, &w.open[i])
		}
	}
	for client, w := range s.requests {
		for i := range w.open {
			r, seq := &w.open[i], w.done+uint32(i)+1
			if len(r.answers) == 0 || r.effect {
				continue
			}
			s.verdict.find(&s.verdict.Lost, "effect of request %d of client %d: it was answered, and never seen", seq, client)
			s.compare(client, seq, r)
		}
	}
	c := checker{verdict: s.verdict, sources: s.sources, counters: s.counters}
	c.state(&History{Sources: sources, Counters: counters})
	return c.verdict
}

func (s *Stream) unexplained(what string, r *Received) {
	s.verdict.find(&s.verdict.Unexplained, "%s %+v at %d: no input explains it", what, r.Output, r.At)
}

func (s *Stream) doubled(what string, r *Received) {
	s.verdict.find(&s.verdict.Doubled, "%s %+v at %d: it has been seen before", what, r.Output, r.At)
}

// requested takes the effect of a request.
func (s *Stream) requested(r *Received) {
	w := s.requests[r.Source]
	call, past := w.at(r.Seq)
	switch {
	case r.Branch != 0 || r.Hop != 0 || r.Hops != 0 || call == nil && !past:
		s.unexplained("effect", r)
		return
	case past || call.effect:
		s.doubled("effect", r)
		return
	}
	call.effect, call.count = true, r.Count
	counter := s.counters[r.At]
	counter.Count++
	s.counters[r.At] = counter
	s.effects.check("effect", r, &s.verdict)
	if call.answered {
		s.compare(r.Source, r.Seq, call)
	}
	w.leave(func(r *request) bool { return r.effect && r.answered })
}

// compare holds the answers of a request against its effect.
func (s *Stream) compare(client uint16, seq uint32, r *request) {
	for _, answer := range r.answers {
		if !r.effect || r.count != answer {
			s.verdict.find(&s.verdict.WrongReply, "client %d was told %v for request %d, and its effect tells otherwise", client, r.answers, seq)
		}
	}
}

// caused takes an output that an input caused.
func (s *Stream) caused(what string, r *Received, o *order, effect bool) {
	w := s.inputs[r.Source]
	in, past := w.at(r.Seq)
	if past {
		s.doubled(what, r)
		return
	}
	if in == nil || in.hops != r.Hops || r.Branch >= in.fanout || r.Hop > in.hops || !effect && r.Hop == in.hops {
		s.unexplained(what, r)
		return
	}
	seen := &in.acks
	if effect {
		seen = &in.effects
	}
	bit := bitOf(r.Branch, r.Hop)
	if *seen&bit != 0 {
		s.doubled(what, r)
		return
	}
	*seen |= bit
	o.check(what, r, &s.verdict)
	if effect && r.Hop == 0 {
		in.numbers[r.Branch] = r.Number
	}
	s.leaveInputs(r.Source, w)
}

// leaveInputs leaves complete inputs behind, in the order of the topic: that is where it shows whether their source took
// them in that order.
func (s *Stream) leaveInputs(source uint16, w *window[input]) {
	seq, last := w.done, s.taken[source]
	w.leave(func(in *input) bool {
		effects, acks := in.wanted()
		if in.effects != effects || in.acks != acks {
			return false
		}
		seq++
		for branch, number := range in.numbers[:in.fanout] {
			if number <= last.number && !last.disordered {
				last.disordered = true
				s.verdict.find(&s.verdict.OutOfOrder, "source %d sent branch %d of input %d as its number %d, after number %d for an input before it",
					source, branch, seq, number, last.number)
			}
			last.number = max(last.number, number)
		}
		return true
	})
}

func (s *Stream) lost(source uint16, seq uint32, in *input) {
	effects, acks := in.wanted()
	for branch := range in.fanout {
		for hop := range in.hops + 1 {
			bit := bitOf(branch, hop)
			if effects&^in.effects&bit != 0 {
				s.verdict.find(&s.verdict.Lost, "effect of input %d of source %d, branch %d, hop %d: never seen", seq, source, branch, hop)
			}
			if acks&^in.acks&bit != 0 {
				s.verdict.find(&s.verdict.Lost, "acknowledgement of input %d of source %d, branch %d, hop %d: never seen", seq, source, branch, hop)
			}
		}
	}
}

// wanted are the bits of what an input causes.
func (in *input) wanted() (effects, acks uint16) {
	for branch := range in.fanout {
		for hop := range in.hops + 1 {
			effects |= bitOf(branch, hop)
			if hop < in.hops {
				acks |= bitOf(branch, hop)
			}
		}
	}
	return effects, acks
}

func bitOf(branch, hop uint8) uint16 { return 1 << (branch*(workload.MaxHops+1) + hop) }
