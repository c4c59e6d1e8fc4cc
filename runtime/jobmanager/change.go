package jobmanager

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
)

// change is a deployment, or another wish of a user, that is under way: who asked waits for done.
type change struct {
	version  int // that is to run
	next     *deployedVersion
	previous int
	swap     bool // modules are swapped at a barrier; otherwise the job restarts
	waiting  map[string]bool
	view     func(checkpoint uint64, restarted bool) DeployedView
	done     chan<- changed
}

type changed struct {
	view DeployedView
	err  error
}

func refusal(status int, kind, title, detail string) error {
	return &router.Problem{Type: kind, Title: title, Status: status, Detail: detail, Docs: "docs/errors.md#" + kind}
}

// finishChange answers who waits for a change, if anyone does.
func (j *master) finishChange(view DeployedView, err error) {
	c := j.change
	if c == nil {
		return
	}
	j.change = nil
	c.done <- changed{view: view, err: err}
}

// deploy makes a version current: modules alone are swapped at the next barrier, anything else restarts the job from a
// final epoch. A version that cannot be loaded is refused and changes nothing.
func (j *master) deploy(ctx context.Context, next *deployedVersion, view func(uint64, bool) DeployedView, done chan<- changed) error {
	if j.change != nil {
		done <- changed{err: refusal(http.StatusConflict, "deploy-in-progress", "another change of this job is under way", "wait for it, or cancel the job")}
		return nil
	}
	if j.state == Cancelling {
		done <- changed{err: refusal(http.StatusConflict, "deploy-in-progress", "the job is being canceled", "deploy again when it is at rest; weir jobs shows it")}
		return nil
	}
	j.change = &change{version: next.Number, next: next, previous: j.record.Current, view: view, done: done}
	if j.phase == running && sameButModules(&j.version().Job, &next.Job) {
		j.change.swap, j.change.waiting = true, map[string]bool{}
		for w := range j.workers {
			j.change.waiting[w] = true
		}
		j.broadcast(&wire.Prepare{Attempt: j.attempt, Version: next.Version})
		return nil
	}
	if err := j.remember(ctx, next); err != nil {
		j.finishChange(DeployedView{}, err)
		return nil
	}
	return j.restart(ctx)
}

// remember makes a version the current one in the record; it survives a crash from here on.
func (j *master) remember(ctx context.Context, next *deployedVersion) error {
	r := *j.record
	if r.version(next.Number) == nil {
		r.Versions = append(append([]deployedVersion(nil), r.Versions...), *next)
	}
	r.Current, r.Desired, r.Refused, r.Discard = next.Number, wantRunning, nil, false
	if err := j.manager.registry.save(ctx, &r); err != nil {
		return err
	}
	*j.record = r
	j.restarts = restarts{policy: j.version().Job.Restart}
	j.own()
	return nil
}

// takeBack ends a deployment whose first attempt failed: the version before it runs again, and of a job that had none
// nothing is left.
func (j *master) takeBack(ctx context.Context, cause error) error {
	c := j.change
	if c.previous == 0 {
		err := j.discard(ctx)
		j.finishChange(DeployedView{}, cause)
		return err
	}
	r := *j.record
	r.Current = c.previous
	if err := j.manager.registry.save(ctx, &r); err != nil {
		j.finishChange(DeployedView{}, err)
		return err
	}
	*j.record = r
	j.own()
	j.note("taken back", fmt.Sprintf("version %d: %v", c.version, cause))
	j.finishChange(DeployedView{}, fmt.Errorf("version %d runs again: %w", c.previous, cause))
	j.state = Restarting
	return j.begin(ctx)
}

// prepared counts who has loaded the version that is to take over; with the last one its barrier is cut.
func (j *master) prepared(ctx context.Context, from string, p *wire.Prepared) error {
	c := j.change
	if c == nil || !c.swap || p.Number != c.version {
		return nil
	}
	if p.Error != "" {
		j.finishChange(DeployedView{}, refusal(http.StatusUnprocessableEntity, "module-refused", "the version cannot be loaded", p.Error+"; nothing was changed"))
		return nil
	}
	delete(c.waiting, from)
	if len(c.waiting) > 0 {
		return nil
	}
	if err := j.remember(ctx, c.next); err != nil {
		j.finishChange(DeployedView{}, err)
		return nil
	}
	return j.step(ctx, asked{ask{version: c.version}})
}

