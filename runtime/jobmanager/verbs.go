package jobmanager

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/weir-run/weir/internal/failpoint"
	"github.com/weir-run/weir/runtime/internal/wire"
)

// receive handles a TaskManager's or the ResourceManager's message about the current attempt.
func (j *master) receive(ctx context.Context, from string, message wire.Message) error {
	switch c := message.(type) {
	case *wire.Want:
		return j.step(ctx, wanted{urgent: c.Urgent, lone: c.Lone})
	case *wire.Acknowledge:
		return j.step(ctx, acked{worker: from, ack: c})
	case *wire.Published:
		if j.coordinator != nil {
			if since, ok := j.coordinator.owedSince(c.Lane, c.Number); ok {
				j.manager.instruments.phase(ctx, j, "publish", time.Since(since))
			}
		}
		err := j.step(ctx, published{lane: c.Lane, number: c.Number})
		failpoint.Hit("acknowledged")
		if j.afterPublished != nil && j.coordinator != nil && len(j.coordinator.unpublished) == 0 {
			then := j.afterPublished
			j.afterPublished = nil
			j.halt(then)
		}
		return err
	case *wire.Grant:
		j.granted(c.TaskManagers)
	case *wire.Refuse:
		return j.refused(ctx, c.Reason)
	case *wire.Deployed:
		return j.deployed(ctx, from, c)
	case *wire.Prepared:
		return j.prepared(ctx, from, c)
	case *wire.Failed:
		j.failed(c)
	case *wire.Waiting:
		j.waitingFor = c.For
		j.note("waiting", c.For)
		j.log.Warn("job waits", "for", c.For)
		if change := j.change; change != nil && !change.swap {
			view := change.view(j.manifest.Number, true)
			view.Waiting = c.For
			j.finishChange(view, nil)
		}
	case *wire.Folded:
		j.compacted(c)
	case *wire.Finished:
		return j.finished(ctx, from)
	case *wire.Halted:
		if j.phase != halting || j.answered[from] {
			return nil
		}
		j.answered[from] = true
		return j.haltedByAll(ctx)
	case *wire.Answer:
		if waits := j.queries[c.ID]; waits != nil {
			delete(j.queries, c.ID)
			waits <- c
		}
	default:
		return fmt.Errorf("unexpected %T from %s", message, from)
	}
	return nil
}

// haltedByAll goes on when every TaskManager of the attempt has ended its tasks, or is gone.
func (j *master) haltedByAll(ctx context.Context) error {
	for w := range j.workers {
		if !j.answered[w] {
			return nil
		}
	}
	return j.halted(ctx)
}

// lost ends the attempt after the loss of a TaskManager: nobody waits for what it would have said.
func (j *master) lost(ctx context.Context, taskManager string) error {
	if _, uses := j.workers[taskManager]; !uses {
		return nil
	}
	j.failed(&wire.Failed{Attempt: j.attempt, Error: "taskmanager " + taskManager + " is lost"})
	delete(j.workers, taskManager)
	if j.phase == halting {
		return j.haltedByAll(ctx)
	}
	return nil
}

// verb runs a change of a job's state in its master and returns the job as it then is.
func (m *Manager) verb(ctx context.Context, name string, do func(context.Context, *master) error) (JobView, error) {
	j := m.master(name)
	if j == nil {
		return JobView{}, unknownJob(name)
	}
	done := make(chan error, 1)
	j.inbox.Put(func(ctx context.Context) error {
		done <- do(ctx, j)
		return nil
	})
	select {
	case err := <-done:
		if err != nil {
			return JobView{}, err
		}
		return m.Job(ctx, name)
	case <-ctx.Done():
		return JobView{}, ctx.Err()
	}
}

// settlePoll is how often a verb looks whether its job has come to rest.
const settlePoll = 10 * time.Millisecond

