package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/resourcemanager"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/memory"
)

// wired starts a cluster whose adapters a test has changed.
func wired(t *testing.T, module runtimetest.Module, configure func(*taskmanager.Config)) *runtimetest.Cluster {
	c := runtimetest.New(t, runtimetest.NewBroker(4, "in", "out", "dead"))
	c.Modules["v1"] = module
	network := runtime.Local()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	tasks := taskmanager.Config{
		Storage: c.Storage, Log: log, Ingress: c.Broker.Ingress, Egress: c.Broker.Egress,
		State: func(from, to functions.KeyGroup) statestore.Backend {
			return memory.New(memory.Config{From: from, To: to})
		},
		Modules: func(_ context.Context, m *functions.Module) (taskmanager.Module, error) {
			return c.Modules[m.Digest], nil
		},
	}
	configure(&tasks)
	c.Tasks = taskmanager.New(network.Join("taskmanager-1"), tasks)
	resources := resourcemanager.New(network.Join(runtime.ResourceManager), log)
	c.Jobs = jobmanager.New(network.Join(runtime.JobManager), jobmanager.Config{
		Storage: c.Storage, Cores: 2, Dispatch: c.Tasks.Dispatch, Log: log, Inline: -1,
		Check: func(context.Context, *functions.Job) ([]string, error) { return nil, nil },
	})
	ctx, kill := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for _, run := range []func(context.Context) error{c.Tasks.Run, resources.Run, c.Jobs.Run} {
		done.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("role ended: %v", err)
			}
		})
	}
	t.Cleanup(func() { kill(); done.Wait() })
	c.Ready()
	return c
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// faultyEgress does what a test says in place of what its Egress does.
type faultyEgress struct {
	router.Egress
	run  func(context.Context) error
	lane func(router.Lane) router.Lane
	send func(batch []byte, done func(error))
}

func (e *faultyEgress) Run(ctx context.Context) error {
	if e.run != nil {
		return e.run(ctx)
	}
	return e.Egress.Run(ctx)
}

func (e *faultyEgress) Lane(id string) (router.Lane, error) {
	l, err := e.Egress.Lane(id)
	if err == nil && e.lane != nil {
		l = e.lane(l)
	}
	return l, err
}

func (e *faultyEgress) Send(batch []byte, done func(error)) {
	if e.send != nil {
		e.send(batch, done)
		return
	}
	e.Egress.Send(batch, done)
}

// stuckLane waits for a broker that does not come.
type stuckLane struct{ router.Lane }

func (l stuckLane) Recover(ctx context.Context, _ bool, _ uint64, _ []byte, _ []router.Pending) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAnEgressThatFailsWhileLanesRecoverEndsTheAttempt(t *testing.T) {
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.Egress
		config.Egress = func(r *taskmanager.EgressRequest) (router.Egress, error) {
			e, err := open(r)
			return &faultyEgress{Egress: e, lane: func(l router.Lane) router.Lane { return stuckLane{l} },
				run: func(context.Context) error { return errors.New("egress broke") }}, err
		}
	})
	_, err := c.Jobs.Deploy(limited(t), c.Job("job", "v1", 2), jobmanager.DeployOptions{})
	if err == nil || !strings.Contains(err.Error(), "egress broke") {
		t.Fatalf("%v", err)
	}
}

// lateIngress finds its starts when a test says, as with a broker that answers late.
type lateIngress struct {
	router.Ingress
	mu     sync.Mutex
	at     []router.Position
	known  bool
	signal chan struct{}
}

func (i *lateIngress) Positions() ([]router.Position, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.known {
		return nil, false
	}
	return i.at, true
}

func (i *lateIngress) Ready() <-chan struct{} { return i.signal }

func TestStartsThatAreResolvedLateAreInACheckpoint(t *testing.T) {
	late := make(chan *lateIngress, 1)
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.Ingress
		config.Ingress = func(r *taskmanager.IngressRequest) (router.Ingress, error) {
			in, err := open(r)
			l := &lateIngress{Ingress: in, signal: make(chan struct{}, 1)}
			l.at, _ = in.Positions()
			late <- l
			return l, err
		}
	})
	c.Deploy(c.Job("job", "v1", 1, "t/counter"))
	before, err := c.Jobs.Job(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	l := <-late
	l.mu.Lock()
	l.known = true
	l.mu.Unlock()
	l.signal <- struct{}{}
	ctx := limited(t)
	for ctx.Err() == nil {
		if view, _ := c.Jobs.Job(ctx, "job"); view.Checkpoint > before.Checkpoint {
			return
		}
	}
	t.Fatal("the resolved starts are in no checkpoint")
}

type smallTopics struct{ router.Egress }

func (e *smallTopics) Check(r *router.EgressRecord) error {
	if r.Size() > 1000 {
		return fmt.Errorf("%w: %d bytes", router.ErrTooLarge, r.Size())
	}
	return e.Egress.Check(r)
}

// countedState counts the deltas that are sealed and not released.
type countedState struct {
	statestore.Backend
	held *atomic.Int64
}

func (s countedState) Seal() statestore.Sealed {
	sealed := s.Backend.Seal()
	s.held.Add(1)
	release := sealed.Release
	sealed.Release = func() { s.held.Add(-1); release() }
	return sealed
}

func TestAnAttemptThatEndsReleasesWhatItSealed(t *testing.T) {
	var held atomic.Int64
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.State
		config.State = func(from, to functions.KeyGroup) statestore.Backend { return countedState{open(from, to), &held} }
	})
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "1")
	var broken atomic.Bool
	broken.Store(true)
	c.Fault(func(step, name string) error {
		if step == "write" && strings.Contains(name, "/data/") && broken.Load() {
			return syscall.ENOSPC
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, _ = c.Tasks.Dispatch(ctx, &router.Call{Namespace: "default", Type: "t/counter", Key: []byte("ann"), Body: []byte("1")})
	if view, err := c.Jobs.Cancel(limited(t), "job"); err != nil || view.State != jobmanager.Canceled {
		t.Fatalf("%+v %v", view, err)
	}
	if n := held.Load(); n != 0 {
		t.Fatalf("%d sealed deltas are never released", n)
	}
}
