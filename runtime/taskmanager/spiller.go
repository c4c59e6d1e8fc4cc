package taskmanager

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// spillRetry is the pause after a segment could not be written, as on a full disk: epochs that name it fail meanwhile, and
// after some in a row the attempt ends.
const spillRetry = 100 * time.Millisecond

// spiller writes and reads the segments of a worker's tasks, so that none of them waits for a disk. It has a goroutine
// for each direction; both end with the attempt.
type spiller struct {
	worker *worker
	write  *wire.Inbox[*segment]
	read   *wire.Inbox[*segment]
	files  int // given a name; of the writing goroutine
}

func newSpiller(w *worker) *spiller {
	return &spiller{worker: w, write: wire.NewInbox[*segment](nil), read: wire.NewInbox[*segment](nil)}
}

// runWrites makes segments durable in the order in which they were handed over, until ctx is done.
func (s *spiller) runWrites(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.write.Ready():
		}
		for _, next := range s.write.Take(nil) {
			for !s.store(ctx, next) {
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(spillRetry):
				}
			}
		}
	}
}

// store writes one segment, or deletes the file of one that is no longer wanted. It is false when that is to be tried again.
func (s *spiller) store(ctx context.Context, next *segment) bool {
	w := s.worker
	if next.durable.Load() {
		// A file that stays is an orphan, and swept as one.
		_ = w.config.Storage.Delete(ctx, next.place.File.Name)
		return true
	}
	if next.unwanted.Load() {
		next.task.commands.Put(command{released: next})
		return true
	}
	s.files++
	name := fmt.Sprintf("%sspill/%d-%d-%d-%s", w.prefix, w.term, w.attempt.Attempt, s.files, w.manager.endpoint.Name())
	file, err := checkpoint.CreateSegment(ctx, w.config.Storage, name, next.task.id, next.runs)
	if err != nil {
		w.events.Put(func() error { return w.notSpilled(err) })
		return false
	}
	next.place.File = file
	next.durable.Store(true)
	next.task.commands.Put(command{released: next})
	w.events.Put(func() error { return w.spilled(ctx) })
	return true
}

// runReads brings segments back, until ctx is done. One that cannot be read ends the attempt.
func (s *spiller) runReads(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.read.Ready():
		}
		for _, next := range s.read.Take(nil) {
			arrival, err := s.load(ctx, next)
			if err != nil {
				return err
			}
			next.task.commands.Put(command{arrived: arrival})
		}
	}
}

func (s *spiller) load(ctx context.Context, next *segment) (*arrival, error) {
	data, err := checkpoint.ReadSegment(ctx, s.worker.config.Storage, &next.place)
	if err != nil || !next.foreign {
		return &arrival{segment: next, data: data, exact: true}, err
	}
	kept, err := ours(data, next.place.From, next.place.To, next.task.groups)
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w: %w", next.place.File.Name, checkpoint.ErrDamaged, err)
	}
	return &arrival{segment: next, data: kept, exact: len(kept) == len(data)}, nil
}

// unwritten says that a snapshot of the epoch names a segment that is not durable.
func (e *epoch) unwritten() bool {
	for _, s := range e.snapshots {
		for _, queue := range [][]part{s.mailbox, s.queued} {
			for i := range queue {
				if queue[i].segment != nil && !queue[i].segment.durable.Load() {
					return true
				}
			}
		}
	}
	return false
}

// segments lists the files that the epoch's snapshots refer to.
func (e *epoch) segments() []checkpoint.FileRef {
	var files []checkpoint.FileRef
	seen := map[string]bool{}
	for _, s := range e.snapshots {
		for _, queue := range [][]part{s.mailbox, s.queued} {
			for i := range queue {
				if queue[i].segment == nil {
					continue
				}
				if file := queue[i].segment.place.File; !seen[file.Name] {
					seen[file.Name] = true
					files = append(files, file)
				}
			}
		}
	}
	return files
}

// spilled goes on with an epoch that has waited for its segments.
func (w *worker) spilled(ctx context.Context) error {
	if e := w.awaiting; e != nil && !w.closing && !e.unwritten() {
		w.awaiting = nil
		w.persist(ctx, e)
	}
	return nil
}

// notSpilled declines the epoch that waits for segments: its changes join the next, as with a file that cannot be written.
func (w *worker) notSpilled(err error) error {
	w.log.Warn("messages cannot be moved to disk", "err", err)
	if e := w.awaiting; e != nil && !w.closing {
		w.awaiting = nil
		w.send(&wire.Acknowledge{Attempt: w.attempt, Trigger: e.trigger, Error: err.Error()})
	}
	return nil
}

// adopt puts a segment of an earlier attempt into the mailbox, behind what is there, as far as it is this task's.
func (t *task) adopt(place checkpoint.Segment) {
	from, to := functions.Range(t.id, t.groups, t.tasks)
	place.From, place.To = max(place.From, functions.KeyGroup(from)), min(place.To, functions.KeyGroup(to))
	if place.From >= place.To {
		return
	}
	m := &t.mailbox
	if m.over == nil {
		m.over, m.own = &overflow{}, false
	}
	t.store(m.over, m.over.shed(), true, t.id) // what follows a segment and goes before this one
	s := &segment{task: t, length: int(place.File.Length - place.Taken), place: place, named: true, foreign: true}
	s.durable.Store(true)
	m.over.segments = append(m.over.segments, s)
	m.over.away += s.length
	m.bytes += s.length
	t.changed()
}
