package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/runtime/jobmanager"
)

// Run makes the run of a seed. It is called in a bubble of testing/synctest, whose clock it moves.
func Run(seed uint64, options Options) *Result {
	random := rand.New(rand.NewPCG(seed, 0x5157))
	if options.Log != nil {
		options.Log = &teller{to: options.Log}
	}
	w := &world{
		options: options, random: random, plan: newPlan(random), scheduler: newScheduler(random), started: time.Now(),
		seqs: map[uint16]uint32{}, deployed: map[uint64]int{},
	}
	w.drawn = random
	if options.Workload != 0 {
		w.drawn = rand.New(rand.NewPCG(options.Workload, 0x494e))
		w.plan.inputs, w.plan.sources, w.plan.calls = 1+w.drawn.IntN(maxInputs), 1+w.drawn.IntN(maxSources), 0
	}
	if options.Generation != 1 {
		w.plan.second(rand.New(rand.NewPCG(seed, 0x324e)))
	}
	w.scheduler.weights, w.scheduler.behind, w.scheduler.say = w.plan.weights, w.plan.behind, w.say
	w.byPart = make([][]history.Input, MaxPartitions)
	w.logs = newLogs(w.plan.partitions, workload.Inputs, workload.Effects, workload.Acks, Copies, "dead")
	w.logs.published = w.leaves
	w.disk = &disk{files: map[string]*file{}}
	w.manifests.world = w
	w.disk.durable, w.disk.deleted = w.manifests.written, w.manifests.deleted
	w.begin()
	w.trouble()
	if !w.violated() {
		w.quiet()
	}
	result := w.result(seed)
	w.close()
	return result
}

// trouble is the part of a run with faults: it ends when everything planned has happened.
func (w *world) trouble() {
	left := w.plan
	w.scheduler.settle()
	w.deploy(left.parallelism, 1)
	for range troubleSteps {
		if w.violated() {
			return
		}
		w.scheduler.settle()
		w.look()
		if w.cancels && (!w.owes || w.owing()) && w.idle() {
			w.cancels = false
			w.cancel()
		}
		switch {
		case w.random.IntN(careSteps) == 0:
			if w.idle() {
				w.revive()
			}
		case w.random.IntN(w.plan.events) == 0:
			if !w.event(&left) {
				return
			}
		case w.random.IntN(w.plan.time) == 0 || !w.one():
			w.advance()
		}
	}
}

// careSteps is how often, in steps, somebody looks after the job.
const careSteps = 60

// look runs the checks that follow every step.
func (w *world) look() {
	for _, p := range w.processes {
		p.drain()
	}
	w.scheduler.settle()
	w.disk.look()
	w.atRest()
	if w.blind && w.scheduler.steps > w.faultsTill {
		w.blind = false
		for _, p := range w.processes {
			p.blind.Store(false)
		}
	}
}

// one lets one held thing happen; false when nothing is held.
func (w *world) one() bool {
	next := w.scheduler.choose()
	if next == nil {
		return false
	}
	said := proceed
	if !w.calm {
		said = w.fault(next.kind)
	}
	w.scheduler.note("%s %s%s", next.lane, next.what, []string{"", " is refused", " is in doubt"}[said])
	next.happen(said)
	return true
}

// fault draws what the disk or the broker does to an operation.
func (w *world) fault(k kind) verdict {
	rate := 0
	switch k {
	case storage:
		rate = w.plan.storageFaults
		if w.scheduler.steps < w.faultsTill && !w.blind {
			rate = 900
		}
	case broker, output:
		rate = w.plan.brokerFaults
	}
	if rate == 0 || w.random.IntN(1000) >= rate {
		return proceed
	}
	return refuse + verdict(w.random.IntN(2))
}

// advance lets time pass: mostly a moment, now and then as long as what waits for seconds.
func (w *world) advance() {
	d := time.Duration(1+w.random.IntN(5)) * time.Millisecond
	if w.random.IntN(4) == 0 {
		d = time.Duration(1+w.random.IntN(1500)) * time.Millisecond
	}
	w.scheduler.note("time +%v", d)
	time.Sleep(d)
}

// faultSteps is how long the disk is full, or cannot be read.
const faultSteps = 30

