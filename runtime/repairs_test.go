package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
)

func TestARefusalIsRememberedAcrossARestartOfTheServer(t *testing.T) {
	c := start(t, counter)
	c.Broker.Refuse = func(r *router.EgressRecord) error {
		if string(r.Topic) == "out" && string(r.Key) == "bad" {
			return errors.New("policy violation")
		}
		return nil
	}
	c.Broker.Produce("in", "bad", []byte("1"))
	go func() {
		_, _ = c.Jobs.Deploy(limited(t), c.Job("job", "v1", 1, "t/counter"), jobmanager.DeployOptions{})
	}()
	for view := (jobmanager.JobView{}); view.State != jobmanager.Suspended; {
		view, _ = c.Jobs.Job(t.Context(), "job")
	}
	c.Crash()
	c.Broker.Publish = func(string, uint64) error { return errors.New("broker is away") }
	c.Start()
	c.Ready()
	inStateSoon(t, c, jobmanager.Suspended)
	lanes, err := c.Jobs.Lanes(t.Context(), "job")
	if err != nil || len(lanes) != 1 || !strings.Contains(lanes[0].Error, "policy violation") {
		t.Fatalf("%+v %v", lanes, err)
	}
	c.Crash()
	c.Broker.Publish = nil
	c.Start()
	c.Ready()
	if _, err := c.Jobs.Divert(limited(t), "job", lanes[0].ID); err != nil {
		t.Fatal(err)
	}
	if got := wait(t, c, "dead", 1); len(got) != 1 || len(c.Broker.Records("out")) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestAFunctionOfADeletedJobIsUnknown(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 1))
	if _, err := c.Jobs.Cancel(limited(t), "job"); err != nil {
		t.Fatal(err)
	}
	if got := c.Call("t/counter", "ann", "1"); got.Status != http.StatusServiceUnavailable {
		t.Fatalf("of a canceled job: %+v", got)
	}
	if err := c.Jobs.Delete(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	ctx := limited(t)
	for c.Call("t/counter", "ann", "1").Status != http.StatusNotFound {
		if ctx.Err() != nil {
			t.Fatalf("of a deleted job: %+v", c.Call("t/counter", "ann", "1"))
		}
	}
}

func TestAJobEndsThoughItsTaskManagerIsLostMeanwhile(t *testing.T) {
	c := runtimetest.New(t, runtimetest.NewBroker(1, "in", "out", "dead"))
	c.Modules["v1"] = counter
	c.Network = runtime.Local()
	joined := c.Network.Join("taskmanager-2") // a TaskManager that says no more once its tasks run
	c.Start()
	c.Ready()
	joined.Send(runtime.ResourceManager, &wire.Offer{Slots: 1000})
	go func() { _, _ = c.Jobs.Deploy(limited(t), c.Job("job", "v1", 3), jobmanager.DeployOptions{}) }()
	halt := func() bool {
		received, err := joined.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range received {
			if _, ok := r.Message.(*wire.Halt); ok {
				return true
			}
			if d, ok := r.Message.(*wire.Deploy); ok {
				go func() { _, _ = c.Jobs.Cancel(limited(t), d.Version.Job.Name) }()
			}
		}
		return false
	}
	for ctx := limited(t); !halt(); {
		select {
		case <-joined.Ready():
		case <-ctx.Done():
			t.Fatal("no tasks are placed, or they are not ended")
		}
	}
	joined.Send(runtime.JobManager, &wire.Lost{TaskManager: "taskmanager-2"})
	inStateSoon(t, c, jobmanager.Canceled)
}

// clusterEgress is what a job writes to one of several clusters; sent is called for at-least-once output.
type clusterEgress struct {
	router.Egress
	sent func(batch []byte, done func(error))
}

func (e *clusterEgress) Send(batch []byte, done func(error)) { e.sent(batch, done) }

