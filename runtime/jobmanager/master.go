package jobmanager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// phase is where an attempt is, between the job states that users see.
type phase int

const (
	idle       phase = iota // nothing is deployed
	requesting              // slots are asked for
	deploying               // TaskManagers restore
	running
	halting // tasks are being ended
	waiting // for the delay of the restart strategy
)

const (
	// slotRetry is the pause after a refusal of slots.
	slotRetry = 5 * time.Second
	// keptEvents is a job's history as shown: some days of a quiet job, the last restarts of a restless one.
	keptEvents = 200
)

// ownership is which function types a job has, and of which tenant.
type ownership struct {
	namespace string
	functions []string
}

// master runs one job: its attempts, its coordinator, and the changes that users ask for. Its goroutine owns all fields
// but inbox, name and owned.
type master struct {
	manager *Manager
	name    string
	owned   atomic.Pointer[ownership] // for other masters' deployments
	log     *slog.Logger
	inbox   *wire.Inbox[func(context.Context) error]
	record  *record

	manifests *checkpoint.Log
	manifest  *checkpoint.Manifest // the latest entry
	term      uint64
	committed time.Time // of the last epoch

	phase       phase
	state       JobState
	waitingFor  string
	lastError   string
	attempt     wire.Attempt
	workers     map[string][]int // tasks by TaskManager
	places      map[string]bool  // TaskManagers that any attempt had tasks on
	answered    map[string]bool  // who has answered the current phase
	coordinator *coordinator
	restarts    restarts
	restartsN   int
	since       time.Time // when the attempt began to run
	restored    *RestoredView
	timer       *time.Timer
	retryAt     time.Time
	notBefore   time.Time // when the next attempt may begin

	afterHalt      func(context.Context) error // what follows when every task has ended
	afterFinal     func(context.Context) error // what follows a final epoch that is published, behind the halt
	afterPublished func(context.Context) error // what follows when no lane owes anything
	answeredFinal  map[string]bool
	drained        func()         // set when the process is about to end: nothing follows a halt
	change         *change        // a deployment under way
	refusedRecord  *wire.Refused  // what suspended the job
	diverting      []wire.Refused // records that the next attempt sends to the dead-letter topic
	fold, join     *compaction    // under way, or done and not in a manifest yet
	foldAfter      time.Time      // of one that failed, the next
	sweeping       bool
	sinceSweep     int
	epochTook      []time.Duration
	queries        map[uint64]chan *wire.Answer
	nextQuery      uint64
	events         []Event
	stats          *wire.Stats
	statsAt        time.Time
	rates          [2]float64
	ledger         ledger
	trace          epochTrace
	ended          bool
}

func newMaster(m *Manager, r *record) *master {
	j := &master{
		manager: m, name: r.Name, log: m.config.Log.With("job", r.Name), inbox: wire.NewInbox[func(context.Context) error](nil), record: r,
		state: Created, refusedRecord: r.Refused, diverting: r.Diverting, events: slices.Clone(r.Discarded), timer: time.NewTimer(time.Hour), queries: map[uint64]chan *wire.Answer{}, places: map[string]bool{}, answeredFinal: map[string]bool{},
	}
	j.own()
	return j
}

// own shows the current version's functions to other masters.
func (j *master) own() {
	job := &j.version().Job
	j.owned.Store(&ownership{namespace: job.Namespace, functions: functionNames(job)})
}

// run serves the job until ctx is done or the job is deleted. An error it cannot handle leaves the job failed, with the
// error shown, and the process running.
func (j *master) run(ctx context.Context) error {
	defer j.timer.Stop()
	if err := j.open(ctx); err != nil {
		j.broken(err)
	}
	for !j.ended {
		select {
		case <-ctx.Done():
			return nil
		case <-j.timer.C:
			j.guard(j.tick(ctx))
		case <-j.inbox.Ready():
			for _, do := range j.inbox.Take(nil) {
				j.guard(do(ctx))
			}
		}
		if j.manager.instruments != nil {
			j.ledger.enter(j)
		}
	}
	return nil
}

// guard ends the term of this job when its coordinator can no longer know what is committed.
func (j *master) guard(err error) {
	if err != nil {
		j.broken(err)
	}
}

// broken ends the term of this job. After a write whose result is unclear a new term reads the log back; a log that is
// damaged, or that another coordinator writes to, takes the job down: nothing is guessed, and a person decides.
func (j *master) broken(err error) {
	j.note("broken", err.Error())
	j.lastError = err.Error()
	j.finishChange(DeployedView{}, err)
	j.state = Failing
	j.forgetEnds()
	for _, final := range []error{checkpoint.ErrDamaged, checkpoint.ErrNewer, checkpoint.ErrExists, checkpoint.ErrNotExist} {
		if errors.Is(err, final) {
			j.log.Error("job cannot go on", "err", err)
			j.halt(func(context.Context) error { j.state, j.manifest = Failed, nil; return nil })
			return
		}
	}
	j.log.Warn("term ended", "err", err)
	j.halt(func(ctx context.Context) error {
		j.manifest = nil
		return j.restartLater(ctx)
	})
}

