package taskmanager

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/failpoint"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// sendSection marks the outbox sections of at-least-once output not yet acknowledged: sent again after a recovery.
const sendSection = "send/"

// unsettledSection names an ingress of which a task did not know every start when it sealed: after a recovery, partitions
// without a position start as the job says, and not at 0 as those that appeared later.
const unsettledSection = "unsettled/"

// epoch is one trigger in this worker: the snapshots of its tasks, and those of epochs that failed before it.
type epoch struct {
	trigger   uint64
	number    uint64 // of its manifest, should it be committed; 0 before the trigger has come
	snapshots []*snapshot
	carried   []*snapshot // of aborted epochs: their deltas, outboxes and replies join this one
	aborted   bool
	trace     *functions.Trace // of the epoch; nil: it is not traced
	written   bool             // its file is, or was tried to be
	ordered   bool             // the trigger has come, and with it what became of the epochs before
	inline    int              // bytes that the manifest would hold
}

// collect takes one task's snapshot; with the last one, the worker writes its file and acknowledges.
func (w *worker) collect(ctx context.Context, s *snapshot) error {
	e := w.epoch(s.trigger)
	if e == nil {
		// Sealed by a barrier that overtook the trigger.
		e = &epoch{trigger: s.trigger}
		w.epochs = append(w.epochs, e)
	}
	e.snapshots = append(e.snapshots, s)
	if e.aborted {
		w.carried = append(w.carried, s)
	}
	return w.acknowledge(ctx, e)
}

// acknowledge writes an epoch whose snapshots are all in. One whose barrier was faster than its trigger waits for that: the
// word that the epoch before it failed, whose changes it takes along, comes on the trigger's way.
func (w *worker) acknowledge(ctx context.Context, e *epoch) error {
	if len(e.snapshots) < len(w.local) || e.aborted || !e.ordered && !planted.Is(planted.BarrierAheadOfItsTrigger) || e.written {
		return nil
	}
	e.written = true
	e.carried, w.carried = w.carried, nil
	if e.unwritten() {
		w.awaiting = e
		return nil
	}
	w.persist(ctx, e)
	return nil
}

// persist writes an epoch's file, and tells the JobManager.
func (w *worker) persist(ctx context.Context, e *epoch) {
	ack := &wire.Acknowledge{Attempt: w.attempt, Trigger: e.trigger, Lanes: w.laneOutputs(e), Idle: e.idle(), Segments: e.segments()}
	for _, p := range w.publishers {
		if outbox := w.outbox(e, p); len(outbox) > 0 {
			p.prepare(e, outbox)
		}
	}
	var err error
	w.traceSeals(ctx, e)
	writing, written := time.Now(), w.epochSpan(ctx, e, "write")
	if err = w.write(ctx, e, ack); err != nil {
		ack.Error = err.Error()
	}
	ack.Write = time.Since(writing)
	written()
	failpoint.Hit("file-written")
	for _, lane := range ack.Lanes {
		if lane.Output {
			ack.Cost += publishCost
		}
	}
	for _, s := range e.snapshots {
		ack.Cost += s.sealing
		ack.Seal = max(ack.Seal, s.sealing)
	}
	w.send(ack)
}

func (w *worker) epoch(trigger uint64) *epoch {
	for _, e := range w.epochs {
		if e.trigger == trigger {
			return e
		}
	}
	return nil
}

// publishCost stands for the CPU time of one short transaction, beside that of its records. It is an estimate: four requests,
// each with its scheduling.
const publishCost = 200 * time.Microsecond