func TestAtLeastOnceOutputIsNotDroppedWithItsCluster(t *testing.T) {
	var mu sync.Mutex
	var waiting []func(error)
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.Egress
		config.Egress = func(r *taskmanager.EgressRequest) (router.Egress, error) {
			e, err := open(r)
			return &clusterEgress{e, func(_ []byte, done func(error)) {
				mu.Lock()
				defer mu.Unlock()
				waiting = append(waiting, done)
			}}, err
		}
	})
	job := c.Job("job", "v1", 1)
	job.Egresses[0].Delivery = functions.AtLeastOnce
	c.Deploy(job)
	c.Call("t/counter", "ann", "1") // its record is on its way for good
	other := c.Job("job", "v1", 1)
	other.Egresses[0].Cluster.Address = "elsewhere"
	answer := make(chan error, 1)
	go func() {
		_, err := c.Jobs.Deploy(limited(t), other, jobmanager.DeployOptions{})
		answer <- err
	}()
	for view := (jobmanager.JobView{}); view.State != jobmanager.Restarting; {
		view, _ = c.Jobs.Job(t.Context(), "job")
	}
	mu.Lock()
	waiting[0](errors.New("the broker went away"))
	mu.Unlock()
	if err := <-answer; err == nil || !strings.Contains(err.Error(), "at-least-once") {
		t.Fatalf("the version is deployed, and the record is lost: %v", err)
	}
	running(t, c, "job")
	if view, err := c.Jobs.Job(t.Context(), "job"); err != nil || view.Version != 1 {
		t.Fatalf("%+v %v", view, err)
	}
}

func TestAStartThatCannotBeResolvedFailsTheJob(t *testing.T) {
	found := make(chan struct{})
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.Ingress
		config.Ingress = func(r *taskmanager.IngressRequest) (router.Ingress, error) {
			in, err := open(r)
			return &brokenIngress{in, found}, err
		}
	})
	c.Deploy(c.Job("job", "v1", 1, "t/counter"))
	close(found)
	inStateSoon(t, c, jobmanager.Failed)
}

// brokenIngress finds out that it cannot start.
type brokenIngress struct {
	router.Ingress
	found chan struct{}
}

func (i *brokenIngress) Run(ctx context.Context) error {
	select {
	case <-i.found:
	case <-ctx.Done():
		return nil
	}
	return fmt.Errorf("ingress in: %w: no such group", router.ErrStart)
}

func TestACanceledJobDropsWhatItOwesWhenItIsTold(t *testing.T) {
	c := start(t, counter)
	var down atomic.Bool
	c.Broker.Publish = func(string, uint64) error {
		if down.Load() {
			return errors.New("broker is away")
		}
		return nil
	}
	job := c.Job("job", "v1", 1)
	job.Restart.Delay = 1 << 40
	c.Deploy(job)
	down.Store(true)
	c.Call("t/counter", "ann", "1") // committed, answered; its record is owed
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if view, _ := c.Jobs.Cancel(ctx, "job"); view.State == jobmanager.Canceled {
		t.Fatal("what is owed is dropped without a word")
	}
	view, err := c.Jobs.CancelDiscarding(limited(t), "job")
	if err != nil || view.State != jobmanager.Canceled {
		t.Fatalf("%+v %v", view, err)
	}
	for _, again := range []bool{false, true} {
		if again {
			c.Crash()
			c.Start()
			c.Ready()
			inState(t, c, "job", jobmanager.Canceled)
		}
		events, err := c.Jobs.Events(t.Context(), "job")
		told := ""
		for _, e := range events {
			if e.Kind == "output-discarded" {
				told = e.Detail
			}
		}
		if err != nil || !strings.Contains(told, "outbox") || !strings.Contains(told, "weir-") {
			t.Fatalf("after a restart: %v: %q %v", again, told, err)
		}
	}
	down.Store(false)
	if _, err := c.Jobs.Resume(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	running(t, c, "job")
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "2" {
		t.Fatalf("%+v", got)
	}
	if got := wait(t, c, "out", 1); len(got) != 1 || string(got[0].Value) != "2" {
		t.Fatalf("%+v", got)
	}
}
