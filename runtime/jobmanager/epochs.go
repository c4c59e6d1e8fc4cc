package jobmanager

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/failpoint"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/wire"
)

const (
	// sweepEvery is how many epochs leave their files behind before the next sweep: one listing of the directory for
	// so many deletions.
	sweepEvery = 64
	// epochsMeasured is how many epochs a median is taken of.
	epochsMeasured = 64
)

// step drives the coordinator and does what it says.
func (j *master) step(ctx context.Context, e event) error {
	if j.coordinator == nil {
		return nil
	}
	actions := j.coordinator.step(time.Now(), e)
	for i := 0; i < len(actions) && j.coordinator != nil; i++ {
		more, err := j.act(ctx, actions[i])
		if err != nil {
			return err
		}
		actions = append(actions, more...)
	}
	return nil
}

func (j *master) act(ctx context.Context, a action) ([]action, error) {
	switch a := a.(type) {
	case trigger:
		j.broadcast(&wire.Trigger{
			Attempt: j.attempt, Trigger: a.trigger, Number: j.manifest.Number + 1, Switch: a.ask.version, Final: a.ask.final, Inline: j.inline(),
			Trace: j.trace.begin(ctx, j.manager.config.Tracing, j),
		})
	case commit:
		started := time.Now()
		if err := j.append(ctx, nextManifest(j.manifest, a.epoch, j.takeCompacted(), time.Now())); err != nil {
			return nil, err
		}
		failpoint.Hit("manifest-written")
		j.trace.manifest(ctx, j.manager.config.Tracing, started)
		j.trace.end(j.manifest.Number, "")
		j.measure(a.epoch)
		if j.manager.instruments != nil {
			j.ledger.commit(a.epoch.acks, j.manifest)
			j.manager.instruments.phases(ctx, j, a.epoch.acks, j.committed.Sub(started), j.committed.Sub(a.epoch.since))
		}
		more := j.coordinator.step(time.Now(), committed{number: j.manifest.Number})
		j.epochCommitted(ctx, a.epoch)
		return more, nil
	case complete:
		j.broadcast(&wire.Complete{Attempt: j.attempt, Trigger: a.trigger, Number: j.manifest.Number})
	case abort:
		j.ledger.failed++
		j.trace.end(0, a.reason)
		j.log.Warn("checkpoint failed", "trigger", a.trigger, "err", a.reason)
		j.note("checkpoint-failed", a.reason)
		j.broadcast(&wire.Abort{Attempt: j.attempt, Trigger: a.trigger})
	case settle:
		if err := j.append(ctx, settledManifest(j.manifest, time.Now())); err != nil {
			return nil, err
		}
		return j.coordinator.step(time.Now(), settled{}), nil
	case giveUp:
		j.failed(&wire.Failed{Attempt: j.attempt, Error: fmt.Sprintf("checkpoints fail: %s", a.reason)})
	case wake:
		j.schedule(a.at)
	}
	return nil, nil
}

// inline is how many bytes of the next epoch its manifest would hold for each TaskManager.
func (j *master) inline() int {
	if j.manifest.Crowded() {
		return 0
	}
	return max(j.manager.config.Inline, 0) / max(len(j.workers), 1)
}

func (j *master) broadcast(m wire.Message) {
	for w := range j.workers {
		j.manager.endpoint.Send(w, m)
	}
}

func (j *master) measure(e *openEpoch) {
	j.committed = time.Now()
	j.epochTook = append(j.epochTook, j.committed.Sub(e.since))
	if len(j.epochTook) > epochsMeasured {
		j.epochTook = j.epochTook[1:]
	}
}

// epochCommitted follows up on a commit: a version that has taken over, a fold that is due, files to sweep.
func (j *master) epochCommitted(ctx context.Context, e *openEpoch) {
	if j.state != Running && j.afterFinal == nil && j.afterPublished == nil {
		j.state = Running
	}
	if c := j.change; c != nil && (!c.swap && j.state == Running || c.swap && e.ask.version == c.version) {
		j.finishChange(c.view(j.manifest.Number, !c.swap), nil)
	}
	if e.idle() {
		j.inbox.Put(j.finishIdle) // behind what this commit lets out
	}
	j.compact()
	if j.sinceSweep++; j.sinceSweep >= planted.Limit(sweepEvery, 6) {
		j.sweep(ctx)
	}
}

// sweep deletes manifests beyond those retained, and files that no manifest names, in background.
func (j *master) sweep(ctx context.Context) {
	if j.sweeping {
		return
	}
	j.sweeping, j.sinceSweep = true, 0
	inUse := j.namesInUse()
	keep := max(j.version().Job.Checkpoints.Retain, 1)
	manifests, spill, term, attempt := j.manifests, filesPrefix(j.record.UID)+"spill/", j.term, j.attempt.Attempt
	j.manager.background.Go(func() error {
		err := manifests.Reclaim(ctx, "spill", func(name string) bool { return !olderFile(name, spill, term, attempt) })
		if err == nil {
			err = manifests.Sweep(ctx, keep, inUse)
		}
		j.inbox.Put(func(context.Context) error {
			j.sweeping = false
			if err != nil && ctx.Err() == nil {
				j.log.Warn("sweep failed", "err", err)
			}
			return nil
		})
		return nil
	})
}

// namesInUse says which files belong to the epoch or fold in progress: those of this attempt that are newer than any
// manifest. They carry term and attempt in their names.
func (j *master) namesInUse() func(name string) bool {
	data := fmt.Sprintf("%sdata/%d-%d-", filesPrefix(j.record.UID), j.term, j.attempt.Attempt)
	base := fmt.Sprintf("%sbase/%d-%d-", filesPrefix(j.record.UID), j.term, j.attempt.Attempt)
	oldest := j.manifest.Number // folds and joins from here on may be under way
	for _, c := range []*compaction{j.fold, j.join} {
		if c != nil {
			oldest = min(oldest, c.started)
		}
	}
	var undecided uint64 // triggers from here on are not decided
	if j.coordinator != nil {
		undecided = j.coordinator.next - 1
	}
	return func(name string) bool {
		if number, ok := fileNumber(name, data); ok {
			return number >= undecided
		}
		number, ok := fileNumber(name, base)
		return ok && number >= oldest
	}
}

// olderFile says that a file "<prefix><term>-<attempt>-..." was made by an attempt before this one.
func olderFile(name, prefix string, term, attempt uint64) bool {
	of, ok := fileNumber(name, prefix)
	if !ok || of != term {
		return ok && of < term
	}
	by, ok := fileNumber(name, fmt.Sprintf("%s%d-", prefix, term))
	return ok && by < attempt
}

// fileNumber reads the number behind a prefix of a snapshot file's name.
func fileNumber(name, prefix string) (uint64, bool) {
	if len(name) <= len(prefix) || name[:len(prefix)] != prefix {
		return 0, false
	}
	var n uint64
	for _, c := range []byte(name[len(prefix):]) {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

func clustersOf(job *functions.Job) map[string]bool {
	keys := map[string]bool{}
	for i := range job.Egresses {
		keys[wire.ClusterKey(job.Egresses[i].Cluster)] = true
	}
	for i := range job.Ingresses {
		keys[wire.ClusterKey(job.Ingresses[i].Cluster)] = true
	}
	return keys
}