// restart begins a new attempt with the current version: behind a final epoch when tasks run, so that nothing is replayed.
func (j *master) restart(ctx context.Context) error {
	switch j.phase {
	case running:
		j.afterFinal = func(ctx context.Context) error { j.state = Restarting; return j.begin(ctx) }
		j.state = Restarting
		return j.step(ctx, asked{ask{final: true}})
	case requesting, deploying:
		j.state = Restarting
		j.halt(j.begin)
		return nil
	case halting:
		j.afterHalt = j.begin
		return nil
	}
	return j.begin(ctx)
}

// finished follows a final epoch once every lane has published: the job's last entry owes nothing.
func (j *master) finished(ctx context.Context, from string) error {
	if j.phase != running || j.afterFinal == nil {
		return nil
	}
	j.answeredFinal[from] = true
	if len(j.answeredFinal) < len(j.workers) {
		return nil
	}
	last := settledManifest(j.manifest, time.Now())
	last.Final = true
	if err := j.append(ctx, last); err != nil {
		return err
	}
	then := j.afterFinal
	j.afterFinal = nil
	clear(j.answeredFinal)
	j.halt(then)
	return nil
}

// resume lets a job run again that was brought to rest, or that failed.
func (j *master) resume(ctx context.Context) error {
	r := *j.record
	r.Desired, r.Refused, r.Diverting, r.Discard = wantRunning, nil, j.diverting, false
	if err := j.manager.registry.save(ctx, &r); err != nil {
		return err
	}
	*j.record = r
	j.restarts = restarts{policy: j.version().Job.Restart}
	if j.state == Failed {
		// The log is read again: the failure may have been a write whose result was unclear.
		err := j.open(ctx)
		if err != nil {
			j.lastError = err.Error() // it stays failed, which says why
		}
		return err
	}
	return j.begin(ctx)
}

// revive starts a job that failed and is deployed again as it is: its modules may have been mended by that.
func (m *Manager) revive(ctx context.Context, view DeployedView) (DeployedView, error) {
	_, err := m.verb(ctx, view.Job, func(ctx context.Context, j *master) error {
		if j.state != Failed || j.record.Current != view.Version {
			return nil
		}
		view.Unchanged, view.Restarted, view.Checkpoint, j.lastError = false, true, 0, ""
		if j.manifest != nil {
			view.Checkpoint = j.manifest.Number
		}
		return j.resume(ctx)
	})
	return view, err
}

// remove deletes a job that does not run.
func (j *master) remove(ctx context.Context) error {
	if j.phase != idle && j.phase != waiting || j.state == Running {
		return refusal(http.StatusConflict, "job-running", "the job runs", fmt.Sprintf("job %s is %s; stop or cancel it first", j.record.Name, j.state))
	}
	return j.discard(ctx)
}

// discard forgets the job, at rest: behind a tombstone, so that a crash does not bring it back.
//
// An entry of this term comes first: a coordinator that was replaced, and does not know, finds its number taken and
// deletes nothing of its successor's.
func (j *master) discard(ctx context.Context) error {
	if j.manifest != nil {
		if err := j.append(ctx, repeat(j.manifest, time.Now())); err != nil {
			return err
		}
	}
	r := *j.record
	r.Deleted = true
	if err := j.manager.registry.save(ctx, &r); err != nil {
		return err
	}
	*j.record = r
	j.ended = true
	j.manager.forget(j)
	for place := range j.places {
		j.manager.endpoint.Send(place, &wire.Forget{Job: j.record.UID})
	}
	return j.manager.registry.remove(ctx, j.record)
}

// incompatible words a refusal as both versions' numbers need it.
func incompatible(err error, old, next, running int) error {
	var states *functions.Incompatible
	if errors.As(err, &states) {
		return refusal(http.StatusConflict, "state-incompatible", "state type changed",
			fmt.Sprintf("%s; nothing was changed; version %d is still running", states.Between(old, next), running))
	}
	return refusal(http.StatusConflict, "job-incompatible", "the job cannot change this way", err.Error()+"; nothing was changed")
}
