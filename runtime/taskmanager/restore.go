package taskmanager

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// restore makes this TaskManager's part of a job as of a manifest: modules, state, messages, positions, and the lanes,
// whose pending outboxes are published before any task runs.
func (w *worker) restore(ctx context.Context, group *errgroup.Group, d *wire.Deploy) (*wire.Deployed, error) {
	started := time.Now()
	deployed := &wire.Deployed{Attempt: w.attempt}
	var err error
	w.program, err = w.link(ctx, &d.Version)
	w.linked = append(w.linked, w.program)
	if err != nil {
		return nil, err
	}
	w.ids.Store(&w.program.ids)
	group.Go(func() error { return w.spiller.runWrites(ctx) })
	group.Go(func() error { return w.report(w.spiller.runReads(ctx)) })
	if err := w.openEgresses(ctx, group, d); err != nil {
		return nil, err
	}
	if err := w.makeTasks(d.Tasks); err != nil {
		return nil, err
	}
	files, err := w.openSnapshots(ctx, d.Manifest)
	if err != nil {
		return nil, err
	}
	defer files.close()
	restoring, stop := context.WithCancel(ctx)
	defer stop()
	recovery, rctx := errgroup.WithContext(restoring)
	recovery.Go(func() error { return w.restoreState(rctx, d.Manifest) })
	recovery.Go(func() (err error) { deployed.Outboxes, err = w.recoverLanes(rctx, d); return err })
	if deployed.Messages, err = w.restoreMessages(files); err == nil {
		err = w.openIngresses(d, files)
	}
	if err != nil {
		stop() // lanes may wait for a broker
	}
	if failed := recovery.Wait(); err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	for _, p := range w.publishers {
		group.Go(func() error {
			return w.report(p.run(ctx, func(number uint64) {
				w.events.Put(func() error { return w.published(p, number) })
			}))
		})
	}
	for _, t := range w.local {
		t.observe()
		deployed.Keys += t.stats.keys.Load()
	}
	deployed.Millis = float64(time.Since(started).Microseconds()) / 1000
	return deployed, nil
}

func (w *worker) openEgresses(ctx context.Context, group *errgroup.Group, d *wire.Deploy) error {
	for i, c := range w.program.clusters {
		compression := map[string]string{}
		var timeout time.Duration
		for j := range w.program.job.Egresses {
			e := &w.program.job.Egresses[j]
			if wire.ClusterKey(e.Cluster) == c.key {
				timeout = max(timeout, e.TxnTimeout)
				for _, topic := range e.Topics {
					compression[topic] = e.Compression
				}
			}
		}
		egress, err := w.config.Egress(&EgressRequest{
			Job: w.job, Cluster: c.spec, Topics: w.program.topics(i), Compression: compression, TxnTimeout: timeout, Log: w.log,
		})
		if err != nil {
			return fmt.Errorf("open egress to %s: %w", c.spec.Address, err)
		}
		c.egress = egress
		group.Go(func() error { return w.report(egress.Run(ctx)) })
	}
	return nil
}

// makeTasks makes the tasks with empty state, connected to one another.
func (w *worker) makeTasks(numbers []int) error {
	job := w.program.job
	w.inboxes = make([]*wire.Inbox[[]byte], job.Parallelism)
	for _, id := range numbers {
		wake := make(chan struct{}, 1)
		from, to := functions.Range(id, job.KeyGroups, job.Parallelism)
		t := &task{
			id: id, tasks: job.Parallelism, groups: job.KeyGroups, attempt: w.attempt.Attempt, worker: w, log: w.log.With("task", id),
			wake: wake, inbox: wire.NewInbox[[]byte](wake), commands: wire.NewInbox[command](wake),
			in: make([]inbound, job.Parallelism), out: make([]outbound, job.Parallelism),
			state: w.config.State(functions.KeyGroup(from), functions.KeyGroup(to)), program: w.program, batches: make([]batch, len(w.program.modules)),
			outboxes: newOutboxes(len(w.program.clusters)), unacked: newUnacked(len(w.program.clusters)), stats: &taskStats{}, meter: newMeter(w.manager.instruments), spans: newSpans(w.config.Tracing),
		}
		w.local = append(w.local, t)
		w.inboxes[id] = t.inbox
		invokers, err := w.program.instances(w.guestLog(id))
		if err != nil {
			return err
		}
		t.invokers = invokers
	}
	for _, t := range w.local {
		for i := range t.out {
			t.out[i] = outbound{inbox: w.inboxes[i], credit: window()}
			if w.config.Link != nil {
				t.out[i].inbox = w.config.Link(w.attempt, t.id, i, w.inboxes[i])
			}
		}
	}
	return nil
}