// event makes one of the planned events happen; false when none is left.
func (w *world) event(left *plan) bool {
	type choice struct {
		left *int
		do   func()
	}
	choices := []choice{
		{&left.inputs, w.produceInput},
		{&left.inputs, w.produceInput}, // inputs come with the calls, not before or behind everything
		{&left.calls, func() { w.request(left.calls) }},
		{&left.kills, func() {
			power := w.random.IntN(100) < w.plan.powerOff && len(w.processes) == 1 // another one keeps the machine up
			w.scheduler.note("kill, power off %v", power)
			w.end(w.front.Load(), power)
			w.wish = nil
			w.begin()
		}},
		{&left.pauses, func() {
			if w.epochs == 0 { // two that both make the job are what an election prevents
				left.pauses++
				return
			}
			w.scheduler.note("pause")
			w.front.Load().behind = true
			w.wish = nil
			w.begin()
		}},
		{&left.full, func() { w.scheduler.note("disk full"); w.faultsTill = w.scheduler.steps + faultSteps }},
		{&left.blinks, func() {
			w.scheduler.note("disk cannot be read")
			w.blind, w.faultsTill = true, w.scheduler.steps+faultSteps
			w.front.Load().blind.Store(true)
		}},
		{&left.deploys, func() {
			if w.idle() {
				w.deploy(1+w.random.IntN(4), 1+w.random.IntN(2))
			}
		}},
		{&left.cancels, func() { w.cancels, w.owes = true, w.random.IntN(2) == 0 }},
	}
	total := 0
	for _, c := range choices {
		if *c.left > 0 {
			total++
		}
	}
	if total == 0 {
		return false
	}
	at := w.random.IntN(total)
	for _, c := range choices {
		if *c.left == 0 {
			continue
		}
		if at == 0 {
			*c.left--
			c.do()
			return true
		}
		at--
	}
	return true
}

// quiet is the part without faults: one process lives, and everything that is owed has to come.
func (w *world) quiet() {
	w.calm = true
	if w.options.Broker != nil {
		w.options.Broker.Calm()
	}
	w.scheduler.note("calm")
	if older := w.older(); len(older) > 0 {
		for _, p := range older {
			w.end(p, false)
		}
		w.restart()
	}
	w.blind, w.faultsTill = false, 0
	w.front.Load().blind.Store(false)
	if !w.until(w.complete) {
		w.liveness("inputs and calls")
		return
	}
	w.settleDown()
	if w.violated() {
		return
	}
	w.judge()
}

const (
	// calmAdvance is how far time goes when nothing is held, and reviveAfter how long after that somebody looks after the job.
	calmAdvance = 100 * time.Millisecond
	reviveAfter = 5 * time.Second
)

// restart replaces the process. A JobManager does not see what another one, or a late write of one that is gone, has added
// to the registry: in a cluster the election ends who has lost the lead, here somebody starts it again.
func (w *world) restart() {
	w.end(w.front.Load(), false)
	w.wish, w.outrun = nil, false
	w.scheduler.note("restart")
	w.begin()
}

// until lets things happen until done says so; false when it takes too long, or something is found.
func (w *world) until(done func() bool) bool {
	deadline := time.Now().Add(calmTime)
	revived := time.Now()
	for range calmSteps {
		w.scheduler.settle()
		w.look()
		if w.violated() || time.Now().After(deadline) {
			return false
		}
		if w.idle() && w.outrun {
			w.restart()
			continue
		}
		if done() {
			return true
		}
		if w.one() {
			continue
		}
		if time.Since(revived) > reviveAfter && w.idle() {
			revived = time.Now()
			w.revive()
			continue
		}
		w.scheduler.note("time")
		time.Sleep(calmAdvance)
	}
	return false
}

func (w *world) liveness(what string) {
	if w.violated() {
		return
	}
	effects, acks := w.owed()
	waiting, answered := w.callCounts()
	w.violate("liveness", "%s do not come to an end: %d of %d effects, %d of %d acknowledgements, %d calls wait, copies complete: %v", what,
		w.count(workload.Effects), effects+answered, w.count(workload.Acks), acks, waiting, w.copied())
}

// settleDown brings the job to rest behind a final epoch, so that what comes twice has come.
func (w *world) settleDown() {
	stopped := false
	for try := 0; try < stopTries && !stopped && !w.violated(); try++ {
		if !w.until(w.idle) {
			break
		}
		w.stop(&stopped)
		w.until(w.idle)
	}
	if !stopped {
		w.liveness("stopping")
	}
}

// stopTries is how often somebody tries to stop the job, and starts the process again when it cannot.
const stopTries = 3

func (w *world) stop(stopped *bool) {
	p := w.front.Load()
	w.wishFor("stop", func(ctx context.Context, jobs *jobmanager.Manager) error {
		view, err := jobs.Stop(ctx, jobName)
		*stopped = err == nil && view.State == jobmanager.Finished
		if *stopped {
			w.tell(p, view.State)
		}
		if err == nil && !*stopped {
			err = fmt.Errorf("job is %s: %s", view.State, view.Error)
		}
		return err
	})
}

// close ends what lives.
func (w *world) close() {
	w.scheduler.over.Store(true)
	for len(w.processes) > 0 {
		w.end(w.processes[0], false)
	}
	for {
		w.scheduler.settle()
		ended := false
		w.scheduler.heads(func(p *pending) { ended = true })
		if !ended {
			break
		}
		p := w.scheduler.take(w.scheduler.names[0])
		if p.kind != frame {
			p.happen(died)
		}
	}
	w.clients.Wait()
}
