package runtimetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/metric"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/resourcemanager"
	"github.com/weir-run/weir/runtime/taskmanager"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
	"github.com/weir-run/weir/statestore/memory"
)

// Cluster is the three roles in one process. Broker, Storage and Modules outlive a Crash. Meter and Tracing may be set before Start.
type Cluster struct {
	Broker  *Broker
	Storage *checkpoint.MemoryStorage
	Modules map[string]Module // by digest
	// Configure, when it is set before Start, changes what the TaskManager is made of.
	Configure func(*taskmanager.Config)
	Network   *wire.Network // that the roles join; nil is one of their own
	Inline    int           // jobmanager.Config's
	Meter     metric.Meter
	Tracing   *telemetry.Tracing
	Log       io.Writer // takes warnings; nil is the test's output

	Jobs  *jobmanager.Manager
	Tasks *taskmanager.Manager

	t       testing.TB
	crashed atomic.Bool
	fault   atomic.Pointer[func(step, name string) error]
	kill    context.CancelFunc
	done    sync.WaitGroup
}

// New makes a cluster that does not run yet.
func New(t testing.TB, broker *Broker) *Cluster {
	c := &Cluster{Broker: broker, Modules: map[string]Module{}, t: t}
	c.Storage = &checkpoint.MemoryStorage{Fail: func(step, name string) error {
		if c.crashed.Load() {
			return errors.New("crashed")
		}
		if fault := c.fault.Load(); fault != nil {
			return (*fault)(step, name)
		}
		return nil
	}}
	return c
}

// Start runs the roles; they end with the test.
func (c *Cluster) Start() {
	network := c.Network
	if network == nil {
		network = runtime.Local()
	}
	var out io.Writer = c.t.Output()
	if c.Log != nil {
		out = c.Log
	}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	tasks := taskmanager.Config{
		Storage: c.Storage, Log: log, Ingress: c.Broker.Ingress, Egress: c.Broker.Egress, Meter: c.Meter, Tracing: c.Tracing,
		State: func(from, to functions.KeyGroup) statestore.Backend {
			return memory.New(memory.Config{From: from, To: to})
		},
		Modules: func(_ context.Context, m *functions.Module) (taskmanager.Module, error) {
			module, ok := c.Modules[m.Digest]
			if !ok {
				return nil, fmt.Errorf("no module %s", m.Digest)
			}
			return module, nil
		},
	}
	if c.Configure != nil {
		c.Configure(&tasks)
	}
	c.Tasks = taskmanager.New(network.Join("taskmanager-1"), tasks)
	resources := resourcemanager.New(network.Join(runtime.ResourceManager), log)
	c.Jobs = jobmanager.New(network.Join(runtime.JobManager), jobmanager.Config{
		Storage: c.Storage, Cores: 2, Dispatch: c.Tasks.Dispatch, Log: log, Inline: c.Inline, Meter: c.Meter, Tracing: c.Tracing,
		Check: func(context.Context, *functions.Job) ([]string, error) { return nil, nil },
		Letters: func(context.Context, *functions.Job, int) ([]jobmanager.Letter, error) {
			return nil, errors.ErrUnsupported
		},
	})
	ctx, kill := context.WithCancel(context.Background())
	c.kill = kill
	c.done.Go(func() { c.report(c.Tasks.Run(ctx)) })
	c.done.Go(func() { c.report(resources.Run(ctx)) })
	c.done.Go(func() { c.report(c.Jobs.Run(ctx)) })
	c.t.Cleanup(c.Crash)
}

func (c *Cluster) report(err error) {
	if err != nil {
		c.t.Errorf("role ended: %v", err)
	}
}

// Stop ends the roles as SIGTERM does: behind a final checkpoint.
func (c *Cluster) Stop() {
	c.report(c.Jobs.Drain(c.t.Context()))
	c.kill()
	c.done.Wait()
}

// Fault makes storage operations fail as it says, until it is called with nil. step is one of MemoryStorage's.
func (c *Cluster) Fault(fault func(step, name string) error) {
	if fault == nil {
		c.fault.Store(nil)
		return
	}
	c.fault.Store(&fault)
}

// Crash ends the roles at once, and everything in the storage that was not durable.
func (c *Cluster) Crash() {
	c.crashed.Store(true)
	c.kill()
	c.done.Wait()
	c.Storage.Crash()
	c.crashed.Store(false)
}

// Job is a job of one module that reads topic "in" and may write topics "out" and "dead".
func (c *Cluster) Job(name, digest string, parallelism int, targets ...string) *functions.Job {
	cluster := functions.Cluster{Address: "memory"}
	job := &functions.Job{
		Name: name, Namespace: "default", Parallelism: parallelism, KeyGroups: 16, Delivery: functions.ExactlyOnce,
		Checkpoints: functions.Checkpoints{Retain: 3},
		Restart:     functions.Restart{Strategy: "fixed-delay", Delay: 1},
		Modules: []functions.Module{{
			File: digest, Digest: digest, Description: c.Modules[digest].Description(), DeadLetter: "dead", Retry: functions.Retry{Attempts: 1},
		}},
		Egresses: []functions.Egress{{ID: "out", Cluster: cluster, Delivery: functions.ExactlyOnce, Topic: "out", Topics: []string{"out"}}},
	}
	if len(targets) == 0 {
		return job
	}
	topic := functions.IngressTopic{Topic: "in"}
	for _, t := range targets {
		target, err := functions.ParseTypeName(t)
		if err != nil {
			c.t.Fatal(err)
		}
		topic.Targets = append(topic.Targets, target)
	}
	job.Ingresses = []functions.Ingress{{
		ID: "in", Cluster: cluster, Topics: []functions.IngressTopic{topic},
		Invalid: functions.Invalid{NoKey: functions.InvalidDeadLetter, Tombstone: functions.InvalidDeadLetter, Oversize: functions.InvalidDeadLetter, DeadLetter: "dead"},
	}}
	return job
}

// Deploy deploys a job and waits until it runs.
func (c *Cluster) Deploy(job *functions.Job) jobmanager.DeployedView {
	c.t.Helper()
	view, err := c.Jobs.Deploy(c.t.Context(), job, jobmanager.DeployOptions{})
	if err != nil {
		c.t.Fatalf("deploy: %v", err)
	}
	return view
}

// Ready waits until the jobs of the storage are loaded.
func (c *Cluster) Ready() {
	for c.Jobs.Ready(c.t.Context()) != nil && c.t.Context().Err() == nil {
	}
}

// Call calls a function and waits for its committed answer.
func (c *Cluster) Call(function, key, body string) router.Answer {
	c.t.Helper()
	return c.CallWith(function, key, body, nil)
}

// CallWith calls a function with more extensions of the message.
func (c *Cluster) CallWith(function, key, body string, ext []byte) router.Answer {
	c.t.Helper()
	answer, err := c.Tasks.Dispatch(c.t.Context(), &router.Call{Namespace: "default", Type: function, Key: []byte(key), Body: []byte(body), Ext: ext})
	if err != nil {
		c.t.Fatalf("call %s/%s: %v", function, key, err)
	}
	return answer
}
