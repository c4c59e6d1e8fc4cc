package jobmanager

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// resourceManager is the endpoint that slots are asked of.
const resourceManager = "resourcemanager"

// drainLimit bounds how long a process that is told to end waits for final checkpoints and their publication: less than
// the 30 s after which orchestrators kill.
const drainLimit = 25 * time.Second

// drainNotice is when a process that is told to end says what its jobs wait for: a drain takes part of a second when nothing
// is amiss, and whoever sits before it for longer wants to know.
const drainNotice = 2 * time.Second

// Config is what a Manager is made of; all of it but Inline, Meter and Tracing is required.
type Config struct {
	Storage checkpoint.Storage
	Cores   int // CPUs that epochs of interval auto take their share of
	// Check looks at what a job needs outside of Weir, such as topics, and says what it found. An error refuses the job.
	Check func(ctx context.Context, job *functions.Job) (checked []string, err error)
	// Dispatch brings redriven dead letters to their functions.
	Dispatch router.Dispatch
	// Letters reads a job's dead letters, the latest last.
	Letters func(ctx context.Context, job *functions.Job, limit int) ([]Letter, error)
	Log     *slog.Logger
	// Inline is how many bytes of an epoch its manifest may hold itself: 0 is checkpoint.InlineBytes, a negative number none.
	Inline  int
	Meter   metric.Meter       // takes Metrics; nil measures nothing
	Tracing *telemetry.Tracing // nil traces nothing
}

// Letter is a dead letter as its topic holds it, with what a redrive needs.
type Letter struct {
	DeadLetterView
	Ext         []byte // the record's own headers, as functions.AppendHeader writes them
	Idempotency string // of the request that failed, if it had one
}

// Manager is the JobManager role: dispatcher of jobs, and one master for each.
type Manager struct {
	config      Config
	endpoint    *wire.Endpoint
	registry    registry
	background  errgroup.Group // sweeps
	instruments *instruments   // nil without a Meter
	stale       atomic.Uint64  // control messages dropped
	ready       chan struct{}  // closed when all jobs of the registry are loaded

	mu       sync.Mutex // guards what follows; a leaf
	masters  map[string]*master
	byUID    map[string]*master
	proposal map[string]bool // jobs that somebody waits for a deployment of
	start    func(*master)
	stopping bool
}

// New makes a Manager on its endpoint; nothing runs before Run.
func New(endpoint *wire.Endpoint, config Config) *Manager {
	if config.Inline == 0 {
		config.Inline = checkpoint.InlineBytes
	}
	m := &Manager{
		config: config, endpoint: endpoint, registry: registry{storage: config.Storage}, ready: make(chan struct{}),
		masters: map[string]*master{}, byUID: map[string]*master{}, proposal: map[string]bool{},
	}
	if config.Meter != nil {
		m.instruments = newInstruments(m, config.Meter)
	}
	return m
}

// Run loads the jobs and serves until ctx is done. It ends at once, as a crash would: Drain comes before when there is time.
func (m *Manager) Run(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	defer func() {
		_ = group.Wait() // masters keep their errors to their jobs
		_ = m.background.Wait()
	}()
	m.start = func(j *master) { group.Go(func() error { return j.run(inner) }) }
	if err := m.load(ctx); err != nil {
		return err
	}
	close(m.ready)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.endpoint.Ready():
			received, err := m.endpoint.Receive()
			if err != nil {
				return fmt.Errorf("jobmanager: %w", err)
			}
			for _, r := range received {
				m.route(r)
			}
		}
	}
}

func (m *Manager) load(ctx context.Context) error {
	records, err := m.registry.load(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Deleted {
			if err := m.registry.remove(ctx, r); err != nil {
				return err
			}
			continue
		}
		m.add(newMaster(m, r))
	}
	return nil
}

func (m *Manager) add(j *master) {
	m.mu.Lock()
	m.masters[j.record.Name], m.byUID[j.record.UID] = j, j
	m.mu.Unlock()
	m.start(j)
}

// forget drops a job that is deleted.
func (m *Manager) forget(j *master) {
	m.mu.Lock()
	delete(m.masters, j.name)
	delete(m.byUID, j.record.UID)
	m.mu.Unlock()
}

// Drain brings every job to rest behind a final epoch, without changing what its user wants of it: the next start goes on
// from there. It waits until all output is published, or for drainLimit.
func (m *Manager) Drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	m.mu.Lock()
	m.stopping = true
	resting := make(chan struct{}, len(m.masters))
	left := len(m.masters)
	for _, j := range m.masters {
		once := sync.OnceFunc(func() { resting <- struct{}{} })
		j.inbox.Put(func(ctx context.Context) error { return j.drain(ctx, once) })
	}
	m.mu.Unlock()
	notice := time.NewTimer(drainNotice)
	defer notice.Stop()
	for left > 0 {
		select {
		case <-resting:
			left--
		case <-notice.C:
			m.tellHoldups()
		case <-ctx.Done():
			m.config.Log.Warn("not every job took a final checkpoint in time; they go on from their last one, and nothing is lost", "limit", drainLimit)
			return nil
		}
	}
	return nil
}

// tellHoldups logs what each job waits for that has not come to rest.
func (m *Manager) tellHoldups() {
	for _, j := range m.all() {
		j.inbox.Put(func(context.Context) error { // a master that has ended does not take it
			j.log.Warn("job is not at rest yet", "for", j.holdup(), "limit", drainLimit)
			return nil
		})
	}
}

