package history

import (
	"cmp"
	"slices"

	"github.com/weir-run/weir/internal/e2e/workload"
)

// step is one branch of an input, as its source took it.
type step struct {
	seq    uint32
	branch uint8
}

// inputOrder checks that sources took their inputs in the order of the topic: that is the order of the numbers they gave
// to what they sent. A source of which effects are missing or doubled has been found bad already.
func (c *checker) inputOrder(h *History) {
	written, taken := map[uint16][]step{}, map[uint16][]workload.Message{}
	for _, in := range h.Inputs {
		for branch := range in.Fanout {
			written[in.Source] = append(written[in.Source], step{in.Seq, branch})
		}
	}
	for i := range h.Effects {
		if m := h.Effects[i].Message; !m.HTTP && m.Hop == 0 {
			taken[m.Source] = append(taken[m.Source], m)
		}
	}
	for source, sent := range taken {
		if len(sent) != len(written[source]) {
			continue
		}
		slices.SortFunc(sent, func(a, b workload.Message) int { return cmp.Compare(a.Number, b.Number) })
		for i, want := range written[source] {
			if got := (step{sent[i].Seq, sent[i].Branch}); got != want {
				c.verdict.find(&c.verdict.OutOfOrder, "source %d took input %d, branch %d, where the topic has input %d, branch %d",
					source, got.seq, got.branch, want.seq, want.branch)
				break
			}
		}
	}
}

// state compares the state that the API told with what the inputs make of it.
func (c *checker) state(h *History) {
	for key, want := range c.sources {
		if got := h.Sources[key]; got != want {
			c.verdict.find(&c.verdict.WrongState, "source %d has state %+v, and its inputs make %+v", key, got, want)
		}
	}
	for key, want := range c.counters {
		if got := h.Counters[key]; got != want {
			c.verdict.find(&c.verdict.WrongState, "counter %d has state %+v, and its messages make %+v", key, got, want)
		}
	}
	for key, got := range h.Sources {
		if _, known := c.sources[key]; !known && got != (Source{}) {
			c.verdict.find(&c.verdict.WrongState, "source %d has state %+v, and no inputs", key, got)
		}
	}
	for key, got := range h.Counters {
		if _, known := c.counters[key]; !known && got != (Counter{}) {
			c.verdict.find(&c.verdict.WrongState, "counter %d has state %+v, and no messages", key, got)
		}
	}
}

// replies compares every answer, also of a retry, with the effect of its request.
func (c *checker) replies(calls []Call) {
	for i := range calls {
		call := &calls[i]
		t := c.effects[workload.Token{HTTP: true, Source: call.Client, Seq: call.Seq}]
		for _, answer := range call.Answers {
			if t == nil || t.got == 0 || t.count != answer {
				c.verdict.find(&c.verdict.WrongReply, "client %d was told %v for request %d, and its effect tells otherwise", call.Client, call.Answers, call.Seq)
			}
		}
	}
}