// write makes the epoch's file durable, or hands it to the manifest when it is small. Cost is the CPU time it took: waiting
// for the disk costs none.
func (w *worker) write(ctx context.Context, e *epoch, ack *wire.Acknowledge) error {
	name := fmt.Sprintf("%sdata/%d-%d-%d-%s", w.prefix, w.term, w.attempt.Attempt, e.trigger, w.manager.endpoint.Name())
	if w.writeInline(e, name, ack) {
		return nil
	}
	ack.File.Name = name
	err := w.config.Storage.Create(ctx, name, func(out io.Writer) error {
		started := time.Now()
		defer func() { ack.Cost = time.Since(started) }()
		file := checkpoint.NewWriter(out)
		deltas, err := writeDeltas(file, e)
		if err == nil {
			err = w.writeRest(file, e)
		}
		if err != nil {
			return err
		}
		err = file.Close(&ack.File)
		if deltas {
			ack.Delta = ack.File
		}
		if planted.Is(planted.AcknowledgeBeforeSync) {
			early := *ack
			w.send(&early)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// writeInline makes an epoch's files for its manifest to hold: one of changes, which later manifests repeat until they are
// joined, and one of the rest, which is over with the next epoch. False when they are too large.
func (w *worker) writeInline(e *epoch, name string, ack *wire.Acknowledge) bool {
	started := time.Now()
	delta, rest := checkpoint.LimitedBuffer{Limit: e.inline}, checkpoint.LimitedBuffer{}
	file := checkpoint.NewWriter(&delta)
	deltas, err := writeDeltas(file, e)
	if err != nil {
		return false
	}
	ref := checkpoint.FileRef{Name: name + "/delta"} // no TaskManager's name holds a slash
	if err = file.Close(&ref); err != nil {
		return false
	}
	rest.Limit = e.inline - len(delta.Bytes())
	file = checkpoint.NewWriter(&rest)
	if w.writeRest(file, e) != nil {
		return false
	}
	ack.File.Name = name
	if err = file.Close(&ack.File); err != nil {
		return false
	}
	ack.Inline = map[string][]byte{name: rest.Bytes()}
	if deltas {
		ack.Delta, ack.Inline[ref.Name] = ref, delta.Bytes()
	}
	ack.Cost = time.Since(started)
	return true
}

// writeDeltas writes what has changed in the state, that of failed epochs first.
func writeDeltas(file *checkpoint.Writer, e *epoch) (any bool, err error) {
	for s := range e.all {
		for _, block := range s.delta.Blocks {
			any = true
			if err := file.Section(checkpoint.KindDelta, s.task, block.Group, "", block.Bytes); err != nil {
				return any, err
			}
		}
	}
	return any, nil
}

// writeRest writes what an epoch holds beside changes: output, positions and messages.
func (w *worker) writeRest(file *checkpoint.Writer, e *epoch) error {
	for s := range e.all {
		if err := w.writeOutboxes(file, s); err != nil {
			return err
		}
	}
	for _, s := range e.snapshots {
		if err := w.writeTask(file, s); err != nil {
			return err
		}
	}
	return nil
}

// all yields the snapshots of an epoch, behind those of failed epochs before it.
func (e *epoch) all(yield func(*snapshot) bool) {
	for _, list := range [][]*snapshot{e.carried, e.snapshots} {
		for _, s := range list {
			if !yield(s) {
				return
			}
		}
	}
}

func (w *worker) writeOutboxes(file *checkpoint.Writer, s *snapshot) error {
	for cluster, chunks := range s.outboxes {
		if len(chunks) == 0 {
			continue
		}
		if err := file.Section(checkpoint.KindOutbox, s.task, 0, w.laneID(cluster, s.task), chunks...); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) writeTask(file *checkpoint.Writer, s *snapshot) error {
	if len(s.positions) > 0 {
		positions, err := json.Marshal(s.positions)
		if err != nil {
			return err
		}
		if err := file.Section(checkpoint.KindPositions, s.task, 0, "", positions); err != nil {
			return err
		}
	}
	for _, ingress := range s.unsettled {
		if err := file.Section(checkpoint.KindMeta, s.task, 0, unsettledSection+ingress, nil); err != nil {
			return err
		}
	}
	for cluster, chunks := range s.unacked {
		if len(chunks) == 0 {
			continue
		}
		if err := file.Section(checkpoint.KindOutbox, s.task, 0, sendSection+w.program.clusters[cluster].key, chunks...); err != nil {
			return err
		}
	}
	for _, queue := range []struct {
		kind  checkpoint.SectionKind
		parts []part
	}{{checkpoint.KindMailbox, s.mailbox}, {checkpoint.KindRecorded, runParts(nil, s.recorded)}, {checkpoint.KindQueued, s.queued}} {
		if err := writeQueue(file, s.task, queue.kind, queue.parts); err != nil {
			return err
		}
	}
	return nil
}

// writeQueue writes a queue, oldest first: a section of each run of messages, and one of references where segments stand.
func writeQueue(file *checkpoint.Writer, task int, kind checkpoint.SectionKind, parts []part) error {
	var runs [][]byte
	for len(parts) > 0 {
		runs = runs[:0]
		for len(parts) > 0 && parts[0].segment == nil {
			runs = append(runs, parts[0].run)
			parts = parts[1:]
		}
		if len(runs) > 0 {
			if err := file.Section(kind, task, 0, "", runs...); err != nil {
				return err
			}
		}
		var references []checkpoint.Segment
		for len(parts) > 0 && parts[0].segment != nil {
			references = append(references, parts[0].reference())
			parts = parts[1:]
		}
		if len(references) == 0 {
			continue
		}
		body, err := checkpoint.EncodeSegments(references)
		if err != nil {
			return err
		}
		if err := file.Section(checkpoint.KindReferences, task, 0, kind.String(), body); err != nil {
			return err
		}
	}
	return nil
}

// laneID is the transactional id and marker key of a task's lane in a cluster. It holds the job's uid, so that a job made
// again under the same name never meets the markers of its predecessor.
func (w *worker) laneID(cluster, task int) string {
	return fmt.Sprintf("weir-%s-%s-%d", w.attempt.Job, w.program.clusters[cluster].key, task)
}

func (w *worker) laneOutputs(e *epoch) []wire.LaneOutput {
	outputs := make([]wire.LaneOutput, 0, len(w.publishers))
	for _, p := range w.publishers {
		published := p.through() // before the cookie, which may then know of more outboxes but not of fewer
		outputs = append(outputs, wire.LaneOutput{
			ID: p.id, Cluster: p.cluster.key, Task: p.task, Cookie: p.lane.Cookie(), Output: len(w.outbox(e, p)) > 0, Published: published,
		})
	}
	return outputs
}

// outbox is what an epoch holds for a lane, failed epochs before it included.
func (w *worker) outbox(e *epoch, p *publisher) [][]byte {
	var outbox [][]byte
	for s := range e.all {
		if s.task != p.task {
			continue
		}
		for cluster, chunks := range s.outboxes {
			if w.program.clusters[cluster] == p.cluster {
				outbox = append(outbox, chunks...)
			}
		}
	}
	return outbox
}

// links are the sampled invocations that wrote to the outboxes of a task.
func (e *epoch) links(task int) (links []functions.Trace) {
	for s := range e.all {
		if s.task == task {
			links = append(links, s.links...)
		}
	}
	return links[:min(len(links), maxLinks)]
}

// complete lets the effects of a committed epoch out: replies, outboxes, consumer group offsets.
func (w *worker) complete(ctx context.Context, c *wire.Complete) error {
	e := w.epoch(c.Trigger)
	if e == nil {
		return fmt.Errorf("epoch of trigger %d is complete but unknown here", c.Trigger)
	}
	w.forgetThrough(c.Trigger)
	for _, p := range w.publishers {
		if outbox := w.outbox(e, p); len(outbox) > 0 {
			w.unpublished++
			p.put(&publication{epoch: e.trigger, number: c.Number, outbox: outbox, trace: e.trace, links: e.links(p.task)})
		}
	}
	for s := range e.all {
		for i := range s.replies {
			s.replies[i].answer.Epoch = c.Number
			w.manager.front.answer(s.replies[i].correlation, s.replies[i].answer)
		}
		w.latency.add(s.samples)
		w.manager.instruments.arrived(ctx, w, s.samples)
		s.delta.Release()
	}
	for _, s := range e.snapshots {
		w.final = w.final || s.final
		w.commitPositions(s)
	}
	if w.upcoming != nil && w.switched == w.upcoming.version {
		w.program, w.upcoming = w.upcoming, nil
		w.ids.Store(&w.program.ids)
		w.manager.front.open(w, w.program)
	}
	w.reportFinished()
	return nil
}

func (w *worker) commitPositions(s *snapshot) {
	for _, t := range w.local {
		if t.id != s.task {
			continue
		}
		for i := range t.ingresses {
			var own []router.Position
			for _, p := range s.positions {
				if p.Ingress == t.ingresses[i].spec.ID {
					own = append(own, p)
				}
			}
			if len(own) > 0 {
				t.ingresses[i].source.Committed(own)
			}
		}
	}
}

// forgetThrough drops the epochs up to a decided trigger.
func (w *worker) forgetThrough(trigger uint64) {
	kept := w.epochs[:0]
	for _, e := range w.epochs {
		if e.trigger > trigger {
			kept = append(kept, e)
		}
	}
	w.epochs = kept
}

// abort keeps what a failed epoch sealed: it joins the next.
func (w *worker) abort(trigger uint64) {
	e := w.epoch(trigger)
	if e == nil || e.aborted {
		return
	}
	e.aborted = true
	if w.awaiting == e {
		w.awaiting = nil
	}
	for _, p := range w.publishers {
		p.discard(trigger)
	}
	if planted.Is(planted.DeltaDroppedAfterFailedCheckpoint) {
		return
	}
	w.carried = append(append(w.carried, e.carried...), e.snapshots...)
	e.carried = nil
}

// published is run in the worker's loop after a lane has published an epoch.
func (w *worker) published(p *publisher, number uint64) error {
	if w.closing {
		return nil // recovery finds it by its marker
	}
	w.unpublished--
	w.send(&wire.Published{Attempt: w.attempt, Lane: p.id, Number: number})
	w.reportFinished()
	return nil
}

// reportFinished tells that the final epoch is committed and everything of it is out.
func (w *worker) reportFinished() {
	w.ending.Store(w.final) // before unsent is read: whoever sends the last batch sees one or the other
	if w.final && w.unpublished == 0 && w.unsent.Load() == 0 && !w.reported {
		w.reported = true
		w.send(&wire.Finished{Attempt: w.attempt})
	}
}
