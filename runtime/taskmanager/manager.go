package taskmanager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
)

const (
	// heartbeat is how often slots are offered; the ResourceManager forgets a TaskManager after several missed ones.
	heartbeat = time.Second
	// DefaultSlots lets a laptop run a handful of jobs of a few tasks; a task that is idle costs nothing.
	DefaultSlots = 64
)

// Config is what a Manager is made of. Every field but Slots, Link, Meter, Tracing and Spill is required.
type Config struct {
	Slots   int // tasks that may run here; 0 is DefaultSlots
	Storage checkpoint.Storage
	State   func(from, to functions.KeyGroup) statestore.Backend // half open
	Ingress func(*IngressRequest) (router.Ingress, error)
	Egress  func(*EgressRequest) (router.Egress, error)
	Modules func(context.Context, *functions.Module) (Module, error)
	Log     *slog.Logger
	// Link is where task from puts its frames for task to, whose inbox is given when it runs here (and to every task its
	// own); nil is that inbox itself. For simulation.
	Link    func(attempt wire.Attempt, from, to int, inbox *wire.Inbox[[]byte]) *wire.Inbox[[]byte]
	Meter   metric.Meter       // takes Metrics; nil measures nothing, at no cost
	Tracing *telemetry.Tracing // nil traces nothing, at no cost
	Spill   SpillConfig        // who has little memory, or little disk, changes it
}

// IngressRequest asks for the part of an ingress that one task reads.
type IngressRequest struct {
	Job         string
	Spec        *functions.Ingress
	Task, Tasks int
	Positions   []router.Position // all of this ingress in the checkpoint; each task picks its own
	Started     bool              // the ingress has run before: partitions without a position start at 0
	Log         *slog.Logger
}

// EgressRequest asks for a job's way out to one Kafka cluster.
type EgressRequest struct {
	Job         string
	Cluster     functions.Cluster
	Topics      map[string]int    // every topic the job may write, with the partitions to create it with (0: it must exist)
	Compression map[string]string // by topic
	TxnTimeout  time.Duration     // 0 is the adapter's default
	Log         *slog.Logger
}

// Names of the other roles' endpoints.
const (
	jobManager      = "jobmanager"
	resourceManager = "resourcemanager"
)

// Manager is the TaskManager role: it carries out what the JobManager says.
type Manager struct {
	config      Config
	endpoint    *wire.Endpoint
	front       *front
	log         *slog.Logger
	instruments *instruments  // nil without a Meter
	stale       atomic.Uint64 // control messages dropped
	workers     map[wire.Attempt]*worker
	ended       *wire.Inbox[*worker]
	group       *errgroup.Group
}

// New makes a Manager on its endpoint; nothing runs before Run.
func New(endpoint *wire.Endpoint, config Config) *Manager {
	if config.Slots == 0 {
		config.Slots = DefaultSlots
	}
	m := &Manager{
		config: config, endpoint: endpoint, front: newFront(), log: config.Log,
		workers: map[wire.Attempt]*worker{}, ended: wire.NewInbox[*worker](nil),
	}
	if config.Meter != nil {
		m.instruments = newInstruments(m, config.Meter)
	}
	return m
}

// Run serves until ctx is done, then ends every task.
func (m *Manager) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	m.group = &errgroup.Group{}
	defer func() {
		cancel()
		_ = m.group.Wait() // workers report their errors to the JobManager
	}()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	m.offer()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			m.offer()
		case <-m.ended.Ready():
			m.bury()
		case <-m.endpoint.Ready():
			if err := m.receive(ctx); err != nil {
				return fmt.Errorf("taskmanager: %w", err)
			}
		}
	}
}

func (m *Manager) offer() { m.endpoint.Send(resourceManager, &wire.Offer{Slots: m.config.Slots}) }