// open reads what the job left, and starts it when it is wanted to run. The first write is an entry of a term of our own, so
// that a leader that was only paused finds its number taken.
func (j *master) open(ctx context.Context) error {
	j.manifests = checkpoint.OpenLog(j.manager.config.Storage, filesPrefix(j.record.UID))
	latest, err := j.manifests.Latest(ctx)
	if err != nil {
		return err
	}
	j.restarts.policy = j.version().Job.Restart
	if latest == nil {
		latest = &checkpoint.Manifest{UID: j.record.UID, Job: j.record.Name, Version: j.record.Current, KeyGroups: j.version().Job.KeyGroups, Parallelism: j.version().Job.Parallelism}
	}
	j.manifest, j.term = latest, latest.Term+1
	j.attempt = wire.Attempt{Job: j.record.UID, Attempt: latest.Attempt}
	return j.goOn(ctx)
}

func (j *master) version() *deployedVersion { return j.record.version(j.record.Current) }

// append writes the next manifest; any error but a clean refusal ends the term.
func (j *master) append(ctx context.Context, next *checkpoint.Manifest) error {
	next.Term, next.Attempt = j.term, j.attempt.Attempt
	if err := j.manifests.Append(ctx, next); err != nil {
		return fmt.Errorf("write manifest %d, so that what is committed is unclear: %w", next.Number, err)
	}
	j.manifest = next
	j.diverted()
	return nil
}

// begin starts an attempt: its number is in the log before anything of it runs. When the last term ended in doubt the log is
// read first, in a term of our own.
func (j *master) begin(ctx context.Context) error {
	if j.manifest == nil {
		return j.open(ctx)
	}
	j.attempt = wire.Attempt{Job: j.record.UID, Attempt: j.manifest.Attempt + 1}
	next := repeat(j.manifest, time.Now())
	next.Version, next.Parallelism, next.Final = j.record.Current, j.version().Job.Parallelism, false
	if err := j.append(ctx, next); err != nil {
		return err
	}
	j.forgetEnds()
	j.phase, j.waitingFor, j.coordinator, j.fold, j.join = requesting, "slots", nil, nil, nil
	switch {
	case j.record.Desired == wantCanceled:
		j.state = Cancelling
	case j.state != Restarting:
		j.state = Created
	}
	j.manager.endpoint.Send(resourceManager, &wire.Request{Attempt: j.attempt, Namespace: j.version().Job.Namespace, Tasks: j.version().Job.Parallelism})
	return nil
}

// granted deploys the tasks to the TaskManagers that have slots for them.
func (j *master) granted(places []string) {
	if j.phase != requesting {
		return
	}
	j.workers, j.answered = map[string][]int{}, map[string]bool{}
	for task, place := range places {
		j.workers[place] = append(j.workers[place], task)
		j.places[place] = true
	}
	v := j.version()
	lanes := orphans(j.manifest, v.Job.Parallelism, clustersOf(&v.Job))
	j.phase, j.waitingFor = deploying, ""
	for _, place := range slices.Sorted(maps.Keys(j.workers)) {
		j.manager.endpoint.Send(place, &wire.Deploy{
			Attempt: j.attempt, Version: v.Version, Tasks: j.workers[place], Prefix: filesPrefix(j.record.UID), Term: j.term, Manifest: j.manifest, Orphans: lanes, Divert: j.diverting,
		})
		lanes = nil
	}
}

func (j *master) refused(ctx context.Context, reason string) error {
	j.waitingFor = "slots: " + reason
	j.log.Warn("no slots", "err", reason)
	if j.change != nil {
		j.phase = idle
		return j.takeBack(ctx, refusal(http.StatusTooManyRequests, "no-slots", "not enough slots", reason))
	}
	j.phase = waiting
	j.beginAfter(slotRetry)
	return nil
}

// deployed counts answers; with the last one every task may run.
func (j *master) deployed(ctx context.Context, from string, d *wire.Deployed) error {
	if j.phase != deploying {
		return nil
	}
	if j.restored == nil || len(j.answered) == 0 {
		j.restored = &RestoredView{Checkpoint: j.manifest.Number}
	}
	j.answered[from] = true
	j.restored.Millis = max(j.restored.Millis, d.Millis)
	j.restored.Keys += d.Keys
	j.restored.Messages += d.Messages
	j.restored.Outboxes += d.Outboxes
	if len(j.answered) < len(j.workers) {
		return nil
	}
	if j.record.Desired == wantCanceled { // what it owed is published
		j.refusalOver()
		j.halt(j.rest)
		return nil
	}
	workers := make([]string, 0, len(j.workers))
	for w := range j.workers {
		workers = append(workers, w)
		j.manager.endpoint.Send(w, &wire.Start{Attempt: j.attempt})
	}
	j.phase, j.waitingFor, j.since = running, "", time.Now()
	j.coordinator = newCoordinator(j.version().Job.Checkpoints.Interval, j.manager.config.Cores, workers)
	j.coordinator.unsettled = j.restored.Outboxes > 0
	j.note("running", fmt.Sprintf("attempt %d of version %d from checkpoint %d in %.1f ms: %d keys, %d messages, %d outboxes",
		j.attempt.Attempt, j.record.Current, j.restored.Checkpoint, j.restored.Millis, j.restored.Keys, j.restored.Messages, j.restored.Outboxes))
	j.refusalOver()
	if j.record.Desired != wantRunning {
		return j.endRunning(ctx)
	}
	// The first epoch makes the positions durable from which the ingresses start. With it the job counts as running.
	return j.step(ctx, asked{})
}

