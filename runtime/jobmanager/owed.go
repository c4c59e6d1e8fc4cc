package jobmanager

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weir-run/weir/runtime/internal/wire"
)

// keptDiscards is how many notes of dropped output a job's record keeps: each was a person's decision.
const keptDiscards = 20

// outputDiscarded is the kind of event that names output which was dropped.
const outputDiscarded = "output-discarded"

// CancelDiscarding ends a job without a final checkpoint, and drops what it has committed and not published: for a broker
// that does not come back. The job's events and its record name what is dropped.
func (m *Manager) CancelDiscarding(ctx context.Context, name string) (JobView, error) {
	if view, err := m.verb(ctx, name, func(ctx context.Context, j *master) error { return j.endDiscarding(ctx) }); err != nil {
		return view, err
	}
	return m.rest(ctx, name, Canceled, Failed)
}

func (j *master) endDiscarding(ctx context.Context) error {
	r := *j.record
	r.Desired, r.Discard = wantCanceled, true
	if err := j.manager.registry.save(ctx, &r); err != nil {
		return err
	}
	*j.record = r
	j.finishChange(DeployedView{}, refusal(http.StatusConflict, "deploy-in-progress", "the job is brought to rest", "deploy again when it is"))
	j.state = Cancelling
	j.forgetEnds()
	j.halt(j.goOn)
	return nil
}

// discardOwed writes down what the manifest owes and is about to be dropped: before it is.
func (j *master) discardOwed(ctx context.Context) error {
	if !j.record.Discard || !owes(j.manifest) {
		return nil
	}
	var dropped []string
	for i := range j.manifest.Lanes {
		for _, outbox := range j.manifest.Lanes[i].Outboxes {
			dropped = append(dropped, fmt.Sprintf("outbox %d of lane %s in %s", outbox.Number, j.manifest.Lanes[i].ID, outbox.File.Name))
		}
	}
	detail := strings.Join(dropped, ", ") + ": dropped as asked, unless it was published already"
	j.log.Warn("output discarded", "what", detail)
	j.note(outputDiscarded, detail)
	r := *j.record
	r.Discarded = append(slices.Clone(r.Discarded), Event{Time: time.Now(), Attempt: j.attempt.Attempt, Kind: outputDiscarded, Detail: detail})
	if over := len(r.Discarded) - keptDiscards; over > 0 {
		r.Discarded = r.Discarded[over:]
	}
	if err := j.manager.registry.save(ctx, &r); err != nil {
		return err
	}
	*j.record = r
	return nil
}

// refusalOver forgets what a broker has refused, once the attempt behind it runs or has published all.
func (j *master) refusalOver() {
	j.refusedRecord, j.record.Refused = nil, nil // on disk with the next record: it fits no later outbox
}

// diverted forgets the records on their way to the dead-letter topic whose outboxes the manifest does not name any more:
// until then another attempt would have to divert them again.
func (j *master) diverted() {
	if len(j.diverting) == 0 {
		return
	}
	named := map[string]bool{}
	outbox := func(lane string, number uint64) string { return fmt.Sprintf("%s %d", lane, number) }
	for i := range j.manifest.Lanes {
		for _, o := range j.manifest.Lanes[i].Outboxes {
			named[outbox(j.manifest.Lanes[i].ID, o.Number)] = true
		}
	}
	j.diverting = slices.DeleteFunc(slices.Clone(j.diverting), func(r wire.Refused) bool { return !named[outbox(r.Lane, r.Number)] })
	j.record.Diverting = j.diverting
}