// rest waits until the job is in one of the states, or ctx ends: then the change goes on, and the view says where it is.
func (m *Manager) rest(ctx context.Context, name string, states ...JobState) (JobView, error) {
	for {
		view, err := m.Job(ctx, name)
		if err != nil || slices.Contains(states, view.State) {
			return view, err
		}
		select {
		case <-ctx.Done():
			return view, nil
		case <-time.After(settlePoll):
		}
	}
}

// Stop ends a job behind a final checkpoint, once everything of it is published.
func (m *Manager) Stop(ctx context.Context, name string) (JobView, error) {
	if view, err := m.verb(ctx, name, func(ctx context.Context, j *master) error { return j.end(ctx, wantFinished) }); err != nil {
		return view, err
	}
	return m.rest(ctx, name, Finished, Failed, Suspended)
}

// Cancel ends a job without a final checkpoint; what is committed is still published.
func (m *Manager) Cancel(ctx context.Context, name string) (JobView, error) {
	if view, err := m.verb(ctx, name, func(ctx context.Context, j *master) error { return j.end(ctx, wantCanceled) }); err != nil {
		return view, err
	}
	return m.rest(ctx, name, Canceled, Failed, Suspended)
}

// Pause ends a job's tasks behind a final checkpoint and gives its slots back; Resume goes on from there.
func (m *Manager) Pause(ctx context.Context, name string) (JobView, error) {
	if view, err := m.verb(ctx, name, func(ctx context.Context, j *master) error { return j.end(ctx, wantSuspended) }); err != nil {
		return view, err
	}
	return m.rest(ctx, name, Suspended, Failed)
}

// Resume runs a job that is at rest.
func (m *Manager) Resume(ctx context.Context, name string) (JobView, error) {
	return m.verb(ctx, name, func(ctx context.Context, j *master) error {
		if j.phase != idle && j.phase != waiting {
			return refusal(http.StatusConflict, "job-running", "the job runs already", fmt.Sprintf("job %s is %s", name, j.state))
		}
		return j.resume(ctx)
	})
}

// Restart begins a new attempt: of a running job behind a final checkpoint, of one at rest from its last.
func (m *Manager) Restart(ctx context.Context, name string) (JobView, error) {
	return m.verb(ctx, name, func(ctx context.Context, j *master) error {
		if j.phase == idle {
			return j.resume(ctx)
		}
		return j.restart(ctx)
	})
}

// Rollback makes the version below the current one current: code goes back, state stays.
func (m *Manager) Rollback(ctx context.Context, name string) (JobView, error) {
	j := m.master(name)
	if j == nil {
		return JobView{}, unknownJob(name)
	}
	done := make(chan changed, 1)
	j.inbox.Put(func(ctx context.Context) error {
		var target *deployedVersion
		for i := range j.record.Versions {
			if v := &j.record.Versions[i]; v.Number < j.record.Current {
				target = v
			}
		}
		if target == nil {
			done <- changed{err: refusal(http.StatusConflict, "no-older-version", "there is nothing to roll back to",
				fmt.Sprintf("version %d is the oldest that is kept of job %s", j.record.Current, name))}
			return nil
		}
		// Ids are never taken back: the older code runs with the newest dictionary.
		v := *target
		v.Dictionary = j.record.Versions[len(j.record.Versions)-1].Dictionary
		for i := range j.record.Versions {
			if j.record.Versions[i].Number == v.Number {
				j.record.Versions[i] = v
			}
		}
		return j.deploy(ctx, &v, func(uint64, bool) DeployedView { return DeployedView{} }, done)
	})
	if _, err := await(ctx, done); err != nil {
		return JobView{}, err
	}
	return m.Job(ctx, name)
}

