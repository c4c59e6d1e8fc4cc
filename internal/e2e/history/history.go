// Package history judges what was observed of a run of the e2e workload: whether every input and every HTTP request had
// its effects exactly once and in order, and whether state and replies say the same.
//
// It hides the rules. Its invariant: it believes only the inputs, which it reads from the topic as the platform did; all
// else is derived from them by package workload and compared. It does no I/O and knows nothing of how the history was made.
package history

import (
	"fmt"

	"github.com/weir-run/weir/internal/e2e/workload"
)

// History is a run as seen from outside, after everything has come to rest.
type History struct {
	Inputs   []Input            // in the order of the topic
	Effects  []Received         // of topic Effects under read_committed, in the order of each partition
	Acks     []Received         // of topic Acks, likewise
	Calls    []Call             // HTTP requests
	Sources  map[uint16]Source  // state as the API tells it
	Counters map[uint16]Counter // likewise
}

// Input is one input and its source.
type Input struct {
	Source uint16
	workload.Input
}

// Received is an output record and the address that wrote it: a counter for effects, a source for acknowledgements.
type Received struct {
	At uint16
	workload.Output
}

// Call is one HTTP request with its own Idempotency-Key, sent again until an answer came, and sometimes once more.
type Call struct {
	Client  uint16
	Seq     uint32
	Answers []uint32 // the count that each answer told; empty when none ever came
}

// Source is the state of a source.
type Source struct{ Count, Sent, Seq int64 }

// Counter is the state of a counter.
type Counter struct{ Count, Sent int64 }

// Verdict is what is wrong with a history; the zero Verdict but for its totals is a good one.
type Verdict struct {
	Records     int      // inputs
	Requests    int      // HTTP requests that were answered
	Outputs     int      // effects and acknowledgements seen
	Lost        int      // effects that are missing
	Doubled     int      // effects that were seen more than once
	OutOfOrder  int      // records before which a later one of the same sender and address, or source, stands
	Unexplained int      // records that no input explains, such as those of an aborted transaction
	WrongState  int      // addresses whose state does not agree with the inputs
	WrongReply  int      // answers that do not tell what the effect tells
	Details     []string // the first findings
}

// maxDetails bounds the findings that are told: after a real fault they are all alike.
const maxDetails = 30

// Good says that nothing is wrong.
func (v *Verdict) Good() bool {
	return v.Lost+v.Doubled+v.OutOfOrder+v.Unexplained+v.WrongState+v.WrongReply == 0
}

// String lists the totals beyond those of the harness's last line.
func (v *Verdict) String() string {
	return fmt.Sprintf("outputs %d, requests %d, unexplained %d, wrong state %d, wrong reply %d", v.Outputs, v.Requests, v.Unexplained, v.WrongState, v.WrongReply)
}

func (v *Verdict) find(kind *int, format string, args ...any) {
	*kind++
	if len(v.Details) < maxDetails {
		v.Details = append(v.Details, fmt.Sprintf(format, args...))
	}
}

// tally is how often something should have come, and did.
type tally struct {
	want, got uint16
	hops      uint8
	count     uint32 // the receiver's running number at the first time
}

// checker holds what follows from the inputs while the outputs are compared with it.
type checker struct {
	verdict  Verdict
	effects  map[workload.Token]*tally
	acks     map[workload.Token]*tally
	calls    map[workload.Token]*Call
	sources  map[uint16]Source
	counters map[uint16]Counter
}

// Check judges a history.
func Check(h *History) Verdict {
	c := &checker{
		effects: map[workload.Token]*tally{}, acks: map[workload.Token]*tally{}, calls: map[workload.Token]*Call{},
		sources: map[uint16]Source{}, counters: map[uint16]Counter{},
	}
	c.expect(h)
	c.receive("effect", h.Effects, c.effects, func(r *Received) bool { return r.At == r.Target() })
	c.receive("acknowledgement", h.Acks, c.acks, func(r *Received) bool { return r.At == r.Source && r.From == r.Target() })
	c.missing("effect", c.effects)
	c.missing("acknowledgement", c.acks)
	c.inputOrder(h)
	c.state(h)
	c.replies(h.Calls)
	return c.verdict
}

// expect derives every effect and all state from the inputs. A request that was never answered may or may not have had
// its effect.
func (c *checker) expect(h *History) {
	c.verdict.Records = len(h.Inputs)
	for _, in := range h.Inputs {
		source := c.sources[in.Source]
		source.Seq = max(source.Seq, int64(in.Seq))
		for branch := range in.Fanout {
			for hop := range in.Hops + 1 {
				token := workload.Token{Source: in.Source, Seq: in.Seq, Branch: branch, Hop: hop}
				want(c.effects, token, in.Hops)
				counter := c.counters[token.Target()]
				counter.Count++
				source.Sent++
				if hop < in.Hops {
					want(c.acks, token, in.Hops)
					counter.Sent++
					source.Count++
				}
				c.counters[token.Target()] = counter
			}
		}
		c.sources[in.Source] = source
	}
	for i := range h.Calls {
		call := &h.Calls[i]
		token := workload.Token{HTTP: true, Source: call.Client, Seq: call.Seq}
		c.calls[token] = call
		if len(call.Answers) > 0 {
			c.verdict.Requests++
			want(c.effects, token, 0)
		}
	}
}

func want(tallies map[workload.Token]*tally, token workload.Token, hops uint8) {
	t := tallies[token]
	if t == nil {
		t = &tally{hops: hops}
		tallies[token] = t
	}
	t.want++
}

// receive counts records, and checks the order of each address and of each sender to it. A record that came before is
// doubled, and has no place in an order.
func (c *checker) receive(what string, records []Received, expected map[workload.Token]*tally, routed func(*Received) bool) {
	order := newOrder()
	c.verdict.Outputs += len(records)
	for i := range records {
		r := &records[i]
		t := expected[r.Token]
		if call := c.calls[r.Token]; t == nil && call != nil && len(call.Answers) == 0 {
			t = &tally{want: 1} // the effect of a request whose answer was lost, and not asked for again
			expected[r.Token] = t
		}
		if t == nil || t.hops != r.Hops || !routed(r) {
			c.verdict.find(&c.verdict.Unexplained, "%s %+v at %d: no input explains it", what, r.Output, r.At)
			continue
		}
		t.got++
		if t.got > t.want {
			c.verdict.find(&c.verdict.Doubled, "%s %+v at %d: seen %d times, caused %d times", what, r.Output, r.At, t.got, t.want)
			continue
		}
		if t.got == 1 {
			t.count = r.Count
		}
		if r.HTTP {
			counter := c.counters[r.At]
			counter.Count++
			c.counters[r.At] = counter
		}
		order.check(what, r, &c.verdict)
	}
}

func (c *checker) missing(what string, expected map[workload.Token]*tally) {
	for token, t := range expected {
		for range int(t.want) - int(min(t.want, t.got)) {
			c.verdict.find(&c.verdict.Lost, "%s %+v: caused %d times, seen %d times", what, token, t.want, t.got)
		}
	}
}