func (m *Manager) receive(ctx context.Context) error {
	received, err := m.endpoint.Receive()
	if err != nil {
		return err
	}
	for _, r := range received {
		if err := m.handle(ctx, r.Message); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) handle(ctx context.Context, message wire.Message) error {
	switch c := message.(type) {
	case *wire.Deploy:
		m.deploy(ctx, c)
	case *wire.Halt:
		m.halt(c)
	case *wire.Forget:
		m.front.gone(c.Job)
	case *wire.Start:
		m.pass(c.Attempt, c)
	case *wire.Prepare:
		m.pass(c.Attempt, c)
	case *wire.Trigger:
		m.pass(c.Attempt, c)
	case *wire.Complete:
		m.pass(c.Attempt, c)
	case *wire.Abort:
		m.pass(c.Attempt, c)
	case *wire.Fold:
		m.pass(c.Attempt, c)
	case *wire.Query:
		if !m.pass(c.Attempt, c) {
			m.endpoint.Send(jobManager, &wire.Answer{Attempt: c.Attempt, ID: c.ID, Problem: "the attempt has ended"})
		}
	default:
		return fmt.Errorf("unexpected %T", message)
	}
	return nil
}

// pass hands a message to the attempt's worker; one of an attempt that is gone is stale, and dropped.
func (m *Manager) pass(attempt wire.Attempt, message wire.Message) bool {
	w := m.workers[attempt]
	if w == nil {
		m.stale.Add(1)
		m.log.Debug("stale message dropped", "job", attempt.Job, "attempt", attempt.Attempt)
		return false
	}
	w.control.Put(message)
	return true
}

func (m *Manager) deploy(ctx context.Context, d *wire.Deploy) {
	if m.workers[d.Attempt] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	m.front.expect(d.Attempt.Job, &d.Version.Job)
	w := newWorker(m, d, cancel)
	m.workers[d.Attempt] = w
	ctx = pprof.WithLabels(ctx, pprof.Labels("job", d.Version.Job.Name))
	m.group.Go(func() error {
		defer cancel()
		pprof.SetGoroutineLabels(ctx)                             // those that it starts inherit them
		if err := w.run(ctx, d); err != nil && ctx.Err() == nil { // nobody asked it to end
			w.log.Error("attempt ended", "err", err)
			m.endpoint.Send(jobManager, failure(d.Attempt, err))
		}
		m.ended.Put(w)
		return nil
	})
}

// failure words the end of an attempt for the JobManager, which branches on what a restart can heal.
func failure(attempt wire.Attempt, err error) *wire.Failed {
	failed := &wire.Failed{Attempt: attempt, Error: err.Error()}
	for _, lasting := range []error{errFatal, router.ErrTopicGone, router.ErrTruncated, router.ErrMarker, router.ErrAuth, router.ErrStart,
		statestore.ErrFull, checkpoint.ErrDamaged, checkpoint.ErrNewer, checkpoint.ErrNotExist} {
		failed.Fatal = failed.Fatal || errors.Is(err, lasting)
	}
	var refused *router.Refused
	var lane *laneError
	if errors.As(err, &refused) && errors.As(err, &lane) && refused.Number > 0 {
		failed.Refused = &wire.Refused{Lane: lane.id, Number: refused.Number, Record: refused.Record, Topic: refused.Topic, Cause: refused.Err.Error()}
	}
	return failed
}

// halt ends an attempt's tasks; Halted follows when they have ended, at once when there are none.
func (m *Manager) halt(h *wire.Halt) {
	w := m.workers[h.Attempt]
	if w == nil {
		m.endpoint.Send(jobManager, &wire.Halted{Attempt: h.Attempt})
		return
	}
	w.halting = true
	w.cancel()
}

func (m *Manager) bury() {
	for _, w := range m.ended.Take(nil) {
		delete(m.workers, w.attempt)
		if w.halting {
			m.endpoint.Send(jobManager, &wire.Halted{Attempt: w.attempt})
		}
	}
}

// Dispatch brings a call to the task that owns its address, and waits for the answer; it is a router.Dispatch.
func (m *Manager) Dispatch(ctx context.Context, call *router.Call) (router.Answer, error) {
	return m.front.dispatch(ctx, call)
}
