package taskmanager

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

const (
	// waitNotice is how long lanes may take to open before the JobManager is told what the job waits for.
	waitNotice = time.Second
	// lanesAtOnce is how many recover together: as good as all of a worker. A lane first ends what its predecessor left open,
	// and then waits for those of others in its partition of markers. Of lanes that take turns, the first would wait for those
	// that have not begun, until the broker ends their transactions for their age.
	lanesAtOnce = 1024
)

// laneRecovery is one lane to recover: this attempt's own, or one of a task that no longer exists.
type laneRecovery struct {
	id      string
	task    int
	cluster *cluster
	known   *checkpoint.Lane // as the manifest names it; nil for a new lane
	own     bool
}

// recoverLanes fences and completes every lane given to this worker, and returns how many outboxes were pending.
func (w *worker) recoverLanes(ctx context.Context, d *wire.Deploy) (pending int, err error) {
	lanes, err := w.lanes(d)
	if err != nil {
		return 0, err
	}
	notice := time.AfterFunc(waitNotice, func() { w.send(&wire.Waiting{Attempt: w.attempt, For: w.brokers()}) })
	defer notice.Stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lanesAtOnce)
	for i := range lanes {
		r := &lanes[i]
		outboxes, lane, err := w.openLane(ctx, d, r)
		if err != nil {
			cancel()
			if failed := group.Wait(); failed != nil && errors.Is(err, context.Canceled) {
				err = failed // that of the lane before
			}
			return 0, err
		}
		pending += len(outboxes)
		if r.own {
			w.publishers = append(w.publishers, &publisher{
				id: r.id, task: r.task, cluster: r.cluster, lane: lane, inbox: wire.NewInbox[publication](nil), tracing: w.config.Tracing,
				published: d.Manifest.Number, // recovery completes what it names
			})
		}
		group.Go(func() error { return w.recoverLane(ctx, d, r, lane, outboxes) })
	}
	return pending, group.Wait()
}

func (w *worker) openLane(ctx context.Context, d *wire.Deploy, r *laneRecovery) ([]router.Pending, router.Lane, error) {
	outboxes, err := w.pendingOutboxes(ctx, d, r)
	if err != nil {
		return nil, nil, err
	}
	lane, err := r.cluster.egress.Lane(r.id)
	if err != nil {
		return nil, nil, fmt.Errorf("open lane %s: %w", r.id, err)
	}
	return outboxes, lane, nil
}

func (w *worker) recoverLane(ctx context.Context, d *wire.Deploy, r *laneRecovery, lane router.Lane, outboxes []router.Pending) error {
	var cookie []byte
	if r.known != nil {
		cookie = r.known.Cookie
	}
	err := lane.Recover(ctx, r.known != nil, d.Manifest.Number, cookie, outboxes)
	if err != nil {
		err = fmt.Errorf("recover: %w", &laneError{r.id, err})
	}
	if !r.own {
		err = errors.Join(err, lane.Close())
	}
	return err
}

func (w *worker) lanes(d *wire.Deploy) ([]laneRecovery, error) {
	known := map[string]*checkpoint.Lane{}
	for i := range d.Manifest.Lanes {
		known[d.Manifest.Lanes[i].ID] = &d.Manifest.Lanes[i]
	}
	var lanes []laneRecovery
	for _, t := range w.local {
		for i, c := range w.program.clusters {
			id := w.laneID(i, t.id)
			lanes = append(lanes, laneRecovery{id: id, task: t.id, cluster: c, known: known[id], own: true})
		}
	}
	for i := range d.Orphans {
		orphan := &d.Orphans[i]
		found := false
		for _, c := range w.program.clusters {
			if c.key == orphan.Cluster {
				lanes = append(lanes, laneRecovery{id: orphan.ID, task: orphan.Task, cluster: c, known: orphan})
				found = true
			}
		}
		if !found && len(orphan.Outboxes) > 0 {
			return nil, fatal(fmt.Errorf("lane %s owes %d outboxes to a Kafka cluster that version %d no longer names: roll back, let it publish, deploy again",
				orphan.ID, len(orphan.Outboxes), d.Version.Number))
		}
	}
	return lanes, nil
}

func (w *worker) pendingOutboxes(ctx context.Context, d *wire.Deploy, r *laneRecovery) ([]router.Pending, error) {
	if r.known == nil {
		return nil, nil
	}
	var pending []router.Pending
	for _, outbox := range r.known.Outboxes {
		if outbox.Number < d.Manifest.Number && planted.Is(planted.OlderOutboxSkipped) {
			continue
		}
		file, err := checkpoint.OpenSnapshot(ctx, d.Manifest.Over(w.config.Storage), outbox.File)
		if err != nil {
			return nil, err
		}
		next := router.Pending{Number: outbox.Number}
		err = snapshots{file}.each(checkpoint.KindOutbox, func(section checkpoint.Section, body []byte) error {
			if section.Name == r.id {
				next.Outbox = append(next.Outbox, body)
			}
			return nil
		})
		_ = file.Close() // opened for reading
		if err != nil {
			return nil, err
		}
		for i := range d.Divert {
			if d.Divert[i].Lane != r.id || d.Divert[i].Number != next.Number {
				continue
			}
			if next.Outbox, err = w.divert(next.Outbox, &d.Divert[i]); err != nil {
				return nil, err
			}
		}
		pending = append(pending, next)
	}
	return pending, nil
}

func (w *worker) brokers() string {
	var addresses []string
	for _, c := range w.program.clusters {
		address := c.spec.Address
		if address == functions.EmbeddedCluster {
			address = "the address that weir was started with (--kafka)"
		}
		addresses = append(addresses, address)
	}
	return "kafka at " + strings.Join(addresses, " and ") + ", to recover its exactly-once lanes"
}

// divert writes an outbox anew with one record on its way to the dead-letter topic: in the same transaction as the rest, so
// that the order of the others is kept and nothing is lost.
func (w *worker) divert(outbox [][]byte, d *wire.Refused) ([][]byte, error) {
	topic := w.program.letterTopic()
	var rewritten [][]byte
	index := 0
	for _, chunk := range outbox {
		for record, err := range router.EgressRecords(chunk) {
			if err != nil {
				return nil, err
			}
			r := *record
			if index == d.Record {
				r.Ext = append([]byte(nil), r.Ext...)
				for _, h := range [][2]string{{LetterCause, d.Cause}, {LetterWhere, "egress topic " + string(r.Topic)},
					{LetterAttempts, strconv.Itoa(1)}, {LetterJob, w.job}, {LetterTime, time.Now().UTC().Format(time.RFC3339Nano)}} {
					r.Ext = functions.AppendHeader(r.Ext, []byte(h[0]), []byte(h[1]))
				}
				r.Topic = []byte(topic)
			}
			rewritten = appendChunk(rewritten, &r)
			index++
		}
	}
	if d.Record >= index {
		return nil, fatal(fmt.Errorf("outbox %d of lane %s has %d records, record %d cannot be diverted", d.Number, d.Lane, index, d.Record))
	}
	return rewritten, nil
}

// letterTopic is where a diverted record goes, and a message for a function that no module has any more: the dead-letter
// topic of the job's first module.
func (p *program) letterTopic() string {
	if len(p.job.Modules) == 0 {
		return ""
	}
	return p.job.Modules[0].DeadLetter
}