// route hands a message to its job's master. What belongs to another attempt is stale.
func (m *Manager) route(r wire.Received) {
	attempt := attemptOf(r.Message)
	m.mu.Lock()
	j := m.byUID[attempt.Job]
	m.mu.Unlock()
	if lost, ok := r.Message.(*wire.Lost); ok {
		m.lost(lost.TaskManager)
		return
	}
	if j == nil {
		return
	}
	j.inbox.Put(func(ctx context.Context) error {
		if attempt != j.attempt {
			m.stale.Add(1)
			j.log.Debug("stale message dropped", "from", r.From, "attempt", attempt.Attempt)
			return nil
		}
		return j.receive(ctx, r.From, r.Message)
	})
}

func (m *Manager) lost(taskManager string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.masters {
		j.inbox.Put(func(ctx context.Context) error {
			return j.lost(ctx, taskManager)
		})
	}
}

func attemptOf(message wire.Message) wire.Attempt {
	switch a := message.(type) {
	case *wire.Deployed:
		return a.Attempt
	case *wire.Prepared:
		return a.Attempt
	case *wire.Failed:
		return a.Attempt
	case *wire.Waiting:
		return a.Attempt
	case *wire.Want:
		return a.Attempt
	case *wire.Acknowledge:
		return a.Attempt
	case *wire.Published:
		return a.Attempt
	case *wire.Folded:
		return a.Attempt
	case *wire.Halted:
		return a.Attempt
	case *wire.Finished:
		return a.Attempt
	case *wire.Answer:
		return a.Attempt
	case *wire.Grant:
		return a.Attempt
	case *wire.Refuse:
		return a.Attempt
	}
	return wire.Attempt{}
}

// Deploy makes a job, or a new version of one. It returns when the version runs, at a barrier or after a restart.
func (m *Manager) Deploy(ctx context.Context, job *functions.Job, options DeployOptions) (DeployedView, error) {
	if err := m.Ready(ctx); err != nil {
		return DeployedView{}, err
	}
	current, err := m.current(ctx, job.Name)
	if err != nil {
		return DeployedView{}, err
	}
	plan, err := m.plan(ctx, job, current)
	if err != nil || options.DryRun || plan.view.Unchanged {
		if plan == nil {
			return DeployedView{}, err
		}
		plan.view.DryRun = options.DryRun
		if err == nil && !options.DryRun {
			return m.revive(ctx, plan.view)
		}
		return plan.view, err
	}
	m.mu.Lock()
	if m.stopping {
		m.mu.Unlock()
		return DeployedView{}, refusal(http.StatusServiceUnavailable, "stopping", "weir is stopping", "deploy again when it is back")
	}
	if m.proposal[job.Name] {
		m.mu.Unlock()
		return DeployedView{}, refusal(http.StatusConflict, "deploy-in-progress", "another deployment of this job is under way", "wait for it to end")
	}
	m.proposal[job.Name] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.proposal, job.Name)
		m.mu.Unlock()
	}()
	view := func(checkpoint uint64, restarted bool) DeployedView {
		v := plan.view
		v.Checkpoint, v.Restarted = checkpoint, restarted
		return v
	}
	done := make(chan changed, 1)
	if current == nil {
		return m.create(ctx, job, plan, view, done)
	}
	j := m.master(job.Name)
	if j == nil {
		return DeployedView{}, unknownJob(job.Name)
	}
	j.inbox.Put(func(ctx context.Context) error {
		if plan.next.Number <= j.record.latest() {
			done <- changed{err: refusal(http.StatusConflict, "deploy-in-progress", "another deployment of this job came first", "look at it with weir jobs, and deploy again")}
			return nil
		}
		return j.deploy(ctx, plan.next, view, done)
	})
	return await(ctx, done)
}

func (m *Manager) create(ctx context.Context, job *functions.Job, plan *plan, view func(uint64, bool) DeployedView, done chan changed) (DeployedView, error) {
	if err := m.registry.vacate(ctx, job.Name); err != nil {
		return DeployedView{}, err
	}
	r := &record{UID: newUID(), Name: job.Name, Desired: wantRunning, Current: plan.next.Number, Versions: []deployedVersion{*plan.next}, CreatedAt: time.Now()}
	if err := m.registry.save(ctx, r); err != nil {
		return DeployedView{}, err
	}
	j := newMaster(m, r)
	j.change = &change{version: plan.next.Number, view: func(checkpoint uint64, _ bool) DeployedView { return view(checkpoint, false) }, done: done}
	m.add(j)
	return await(ctx, done)
}

// await waits for the answer of a master; when the caller goes away the change goes on.
func await(ctx context.Context, done <-chan changed) (DeployedView, error) {
	select {
	case c := <-done:
		return c.view, c.err
	case <-ctx.Done():
		return DeployedView{}, fmt.Errorf("the change goes on, see weir jobs: %w", ctx.Err())
	}
}

// newUID names one life of a job: made anew when a job is deleted and created again, so that lanes and files never meet
// those of a predecessor.
func newUID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (m *Manager) master(name string) *master {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.masters[name]
}

func (m *Manager) all() []*master {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*master, 0, len(m.masters))
	for _, j := range m.masters {
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b *master) int { return compareNames(a.record.Name, b.record.Name) })
	return all
}

func compareNames(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func unknownJob(name string) error {
	return refusal(http.StatusNotFound, "unknown-job", "no such job", fmt.Sprintf("job %q does not exist; weir jobs lists those that do", name))
}

// Ready is nil when jobs can be deployed and called.
func (m *Manager) Ready(context.Context) error {
	select {
	case <-m.ready:
		return nil
	default:
		return refusal(http.StatusServiceUnavailable, "starting", "weir is starting", "the jobs are being loaded; try again in a moment")
	}
}
