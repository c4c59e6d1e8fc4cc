package jobmanager

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// owes tells that a manifest names output that is not known to be published.
func owes(m *checkpoint.Manifest) bool {
	for i := range m.Lanes {
		if len(m.Lanes[i].Outboxes) > 0 {
			return true
		}
	}
	return false
}

// goOn does what is wanted of the job while nothing of it runs. One that is to end, and whose last attempt did not get
// there, gets another one: to take the final epoch, or only to publish what is committed.
func (j *master) goOn(ctx context.Context) error {
	if j.manifest == nil {
		return j.open(ctx)
	}
	if j.record.Refused != nil && j.record.Desired == wantSuspended { // an attempt would meet it again
		j.phase, j.state = idle, Suspended
		return nil
	}
	ending := j.record.Desired != wantRunning
	if ending && (j.manifest.Number == 0 || j.manifest.Final || j.record.Desired == wantCanceled && (j.record.Discard || !owes(j.manifest))) {
		return j.rest(ctx)
	}
	return j.begin(ctx)
}

// rest follows when nothing runs and nothing is owed. A final entry says so, also to the next start of the process.
func (j *master) rest(ctx context.Context) error {
	if err := j.discardOwed(ctx); err != nil {
		return err
	}
	if j.manifest.Number > 0 && !j.manifest.Final {
		last := settledManifest(j.manifest, time.Now())
		last.Final = true
		if err := j.append(ctx, last); err != nil {
			return err
		}
	}
	j.phase = idle
	j.state = map[desired]JobState{wantFinished: Finished, wantSuspended: Suspended, wantCanceled: Canceled}[j.record.Desired]
	j.note(string(j.state), "")
	return nil
}

// end brings the job to rest: finished and suspended behind a final epoch when it runs, canceled once what is committed is
// published.
func (j *master) end(ctx context.Context, to desired) error {
	r := *j.record
	r.Desired = to
	if err := j.manager.registry.save(ctx, &r); err != nil {
		return err
	}
	*j.record = r
	if j.change != nil {
		j.finishChange(DeployedView{}, refusal(http.StatusConflict, "deploy-in-progress", "the job is brought to rest", "deploy again when it is"))
	}
	switch j.phase {
	case running:
		return j.endRunning(ctx)
	case requesting, deploying, halting:
		j.halt(j.settleDown)
		return nil
	}
	return j.settleDown(ctx)
}

// finishIdle ends a job whose bounded ingresses are done, once an epoch has proved that nothing is left: as a stop does, so
// that a crash on the way finds what is wanted in the record, and requests that came meanwhile are in the final epoch.
func (j *master) finishIdle(ctx context.Context) error {
	if j.phase != running || j.record.Desired != wantRunning || j.afterFinal != nil || j.drained != nil {
		return nil // it ends or restarts already; a restart proves it anew
	}
	j.note("ended", "every ingress is read up to its end, and nothing waits")
	return j.end(ctx, wantFinished)
}

// endRunning is what an attempt does that is to be the last.
func (j *master) endRunning(ctx context.Context) error {
	if j.record.Desired != wantCanceled {
		j.afterFinal = j.rest
		return j.step(ctx, asked{ask{final: true}})
	}
	j.state = Cancelling
	j.forgetEnds()
	if len(j.coordinator.unpublished) == 0 {
		j.halt(j.rest)
		return nil
	}
	j.afterPublished = j.rest
	return j.step(ctx, cancelled{})
}

// forgetEnds forgets how the attempt was to end: it ends otherwise, or another one begins.
func (j *master) forgetEnds() {
	j.afterFinal, j.afterPublished = nil, nil
	clear(j.answeredFinal)
}

// settleDown ends a job of which nothing runs from its last checkpoint.
func (j *master) settleDown(ctx context.Context) error {
	if j.manifest != nil && !owes(j.manifest) {
		return j.rest(ctx)
	}
	return j.goOn(ctx)
}

// drain stops the attempt behind a final epoch without changing what the user wants: the process is about to end. An
// attempt that fails on the way is not followed by another.
func (j *master) drain(ctx context.Context, done func()) error {
	j.drained = done
	switch j.phase {
	case running:
		j.afterFinal = func(context.Context) error { return nil }
		return j.step(ctx, asked{ask{final: true}})
	case requesting, deploying:
		j.halt(nil)
	case idle, waiting:
		j.ended = true
		done()
	}
	return nil
}

// holdup says what the job waits for: on its way to rest, the next thing that keeps it from there.
func (j *master) holdup() string {
	switch {
	case j.record.Desired == wantRunning && j.drained == nil:
		return j.waitingFor
	case j.phase == halting:
		return "its tasks to end"
	case j.phase != running || j.coordinator == nil:
		return j.waitingFor
	case len(j.coordinator.unpublished) > 0:
		return "its output to be taken by " + strings.Join(j.owedTo(), ", ")
	}
	return "its final checkpoint"
}

// owedTo are the clusters that are owed output.
func (j *master) owedTo() []string {
	addresses := addressesOf(&j.version().Job)
	var owed []string
	for i := range j.manifest.Lanes {
		lane := &j.manifest.Lanes[i]
		to := addresses[lane.Cluster]
		if to == functions.EmbeddedCluster {
			to = "the server's own broker"
		}
		if len(j.coordinator.unpublished[lane.ID]) > 0 && !slices.Contains(owed, to) {
			owed = append(owed, to)
		}
	}
	return owed
}
