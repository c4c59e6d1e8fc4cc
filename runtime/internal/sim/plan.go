package sim

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// plan is what a seed makes of a run: its size, its faults, and how it favours one kind of step over another. Every run is
// different in all of it, since a fault that is always there hides what happens without it.
type plan struct {
	taskManagers int
	parallelism  int
	groups       int // key groups
	partitions   int
	interval     time.Duration // of epochs; 0 is auto
	poll         int           // records per fetch
	gated        bool          // guest calls are steps
	inline       int           // bytes of an epoch that its manifest holds

	inputs, calls int // of the workload
	sources       int // keys of inputs

	kills    int // of the process
	powerOff int // of those in a hundred, how many take unsynced writes back
	pauses   int // a process is replaced while it lives on
	behind   int // how much less often such a process moves
	deploys  int // with another parallelism, or another version
	blinks   int // times when nothing can be read
	full     int // times when nothing can be written

	// Of the second generation.
	copies  bool // counters write at-least-once output too
	cancels int  // the job is canceled, and runs again when somebody looks after it

	storageFaults int // refusals and doubts per thousand operations
	brokerFaults  int

	weights [kinds]int
	events  int // steps between two events, on average
	time    int // steps between two advances of time, on average
}

// sizes of runs: small enough that thousands take a minute, large enough that epochs, folds and sweeps come several times.
const (
	maxInputs  = 24
	maxCalls   = 6
	maxSources = 5
	// MaxPartitions is how many partitions the topics of a Broker have.
	MaxPartitions = 4
)

func newPlan(r *rand.Rand) plan {
	p := plan{
		taskManagers: 1 + r.IntN(2), parallelism: 1 + r.IntN(4), groups: 8, partitions: 1 + r.IntN(MaxPartitions),
		poll: 1 + r.IntN(6), gated: r.IntN(2) == 0,
		inputs: 4 + r.IntN(maxInputs-3), calls: r.IntN(maxCalls + 1), sources: 1 + r.IntN(maxSources),
		kills: r.IntN(4), powerOff: r.IntN(101), pauses: r.IntN(3), behind: 1 << r.IntN(7), deploys: r.IntN(4), blinks: r.IntN(2) * r.IntN(2), full: r.IntN(2) * r.IntN(3),
		events: 6 + r.IntN(30), time: 10 + r.IntN(60),
	}
	p.inline = []int{-1, 100 + r.IntN(2000), 0}[r.IntN(3)] // never, small epochs, all
	if r.IntN(2) == 0 {
		p.interval = time.Duration(1+r.IntN(20)) * time.Millisecond
	}
	if r.IntN(2) == 0 {
		p.storageFaults = r.IntN(60)
	}
	if r.IntN(2) == 0 {
		p.brokerFaults = r.IntN(150)
	}
	for k := range p.weights[:output] {
		p.weights[k] = 1 << r.IntN(5)
	}
	return p
}

// second draws what the second generation of runs has more than the first. It has numbers of its own, so that a seed's run
// of the first generation is what it was. Each is rare, since it takes steps from what runs had before.
func (p *plan) second(r *rand.Rand) {
	p.copies = r.IntN(2) == 0
	p.weights[output] = 1 << r.IntN(3) // slow, so that a crash finds some under way
	if r.IntN(3) == 0 {
		p.cancels = 1 + r.IntN(3)
	}
}

// String tells everything that the seed has drawn ahead of the run.
func (p plan) String() string {
	type fields plan
	return fmt.Sprintf("%+v", fields(p))
}
