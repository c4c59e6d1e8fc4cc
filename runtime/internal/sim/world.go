package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/runtime/taskmanager"
	"github.com/weir-run/weir/statestore/checkpoint"
)

const (
	// jobName is the one job of a run.
	jobName = "sim"
	// troubleSteps bounds the part of a run in which there are faults, and calmSteps the part after it, in which
	// everything that is owed has to come: many times what runs take.
	troubleSteps = 6_000
	calmSteps    = 20_000
	// calmTime bounds the second part in virtual time.
	calmTime = 10 * time.Minute
	// keptLines of the trace are told with a violation.
	keptLines = 40
)

// Options of a run.
type Options struct {
	Log io.Writer // every step and the roles' own log; nil is silent
	// Workload, when it is not 0, draws the inputs, so that runs of several seeds get the same ones; there are no calls then.
	Workload uint64
	// Broker, when there is one, is where inputs come from and outputs go, instead of the run's own model.
	Broker Broker
	// Generation is which runs seeds make: 1 are those of before there was more to draw, 2 and 0 those of today. Seeds that
	// are kept stay what they were.
	Generation int
}

// Broker is a broker that is not the run's own, and outlives processes. Its requests do not wait for the scheduler.
type Broker interface {
	Address() string
	Ingress(*taskmanager.IngressRequest) (router.Ingress, error)
	Egress(*taskmanager.EgressRequest) (router.Egress, error)
	// Produce appends an input to a partition.
	Produce(topic string, partition int, key, value string)
	// Records are those that a reader of committed records sees, by partition.
	Records(topic string) [][]Record
	// Calm ends what the broker does to its clients.
	Calm()
}

// Record is a record of a topic.
type Record struct{ Key, Value string }

// Result is what became of a run.
type Result struct {
	Seed       uint64
	Workload   uint64
	Generation int
	Plan       string
	Steps      int
	Trace      uint64 // of every step: equal for two runs that went alike
	Check      string // that found something; empty when none did
	Violation  string
	Last       []string // steps before it
	History    *history.History
	State      uint64 // hash of the state at the end
	Output     uint64 // hash of the output per key at the end
	Epochs     int
	Folds      int
	Stale      int // frames of ended attempts that came late
}

// Good says that nothing was found.
func (r *Result) Good() bool { return r.Check == "" }

// world is one run.
type world struct {
	options   Options
	random    *rand.Rand
	drawn     *rand.Rand // of the inputs
	plan      plan
	scheduler *scheduler
	disk      *disk
	logs      *logs
	manifests manifests

	lives      int
	processes  []*process              // alive, the oldest first
	front      atomic.Pointer[process] // the newest
	started    time.Time
	calm       bool
	faultsTill int // step up to which the disk is full, or cannot be read
	blind      bool
	lateFrames int
	epochs     int
	folds      int

	inputs   []history.Input
	byPart   [][]history.Input // as produced, by partition
	seqs     map[uint16]uint32
	clients  sync.WaitGroup
	wish     chan error // of the operator: what has come of the last one
	outrun   bool       // it met a record of somebody else
	deployed map[uint64]int

	cancels bool                 // the job is to be canceled,
	owes    bool                 // once it owes output
	looked  *checkpoint.Manifest // the last of which it is known that it has not consumed all
	resting bool                 // it is told to have come to rest, and nobody has wished otherwise

	mu    sync.Mutex // guards what follows; a leaf
	calls []*callRecord
	check string
	found string
	last  []string
	told  ending // what the operator was told last
}

// violate notes what contradicts the platform's promises; the first counts.
func (w *world) violate(check, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.check == "" {
		w.check, w.found = check, fmt.Sprintf(format, args...)
	}
}

func (w *world) violated() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.check != ""
}

// teller lets several goroutines write to one writer, line by line.
type teller struct {
	mu sync.Mutex // a leaf: what is written to is memory, or a test's output
	to io.Writer
}

func (t *teller) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.to.Write(p)
}

// say keeps the last lines of the trace.
func (w *world) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if w.options.Log != nil {
		fmt.Fprintln(w.options.Log, line) // who listens sees what it misses
	}
	if len(w.last) == keptLines {
		w.last = w.last[1:]
	}
	w.last = append(w.last, line)
}