// Delete forgets a job at rest: its versions, its state, its checkpoints.
func (m *Manager) Delete(ctx context.Context, name string) error {
	j := m.master(name)
	if j == nil {
		return unknownJob(name)
	}
	done := make(chan error, 1)
	j.inbox.Put(func(ctx context.Context) error { done <- j.remove(ctx); return nil })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// suspendRefused brings a job to rest whose committed output a broker refuses for good: restarting would not help, and
// dropping the record is for a person to decide.
func (j *master) suspendRefused(ctx context.Context) error {
	r := *j.record
	r.Desired, r.Refused, r.Diverting = wantSuspended, j.refusedRecord, j.diverting
	if err := j.manager.registry.save(ctx, &r); err != nil {
		return err
	}
	*j.record = r
	j.state = Suspended
	j.note("suspended", fmt.Sprintf("record %d of outbox %d in lane %s is refused: weir outbox divert %s %s, or mend topic %s and weir resume %s",
		j.refusedRecord.Record, j.refusedRecord.Number, j.refusedRecord.Lane, j.name, j.refusedRecord.Lane, j.refusedRecord.Topic, j.name))
	return nil
}

// Divert moves the record that suspended a job to the dead-letter topic, in the transaction of its outbox, and resumes the
// job.
func (m *Manager) Divert(ctx context.Context, name, lane string) (LaneView, error) {
	_, err := m.verb(ctx, name, func(ctx context.Context, j *master) error {
		if j.refusedRecord == nil || j.refusedRecord.Lane != lane || j.state != Suspended {
			return refusal(http.StatusConflict, "nothing-refused", "no record of this lane is refused",
				fmt.Sprintf("job %s is %s and lane %s has nothing that its broker refused; weir outbox list shows the lanes", name, j.state, lane))
		}
		j.diverting = append(j.diverting, *j.refusedRecord) // an outbox may have several: all go at once
		return j.resume(ctx)
	})
	if err != nil {
		return LaneView{}, err
	}
	if _, err := m.rest(ctx, name, Running, Failed, Suspended); err != nil {
		return LaneView{}, err
	}
	lanes, err := m.Lanes(ctx, name)
	for _, l := range lanes {
		if l.ID == lane {
			return l, err
		}
	}
	return LaneView{ID: lane}, err
}

// show is the job as the API shows it, with its tasks' figures.
func (j *master) show(answers []*wire.Answer) JobView {
	v := j.version()
	view := JobView{
		Name: j.record.Name, Namespace: v.Job.Namespace, UID: j.record.UID, State: j.state, Waiting: j.holdup(), Error: j.lastError,
		Version: j.record.Current, Parallelism: v.Job.Parallelism, KeyGroups: v.Job.KeyGroups, Attempt: j.attempt.Attempt, Restarts: j.restartsN,
		CommittedAt: j.committed, Restored: j.restored, CreatedAt: j.record.CreatedAt, EpochMillis: medianMillis(j.epochTook),
	}
	if j.manifest != nil {
		view.Checkpoint = j.manifest.Number
	}
	if j.state == Running {
		view.Error = ""
	}
	total := &wire.Stats{}
	for _, a := range answers {
		if a.Stats != nil {
			total.Add(a.Stats)
		}
	}
	view.Tasks, view.In, view.Out, view.Lag, view.Keys, view.StateBytes, view.DeadLetters = total.Tasks, total.In, total.Out, total.Lag, total.Keys, total.StateBytes, total.DeadLetters
	view.P99Millis, view.Invocations, view.Fuel = total.P99Millis, total.Invocations, total.Fuel
	if now := time.Now(); len(answers) > 0 {
		if j.stats != nil && total.In >= j.stats.In && total.Out >= j.stats.Out && now.Sub(j.statsAt) > settlePoll {
			seconds := now.Sub(j.statsAt).Seconds()
			j.rates = [2]float64{float64(total.In-j.stats.In) / seconds, float64(total.Out-j.stats.Out) / seconds}
		}
		j.stats, j.statsAt = total, now
		view.InRate, view.OutRate = j.rates[0], j.rates[1]
	}
	return view
}

func medianMillis(took []time.Duration) float64 {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Clone(took)
	slices.Sort(sorted)
	return float64(sorted[len(sorted)/2].Microseconds()) / 1000
}
