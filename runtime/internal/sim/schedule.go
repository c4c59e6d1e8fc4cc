package sim

import (
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"
)

// verdict is what the scheduler says to a held operation.
type verdict uint8

const (
	proceed verdict = iota
	refuse          // it has no effect, and fails
	doubt           // it has its effect, and fails
	died            // its process is gone
)

// kind is what a held operation crosses; each has a weight of its own in a run.
type kind uint8

const (
	control kind = iota // a control message between roles
	frame               // a frame between tasks
	storage             // a step of a file's operation
	broker              // a step of a lane's transaction
	guest               // a guest call
	client              // a client's or an operator's next try
	output              // a request with at-least-once output
	kinds
)

// pending is one thing that may happen next.
type pending struct {
	lane    string // those of one lane happen in the order in which they came
	what    string // for the trace
	kind    kind
	process *process // nil: of the world outside
	happen  func(verdict)
	late    func() // what may still happen of it when its process is gone: a request that was on its way; nil is nothing
}

// scheduler holds what may happen next, and chooses. Its goroutine is the run's own; other goroutines only add.
type scheduler struct {
	random  *rand.Rand
	weights [kinds]int
	behind  int // how much more often a process moves that has not been replaced
	trace   hash.Hash64
	say     func(format string, args ...any) // nil: nobody listens
	steps   int
	over    atomic.Bool // nothing is held any more

	mu      sync.Mutex // guards arrived; a leaf
	arrived []*pending

	lanes map[string][]*pending
	names []string // of lanes that hold something, sorted
}

func newScheduler(random *rand.Rand) *scheduler {
	return &scheduler{random: random, trace: fnv.New64a(), lanes: map[string][]*pending{}}
}

// add makes something wait for its turn.
func (s *scheduler) add(p *pending) {
	s.mu.Lock()
	s.arrived = append(s.arrived, p)
	s.mu.Unlock()
}

// hold makes an operation wait for its turn, and returns what is said to it.
func (s *scheduler) hold(p *process, k kind, lane string) verdict { return s.holdLate(p, k, lane, nil) }

// holdLate is hold for an operation that may happen although its process has ended.
func (s *scheduler) holdLate(p *process, k kind, lane string, late func()) verdict {
	if s.over.Load() || p != nil && p.dead.Load() {
		return died
	}
	answer := make(chan verdict, 1)
	s.add(&pending{lane: lane, kind: k, process: p, happen: func(v verdict) { answer <- v }, late: late})
	return <-answer
}

// settle waits until nothing moves, and sorts what has come into its lanes: by name, because the order in which goroutines
// came is Go's and not the seed's.
func (s *scheduler) settle() {
	synctest.Wait()
	s.mu.Lock()
	arrived := s.arrived
	s.arrived = nil
	s.mu.Unlock()
	for _, p := range arrived {
		if len(s.lanes[p.lane]) == 0 {
			at := sort.SearchStrings(s.names, p.lane)
			s.names = slices.Insert(s.names, at, p.lane)
		}
		s.lanes[p.lane] = append(s.lanes[p.lane], p)
	}
}

// heads calls yield with the first of every lane, in the order of their names.
func (s *scheduler) heads(yield func(*pending)) {
	for _, name := range s.names {
		yield(s.lanes[name][0])
	}
}

// take removes the head of a lane.
func (s *scheduler) take(lane string) *pending {
	queue := s.lanes[lane]
	if len(queue) == 1 {
		delete(s.lanes, lane)
		at := sort.SearchStrings(s.names, lane)
		s.names = slices.Delete(s.names, at, at+1)
	} else {
		s.lanes[lane] = queue[1:]
	}
	return queue[0]
}

// choose picks a head by weight, or nil when nothing is held. A process that is left behind moves rarely.
func (s *scheduler) choose() *pending {
	total := 0
	s.heads(func(p *pending) { total += s.weight(p) })
	if total == 0 {
		return nil
	}
	at := s.random.IntN(total)
	var chosen *pending
	s.heads(func(p *pending) {
		if chosen == nil {
			if at -= s.weight(p); at < 0 {
				chosen = p
			}
		}
	})
	return s.take(chosen.lane)
}

func (s *scheduler) weight(p *pending) int {
	if p.process != nil && p.process.behind {
		return s.weights[p.kind]
	}
	return s.weights[p.kind] * s.behind
}

// sweep ends what a process that is gone has left waiting, but for frames, which are on their way. A broker may still carry
// out what it was asked for; a disk may too, unless its machine has lost power with the process.
func (s *scheduler) sweep(gone *process, power bool) {
	for s.settle(); ; s.settle() {
		var left []*pending
		for _, name := range slices.Clone(s.names) {
			var kept []*pending
			for _, p := range s.lanes[name] {
				if p.process != gone || p.kind == frame {
					kept = append(kept, p)
				} else {
					left = append(left, p)
				}
			}
			if len(kept) == len(s.lanes[name]) {
				continue
			}
			s.lanes[name] = kept
			if len(kept) == 0 {
				delete(s.lanes, name)
				at := sort.SearchStrings(s.names, name)
				s.names = slices.Delete(s.names, at, at+1)
			}
		}
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			p.happen(died)
			if p.late != nil && !(power && p.kind == storage) && s.random.IntN(2) == 0 {
				s.add(&pending{lane: "late/" + p.lane, kind: p.kind, happen: func(v verdict) {
					if v != died {
						p.late()
					}
				}})
			}
		}
	}
}

// note adds a step to the trace, by which two runs of a seed are compared.
func (s *scheduler) note(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	s.steps++
	fmt.Fprintf(s.trace, "%s\n", line) // a hash never fails
	if s.say != nil {
		s.say("%5d %s %s", s.steps, time.Now().Format("04:05.000"), line)
	}
}