// job is the job of the run at a parallelism, in one of two versions that do the same.
func (w *world) job(parallelism, version int) *functions.Job {
	cluster := functions.Cluster{Address: "memory"}
	if w.options.Broker != nil {
		cluster.Address = w.options.Broker.Address()
	}
	egress := func(topic string) functions.Egress {
		return functions.Egress{ID: topic, Cluster: cluster, Delivery: functions.ExactlyOnce, Topic: topic, Topics: []string{topic}}
	}
	egresses := []functions.Egress{egress(workload.Effects), egress(workload.Acks)}
	if w.plan.copies {
		egresses = append(egresses, egress(Copies))
		egresses[2].Delivery = functions.AtLeastOnce
	}
	target, err := functions.ParseTypeName(workload.Source)
	if err != nil {
		panic(fmt.Sprintf("sim: %v", err))
	}
	digest := fmt.Sprintf("proof-%d", version)
	return &functions.Job{
		Name: jobName, Namespace: "default", Parallelism: parallelism, KeyGroups: w.plan.groups, Delivery: functions.ExactlyOnce,
		Checkpoints: functions.Checkpoints{Retain: 3, Interval: w.plan.interval},
		Restart:     functions.Restart{Strategy: "fixed-delay", Delay: time.Millisecond},
		Modules: []functions.Module{{
			File: digest, Digest: digest, Description: w.module().Description(), DeadLetter: "dead", Retry: functions.Retry{Attempts: 1},
		}},
		Egresses: egresses,
		Ingresses: []functions.Ingress{{
			ID: "in", Cluster: cluster, Topics: []functions.IngressTopic{{Topic: workload.Inputs, Targets: []functions.TypeName{target}}},
			Invalid: functions.Invalid{NoKey: functions.InvalidDeadLetter, Tombstone: functions.InvalidDeadLetter, Oversize: functions.InvalidDeadLetter, DeadLetter: "dead"},
		}},
	}
}

// noteDeploy checks that an attempt belongs to one process, and is in the log before anything of it runs.
func (w *world) noteDeploy(p *process, d *wire.Deploy) {
	w.mu.Lock()
	owner, taken := w.deployed[d.Attempt.Attempt]
	w.deployed[d.Attempt.Attempt] = p.number
	w.mu.Unlock()
	switch {
	case taken && owner != p.number:
		w.violate("attempt", "attempt %d is deployed by process %d and by process %d", d.Attempt.Attempt, owner, p.number)
	case !w.manifests.wrote(d.Manifest.Number):
		w.violate("attempt", "attempt %d starts from manifest %d, which is not durable", d.Attempt.Attempt, d.Manifest.Number)
	}
}

// produceInput writes the next input.
func (w *world) produceInput() {
	source := uint16(w.drawn.IntN(w.plan.sources))
	w.seqs[source]++
	in := history.Input{Source: source, Input: workload.Input{
		Seq: w.seqs[source], Fanout: uint8(w.drawn.IntN(workload.MaxFanout + 1)), Hops: uint8(w.drawn.IntN(workload.MaxHops + 1)),
	}}
	key, value := workload.SourceKey(source), string(in.Input.Append(nil))
	partition := w.logs.produce(workload.Inputs, key, value)
	if b := w.options.Broker; b != nil {
		b.Produce(workload.Inputs, partition, key, value)
	}
	w.inputs = append(w.inputs, in)
	w.byPart[partition] = append(w.byPart[partition], in)
	w.scheduler.note("produce %d/%d", source, in.Seq)
}

// owed is how many effects and acknowledgements the inputs so far cause.
func (w *world) owed() (effects, acks int) {
	for _, in := range w.inputs {
		effects += int(in.Fanout) * (int(in.Hops) + 1)
		acks += int(in.Fanout) * int(in.Hops)
	}
	return effects, acks
}

// unanswered is how many calls still wait, answered how many have an answer.
func (w *world) callCounts() (unanswered, answered int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if c.done {
			answered++
		} else {
			unanswered++
		}
	}
	return unanswered, answered
}

// complete says that everything that was asked for has come.
func (w *world) complete() bool {
	waiting, answered := w.callCounts()
	effects, acks := w.owed()
	return waiting == 0 && w.count(workload.Effects) >= effects+answered && w.count(workload.Acks) >= acks && w.copied() && w.consumed()
}

// records are the outputs of a topic, by partition.
func (w *world) records(topic string) [][]Record {
	if b := w.options.Broker; b != nil {
		return b.Records(topic)
	}
	return w.logs.topics[topic]
}

func (w *world) count(topic string) int {
	n := 0
	for _, partition := range w.records(topic) {
		n += len(partition)
	}
	return n
}

// consumed says that a checkpoint holds positions behind every input and no message that is under way: some cause nothing
// that can be seen from outside.
func (w *world) consumed() bool {
	latest := w.manifests.latest
	if latest == nil || latest == w.looked {
		return false
	}
	w.looked = latest
	n := int64(0)
	err := w.positions(latest, func(p router.Position) { n += p.Offset })
	if err == nil && n < int64(len(w.inputs)) {
		return false
	}
	cut := newTally()
	if err == nil {
		cut, err = w.expected(latest)
	}
	if err != nil {
		w.violate("cut", "manifest %d: %v", latest.Number, err)
		return false
	}
	return cut.under == 0
}

// older are the processes that have been replaced.
func (w *world) older() []*process {
	front := w.front.Load()
	return slices.DeleteFunc(slices.Clone(w.processes), func(p *process) bool { return p == front })
}
