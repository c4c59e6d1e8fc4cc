package jobmanager

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/runtime/internal/wire"
)

var start = time.Unix(1_000_000, 0)

// script feeds a coordinator events at times in ms and returns its actions as words.
type script struct {
	c   *coordinator
	now time.Time
}

func newScript(interval time.Duration, workers ...string) *script {
	return &script{c: newCoordinator(interval, 2, workers), now: start}
}

func (s *script) at(ms int, e event) string {
	s.now = start.Add(time.Duration(ms) * time.Millisecond)
	var words []string
	for _, a := range s.c.step(s.now, e) {
		words = append(words, s.word(a))
	}
	return strings.Join(words, " ")
}

func (s *script) word(a action) string {
	switch a := a.(type) {
	case trigger:
		return fmt.Sprintf("trigger:%d", a.trigger)
	case commit:
		return fmt.Sprintf("commit:%d", a.epoch.trigger)
	case complete:
		return fmt.Sprintf("complete:%d", a.trigger)
	case abort:
		return fmt.Sprintf("abort:%d", a.trigger)
	case settle:
		return "settle"
	case giveUp:
		return "giveUp"
	case wake:
		return fmt.Sprintf("wake:%d", a.at.Sub(start).Milliseconds())
	}
	panic(fmt.Sprintf("%T", a))
}

func ack(worker string, n uint64, lanes ...string) acked {
	a := &wire.Acknowledge{Trigger: n}
	for _, l := range lanes {
		a.Lanes = append(a.Lanes, wire.LaneOutput{ID: l, Output: true})
	}
	return acked{worker: worker, ack: a}
}

func refuse(worker string, n uint64) acked {
	return acked{worker: worker, ack: &wire.Acknowledge{Trigger: n, Error: "disk full"}}
}

type line struct {
	ms   int
	e    event
	want string
}

var scripts = map[string]struct {
	interval time.Duration
	workers  []string
	lines    []line
}{
	"an urgent want is cut at once, a change within a second": {0, []string{"a"}, []line{
		{0, wanted{urgent: true}, "trigger:1"},
		{1, ack("a", 1), "commit:1"},
		{1, committed{number: 7}, "complete:1"},
		{5, wanted{}, "wake:1005"},
		{1005, ticked{}, "trigger:2"},
	}},
	"nothing is triggered while nothing changes": {10 * time.Millisecond, []string{"a"}, []line{
		{0, ticked{}, ""},
		{500, ticked{}, ""},
	}},
	"a fixed interval is kept": {10 * time.Millisecond, []string{"a"}, []line{
		{0, wanted{}, "trigger:1"},
		{1, ack("a", 1), "commit:1"},
		{2, committed{number: 1}, "complete:1"},
		{3, wanted{urgent: true}, "wake:10"},
		{10, ticked{}, "trigger:2"},
	}},
	"an epoch needs every worker, and a stale acknowledgement changes nothing": {0, []string{"a", "b"}, []line{
		{0, wanted{urgent: true}, "trigger:1"},
		{1, ack("a", 1), ""},
		{1, ack("a", 1), ""},
		{1, ack("b", 0), ""},
		{2, ack("b", 1), "commit:1"},
	}},
	"no epoch is cut while one is undecided or a lane owes two": {0, []string{"a"}, []line{
		{0, wanted{urgent: true}, "trigger:1"},
		{1, wanted{urgent: true}, ""},
		{2, ack("a", 1, "x", "y"), "commit:1"},
		{2, committed{number: 9}, "complete:1 trigger:2"},
		{3, wanted{urgent: true}, ""},
		{4, ack("a", 2, "x", "y"), "commit:2"},
		{4, committed{number: 10}, "complete:2"},
		{5, published{lane: "x", number: 9}, ""},
		{6, published{lane: "y", number: 8}, ""},
		{7, published{lane: "y", number: 9}, "trigger:3"},
	}},
	"a publication that the next manifest does not know of is settled": {0, []string{"a"}, []line{
		{0, wanted{urgent: true}, "trigger:1"},
		{1, ack("a", 1, "x"), "commit:1"},
		{1, committed{number: 9}, "complete:1"},
		{2, wanted{urgent: true}, "trigger:2"},
		{3, acked{"a", &wire.Acknowledge{Trigger: 2, Lanes: []wire.LaneOutput{{ID: "x", Published: 8}}}}, "commit:2"},
		{4, published{lane: "x", number: 9}, ""},
		{5, committed{number: 10}, "complete:2 wake:1002"},
		{1002, ticked{}, "settle"},
	}},
	"publications are settled once the job is idle": {0, []string{"a"}, []line{
		{0, wanted{urgent: true}, "trigger:1"},
		{1, ack("a", 1, "x"), "commit:1"},
		{1, committed{number: 1}, "complete:1"},
		{2, published{lane: "x", number: 1}, "wake:1000"},
		{1000, ticked{}, "settle"},
		{1000, settled{}, ""},
	}},
	"a failed epoch is tried again after a pause, and too many end the attempt": {0, []string{"a"}, []line{
		{0, wanted{urgent: true}, "trigger:1"},
		{1, refuse("a", 1), "abort:1 wake:100"},
		{2, ack("a", 1), "wake:100"},
		{100, ticked{}, "trigger:2"},
		{101, refuse("a", 2), "abort:2 wake:300"},
	}},
	"a final epoch is the last": {0, []string{"a"}, []line{
		{0, asked{ask{final: true}}, "trigger:1"},
		{1, ack("a", 1, "x"), "commit:1"},
		{1, committed{number: 1}, "complete:1"},
		{2, wanted{urgent: true}, ""},
		{3, published{lane: "x", number: 1}, ""},
	}},
	"a cancel while an epoch is open is not undone by its commit": {0, []string{"a"}, []line{
		{0, wanted{urgent: true}, "trigger:1"},
		{1, ack("a", 1, "x"), "commit:1"},
		{1, committed{number: 9}, "complete:1"},
		{2, wanted{urgent: true}, "trigger:2"},
		{3, wanted{urgent: true}, ""},
		{4, cancelled{}, ""},
		{5, ack("a", 2, "x"), "commit:2"},
		{5, committed{number: 10}, "complete:2"},
		{6, published{lane: "x", number: 9}, ""},
		{7, published{lane: "x", number: 10}, ""},
	}},
	"a final epoch that fails ends the attempt": {0, []string{"a"}, []line{
		{0, asked{ask{final: true}}, "trigger:1"},
		{1, refuse("a", 1), "giveUp"},
	}},
}

