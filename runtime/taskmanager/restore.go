package taskmanager

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// waitNotice is how long lanes may take to open before the JobManager is told what the job waits for.
const waitNotice = time.Second

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
	recovery, rctx := errgroup.WithContext(ctx)
	recovery.Go(func() error { return w.restoreState(rctx, d.Manifest) })
	recovery.Go(func() (err error) { deployed.Outboxes, err = w.recoverLanes(rctx, d); return err })
	if deployed.Messages, err = w.restoreMessages(files); err == nil {
		err = w.openIngresses(d, files)
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
			outboxes: newOutboxes(len(w.program.clusters)), unacked: newUnacked(len(w.program.clusters)), stats: &taskStats{},
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
			t.out[i] = outbound{inbox: w.inboxes[i], credit: windowBytes}
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
	for _, ref := range m.Snapshots {
		file, err := checkpoint.OpenSnapshot(ctx, w.config.Storage, ref)
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
	for _, file := range s {
		for _, section := range file.Sections() {
			if section.Kind != kind {
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
// what was in flight, then what had not been sent, which keeps the order of every sender.
func (w *worker) restoreMessages(files snapshots) (count int64, err error) {
	for _, kind := range []checkpoint.SectionKind{checkpoint.KindMailbox, checkpoint.KindRecorded, checkpoint.KindQueued} {
		err := files.each(kind, func(section checkpoint.Section, body []byte) error {
			var m functions.Message
			for len(body) > 0 {
				n, err := functions.ParseMessage(body, &m)
				if err != nil {
					return fmt.Errorf("section of task %d: %w", section.Task, err)
				}
				body = body[n:]
				if t := w.owner(m.Key); t != nil {
					t.mailbox.append(&m)
					t.changed()
					count++
				}
			}
			return nil
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

// resend queues at-least-once output that had not been acknowledged; it goes out in the task's first turn.
func (w *worker) resend(t *task, key string, body []byte) error {
	for cluster, c := range w.program.clusters {
		if c.key != key {
			continue
		}
		for record, err := range router.EgressRecords(body) {
			if err != nil {
				return err
			}
			t.unacked.append(cluster, record)
		}
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
	for _, t := range w.local {
		for i := range w.program.job.Ingresses {
			spec := &w.program.job.Ingresses[i]
			source, err := w.config.Ingress(&IngressRequest{
				Job: w.job, Spec: spec, Task: t.id, Tasks: t.tasks,
				Positions: byIngress[spec.ID], Started: len(byIngress[spec.ID]) > 0, Log: t.log,
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
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(4, runtime.GOMAXPROCS(0))) // lanes wait on brokers, not on the CPU
	for i := range lanes {
		r := &lanes[i]
		outboxes, err := w.pendingOutboxes(ctx, d, r)
		if err != nil {
			return 0, err
		}
		pending += len(outboxes)
		lane, err := r.cluster.egress.Lane(r.id)
		if err != nil {
			return 0, fmt.Errorf("open lane %s: %w", r.id, err)
		}
		if r.own {
			w.publishers = append(w.publishers, &publisher{
				id: r.id, task: r.task, cluster: r.cluster, lane: lane, inbox: wire.NewInbox[publication](nil),
			})
		}
		group.Go(func() error { return w.recoverLane(ctx, d, r, lane, outboxes) })
	}
	return pending, group.Wait()
}

func (w *worker) recoverLane(ctx context.Context, d *wire.Deploy, r *laneRecovery, lane router.Lane, outboxes []router.Pending) error {
	var cookie []byte
	if r.known != nil {
		cookie = r.known.Cookie
	}
	if err := lane.Recover(ctx, r.known != nil, d.Manifest.Number, cookie, outboxes); err != nil {
		return fmt.Errorf("recover lane %s: %w", r.id, err)
	}
	if r.own {
		return nil
	}
	return lane.Close()
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
		file, err := checkpoint.OpenSnapshot(ctx, w.config.Storage, outbox.File)
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
		pending = append(pending, next)
	}
	return pending, nil
}

func (w *worker) brokers() string {
	var addresses []string
	for _, c := range w.program.clusters {
		addresses = append(addresses, c.spec.Address)
	}
	return "kafka at " + strings.Join(addresses, " and ") + ", to recover its exactly-once lanes"
}