// restoreState loads the key groups of every task, in parallel.
func (w *worker) restoreState(ctx context.Context, m *checkpoint.Manifest) error {
	for _, t := range w.local {
		from, to := functions.Range(t.id, t.groups, t.tasks)
		if err := checkpoint.Restore(ctx, w.config.Storage, m, functions.KeyGroup(from), functions.KeyGroup(to), t.state.Load); err != nil {
			return fmt.Errorf("restore state of task %d: %w", t.id, err)
		}
	}
	return nil
}

// snapshots are the open snapshot files of a manifest's epoch.
type snapshots []*checkpoint.Snapshot

func (w *worker) openSnapshots(ctx context.Context, m *checkpoint.Manifest) (snapshots, error) {
	var files snapshots
	storage := m.Over(w.config.Storage)
	for _, ref := range m.Snapshots {
		file, err := checkpoint.OpenSnapshot(ctx, storage, ref)
		if err != nil {
			files.close()
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (s snapshots) close() {
	for _, file := range s {
		_ = file.Close() // opened for reading
	}
}

// each calls do with every section of a kind.
func (s snapshots) each(kind checkpoint.SectionKind, do func(section checkpoint.Section, body []byte) error) error {
	return s.every(func(section *checkpoint.Section) bool { return section.Kind == kind }, do)
}

// every calls do with every section that is wanted, in the order of the files.
func (s snapshots) every(wanted func(*checkpoint.Section) bool, do func(section checkpoint.Section, body []byte) error) error {
	for _, file := range s {
		for _, section := range file.Sections() {
			if !wanted(&section) {
				continue
			}
			body, err := file.Read(section)
			if err != nil {
				return err
			}
			if err := do(section, body); err != nil {
				return err
			}
		}
	}
	return nil
}

// restoreMessages puts the checkpoint's messages into the mailboxes of the tasks that own their keys: mailboxes first, then
// what was in flight, then what had not been sent, which keeps the order of every sender. Segments stay where they are
// until it is their turn: each task whose keys they may hold reads them then. count is of messages outside of segments.
func (w *worker) restoreMessages(files snapshots) (count int64, err error) {
	for _, kind := range []checkpoint.SectionKind{checkpoint.KindMailbox, checkpoint.KindRecorded, checkpoint.KindQueued} {
		err := files.every(func(s *checkpoint.Section) bool {
			return s.Kind == kind || s.Kind == checkpoint.KindReferences && s.Name == kind.String()
		}, func(section checkpoint.Section, body []byte) error {
			if section.Kind == checkpoint.KindReferences {
				return w.restoreSegments(body)
			}
			n, err := w.restoreRun(&section, body)
			count += n
			return err
		})
		if err != nil {
			return count, err
		}
	}
	err = files.each(checkpoint.KindOutbox, func(section checkpoint.Section, body []byte) error {
		key, unacked := strings.CutPrefix(section.Name, sendSection)
		t := w.taskAt(int(section.Task) % w.width)
		if !unacked || t == nil {
			return nil
		}
		return w.resend(t, key, body)
	})
	return count, err
}

// restoreRun queues the messages of a section, and counts them.
func (w *worker) restoreRun(section *checkpoint.Section, body []byte) (count int64, err error) {
	var m functions.Message
	for len(body) > 0 {
		n, err := functions.ParseMessage(body, &m)
		if err != nil {
			return count, fmt.Errorf("section of task %d: %w", section.Task, err)
		}
		body = body[n:]
		if m.Kind == functions.KindRead {
			continue // who asked is gone
		}
		forgetCaller(&m)
		if t := w.owner(m.Key); t != nil {
			t.mailbox.append(&m)
			t.changed()
			count++
		}
	}
	return count, nil
}

func (w *worker) restoreSegments(body []byte) error {
	segments, err := checkpoint.DecodeSegments(body)
	if err != nil {
		return err
	}
	for _, place := range segments {
		for _, t := range w.local {
			t.adopt(place)
		}
	}
	return nil
}

// forgetCaller makes a request or a read one that nobody waits for: who did was told that the attempt ended, and its
// correlation may by now be somebody else's.
func forgetCaller(m *functions.Message) {
	if m.Kind == functions.KindRequest || m.Kind == functions.KindRead {
		clear(functions.Ext(m.Ext, functions.TagCorrelation))
	}
}

// resend queues at-least-once output that had not been acknowledged; it goes out in the task's first turn. A version that
// no longer names its cluster is refused, as with a lane that owes output.
func (w *worker) resend(t *task, key string, body []byte) error {
	known := false
	for cluster, c := range w.program.clusters {
		if c.key != key {
			continue
		}
		known = true
		for record, err := range router.EgressRecords(body) {
			if err != nil {
				return err
			}
			t.unacked.append(cluster, record)
		}
	}
	if !known && len(body) > 0 {
		return fatal(fmt.Errorf("task %d owes at-least-once output to a Kafka cluster that version %d no longer names: roll back, let it be sent, deploy again",
			t.id, w.program.version))
	}
	return nil
}

func (w *worker) owner(key []byte) *task {
	groups := w.program.job.KeyGroups
	return w.taskAt(functions.Owner(functions.GroupOf(functions.Hash(key), groups), groups, w.width))
}

func (w *worker) taskAt(id int) *task {
	for _, t := range w.local {
		if t.id == id {
			return t
		}
	}
	return nil
}

func (w *worker) openIngresses(d *wire.Deploy, files snapshots) error {
	byIngress := map[string][]router.Position{}
	err := files.each(checkpoint.KindPositions, func(_ checkpoint.Section, body []byte) error {
		var positions []router.Position
		if err := json.Unmarshal(body, &positions); err != nil {
			return fmt.Errorf("positions in checkpoint %d: %w", d.Manifest.Number, err)
		}
		for _, p := range positions {
			byIngress[p.Ingress] = append(byIngress[p.Ingress], p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	unsettled := map[string]bool{}
	err = files.each(checkpoint.KindMeta, func(section checkpoint.Section, _ []byte) error {
		unsettled[section.Name] = true
		return nil
	})
	if err != nil {
		return err
	}
	for _, t := range w.local {
		for i := range w.program.job.Ingresses {
			spec := &w.program.job.Ingresses[i]
			source, err := w.config.Ingress(&IngressRequest{
				Job: w.job, Spec: spec, Task: t.id, Tasks: t.tasks,
				Positions: byIngress[spec.ID], Started: len(byIngress[spec.ID]) > 0 && !unsettled[unsettledSection+spec.ID], Log: t.log,
			})
			if err != nil {
				return fmt.Errorf("open ingress %s: %w", spec.ID, err)
			}
			t.ingresses = append(t.ingresses, ingress{
				spec: spec, source: source, routes: w.program.routes(spec), cluster: w.program.cluster(spec.Cluster),
				consumed: map[router.Partition]router.Position{}, lag: map[router.Partition]int64{},
			})
		}
	}
	return nil
}

func (p *program) routes(spec *functions.Ingress) []route {
	routes := make([]route, 0, len(spec.Topics))
	for _, topic := range spec.Topics {
		r := route{keyHeader: topic.KeyHeader}
		if topic.ValueType != "" {
			r.typeExt = functions.AppendExt(nil, functions.TagType, []byte(topic.ValueType))
		}
		for _, target := range topic.Targets {
			r.targets = append(r.targets, p.ids[target.String()])
		}
		routes = append(routes, r)
	}
	return routes
}