func TestCoordinatorScripts(t *testing.T) {
	for name, sc := range scripts {
		t.Run(name, func(t *testing.T) {
			s := newScript(sc.interval, sc.workers...)
			for i, l := range sc.lines {
				if got := s.at(l.ms, l.e); got != l.want {
					t.Fatalf("line %d, at %d ms, %+v: got %q, want %q", i, l.ms, l.e, got, l.want)
				}
			}
		})
	}
}

// TestCoordinatorNeverHasTwoEpochs drives it at random: whatever comes, at most one epoch is undecided, triggers rise, and
// none is cut while a lane owes two.
func TestCoordinatorNeverHasTwoEpochs(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := newScript(time.Duration(rng.IntN(2))*10*time.Millisecond, "a", "b")
		var open, last, number uint64
		owes := map[string][]uint64{}
		var feed func(e event)
		handle := func(actions []action) {
			for _, a := range actions {
				switch a := a.(type) {
				case trigger:
					if open != 0 || a.trigger <= last || len(owes["lane-a"]) > 1 || len(owes["lane-b"]) > 1 {
						t.Fatalf("seed %d: trigger %d while %d is open, last %d, owed %v", seed, a.trigger, open, last, owes)
					}
					open, last = a.trigger, a.trigger
				case commit:
					if a.epoch.trigger != open || len(a.epoch.acks) != 2 {
						t.Fatalf("seed %d: commit %d of %d with %d acknowledgements", seed, a.epoch.trigger, open, len(a.epoch.acks))
					}
					number++
					for _, k := range a.epoch.acks {
						for _, l := range k.Lanes {
							owes[l.ID] = append(owes[l.ID], number)
						}
					}
					feed(committed{number: number})
				case complete, abort:
					open = 0
				}
			}
		}
		feed = func(e event) { handle(s.c.step(s.now, e)) }
		for range 200 {
			s.now = s.now.Add(time.Duration(rng.IntN(300)) * time.Millisecond)
			worker := string(rune('a' + rng.IntN(2)))
			switch rng.IntN(7) {
			case 0, 1:
				feed(wanted{urgent: rng.IntN(2) == 0, lone: rng.IntN(2) == 0})
			case 2, 3:
				feed(ack(worker, last-uint64(rng.IntN(2)), "lane-"+worker))
			case 4:
				feed(refuse(worker, last-uint64(rng.IntN(2))))
			case 5:
				lane := "lane-" + worker
				if len(owes[lane]) > 0 {
					n := owes[lane][0]
					owes[lane] = owes[lane][1:]
					feed(published{lane: lane, number: n})
				}
			case 6:
				feed(ticked{})
			}
			if s.c.ended {
				break
			}
		}
	}
}