// failed ends the attempt after an error in a TaskManager.
func (j *master) failed(f *wire.Failed) {
	if j.phase != deploying && j.phase != running {
		return
	}
	j.forgetEnds()
	j.lastError = f.Error
	j.note("failed", f.Error)
	j.log.Warn("attempt failed", "attempt", j.attempt.Attempt, "err", f.Error)
	j.state = Failing
	if c := j.change; c != nil && !c.swap {
		j.halt(func(ctx context.Context) error {
			if j.change != c { // answered meanwhile: what it waits for may come yet
				return j.restartLater(ctx)
			}
			if j.manifest.Version != c.version { // it was the version before, on its way out
				j.state = Restarting
				return j.begin(ctx)
			}
			return j.takeBack(ctx, refusal(http.StatusUnprocessableEntity, "version-does-not-run", "the version does not run", f.Error))
		})
		return
	}
	j.finishChange(DeployedView{}, fmt.Errorf("attempt %d failed: %s", j.attempt.Attempt, f.Error))
	if f.Refused != nil {
		j.refusedRecord = f.Refused
		j.halt(j.suspendRefused)
		return
	}
	if f.Fatal {
		j.halt(func(context.Context) error { j.state = Failed; j.note("stopped", "a restart cannot help"); return nil })
		return
	}
	j.halt(func(ctx context.Context) error { return j.restartLater(ctx) })
}

// restartLater asks the restart strategy, once all tasks have ended.
func (j *master) restartLater(context.Context) error {
	delay, ok := j.restarts.failed(time.Now(), j.since, rand.Float64())
	j.since = time.Time{}
	if !ok {
		j.state = Failed
		j.note("stopped", "restart strategy "+j.restarts.policy.Strategy+" gives up")
		return nil
	}
	j.restartsN++
	j.state, j.phase = Restarting, waiting
	j.beginAfter(delay)
	return nil
}

func (j *master) beginAfter(delay time.Duration) {
	j.notBefore = time.Now().Add(delay)
	j.schedule(j.notBefore)
}

// halt ends the tasks of the attempt, then does what follows.
func (j *master) halt(then func(context.Context) error) {
	j.coordinator, j.afterHalt = nil, then
	if j.phase == halting {
		return
	}
	if j.phase != deploying && j.phase != running {
		j.inbox.Put(j.halted)
		j.phase, j.workers = halting, nil
		return
	}
	j.phase, j.answered = halting, map[string]bool{}
	for w := range j.workers {
		j.manager.endpoint.Send(w, &wire.Halt{Attempt: j.attempt})
	}
}

// halted follows when every task has ended.
func (j *master) halted(ctx context.Context) error {
	j.phase = idle
	for id, waits := range j.queries {
		delete(j.queries, id)
		waits <- &wire.Answer{Attempt: j.attempt, ID: id, Problem: "the attempt has ended"}
	}
	j.manager.endpoint.Send(resourceManager, &wire.Release{Attempt: j.attempt})
	switch c := j.change; {
	case c == nil || !c.swap:
	case j.record.Current == c.version:
		c.swap = false // it takes over with the next attempt
	default: // it was prepared in tasks that are gone
		j.finishChange(DeployedView{}, refusal(http.StatusConflict, "deploy-in-progress", "the attempt ended before the version took over", "look at the job with weir jobs, and deploy again"))
	}
	if j.drained != nil {
		j.ended = true
		j.drained()
		return nil
	}
	then := j.afterHalt
	j.afterHalt = nil
	return then(ctx)
}

// schedule wakes the master no later than at.
func (j *master) schedule(at time.Time) {
	if j.retryAt.IsZero() || at.Before(j.retryAt) {
		j.retryAt = at
		j.timer.Reset(time.Until(at))
	}
}

func (j *master) tick(ctx context.Context) error {
	j.retryAt = time.Time{}
	if j.phase == waiting {
		if time.Now().Before(j.notBefore) { // a wake of the coordinator of the attempt before
			j.schedule(j.notBefore)
			return nil
		}
		return j.goOn(ctx)
	}
	if j.coordinator != nil {
		return j.step(ctx, ticked{})
	}
	return nil
}

// note adds a line to the job's history.
func (j *master) note(kind, detail string) {
	j.events = append(j.events, Event{Time: time.Now(), Attempt: j.attempt.Attempt, Kind: kind, Detail: detail})
	if len(j.events) > keptEvents {
		j.events = j.events[1:]
	}
}
