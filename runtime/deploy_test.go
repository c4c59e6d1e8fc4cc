package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
)

func TestADeploymentWhoseCallerGoesAwayGoesOn(t *testing.T) {
	gate := make(chan struct{})
	loading := make(chan struct{})
	loads := sync.OnceFunc(func() { close(loading) })
	var c *runtimetest.Cluster = wired(t, counter, func(config *taskmanager.Config) {
		config.Modules = func(_ context.Context, m *functions.Module) (taskmanager.Module, error) {
			if m.Digest == "v2" {
				loads()
				<-gate
			}
			return counter, nil
		}
	})
	c.Modules["v2"] = counter
	c.Deploy(c.Job("job", "v1", 2))
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-loading; leave() }()
	if _, err := c.Jobs.Deploy(ctx, c.Job("job", "v2", 2), jobmanager.DeployOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	close(gate)
	for {
		view, err := c.Jobs.Job(limited(t), "job")
		if err != nil {
			t.Fatal(err)
		}
		if view.Version == 2 {
			return
		}
	}
}

func TestASwitchWhoseCheckpointFailsIsTriedAgain(t *testing.T) {
	c := startInFiles(t, counter)
	c.Modules["v2"] = counter
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "1")
	var failed atomic.Int64
	c.Fault(func(step, name string) error {
		if step == "write" && strings.Contains(name, "/data/") && failed.Add(1) <= 1 {
			return syscall.ENOSPC
		}
		return nil
	})
	view, err := c.Jobs.Deploy(limited(t), c.Job("job", "v2", 2), jobmanager.DeployOptions{})
	if err != nil || view.Restarted {
		t.Fatalf("%+v %v", view, err)
	}
}

func TestACallOfARemovedFunctionIsTurnedAway(t *testing.T) {
	c := start(t, runtimetest.Module{counter[0], {Type: "t/other", Run: func(c *runtimetest.Call) error { c.Reply([]byte("x")); return nil }}})
	c.Modules["v2"] = counter
	c.Deploy(c.Job("job", "v1", 1))
	c.Call("t/other", "ann", "1")
	c.Deploy(c.Job("job", "v2", 1))
	a, err := c.Tasks.Dispatch(limited(t), &router.Call{Namespace: "default", Type: "t/other", Key: []byte("a"), Body: []byte("b")})
	view, _ := c.Jobs.Job(t.Context(), "job")
	if err != nil || a.Status != 404 && a.Status != 500 || view.State != jobmanager.Running || view.Attempt != 1 {
		t.Fatalf("%+v %v: %+v", a, err, view)
	}
}

func TestAMessageForARemovedFunctionIsDeadLettered(t *testing.T) {
	c := start(t, runtimetest.Module{counter[0], {Type: "t/other", Run: func(c *runtimetest.Call) error { return errors.New("later") }}})
	c.Modules["v2"] = counter
	job := c.Job("job", "v1", 1, "t/other")
	job.Modules[0].Retry = functions.Retry{Attempts: 5, Backoff: 2 * time.Second, MaxBackoff: 2 * time.Second}
	c.Deploy(job)
	c.Broker.Produce("in", "ann", []byte("1"))
	for {
		v, _ := c.Jobs.Job(t.Context(), "job")
		if v.In == 1 {
			break
		}
	}
	next := c.Job("job", "v2", 1, "t/counter")
	next.Ingresses[0].Topics[0].Targets = job.Ingresses[0].Topics[0].Targets
	next.Ingresses[0].Topics[0].Targets = append([]functions.TypeName(nil), next.Ingresses[0].Topics[0].Targets...)
	c.Deploy(next)
	letters := wait(t, c, "dead", 1)
	view, _ := c.Jobs.Job(t.Context(), "job")
	if view.Attempt != 1 {
		t.Fatalf("%+v %+v", letters, view)
	}
}

func TestADeploymentDuringARestartIsAnswered(t *testing.T) {
	gate := make(chan struct{})
	loading := make(chan struct{})
	loads := sync.OnceFunc(func() { close(loading) })
	c := wired(t, counter, func(config *taskmanager.Config) {
		config.Modules = func(_ context.Context, m *functions.Module) (taskmanager.Module, error) {
			if m.Digest == "v2" {
				loads()
				<-gate
			}
			return counter, nil
		}
	})
	c.Modules["v2"], c.Modules["v3"] = counter, counter
	c.Deploy(c.Job("job", "v1", 2))
	answered := make(chan error, 1)
	go func() {
		_, err := c.Jobs.Deploy(limited(t), c.Job("job", "v2", 2), jobmanager.DeployOptions{})
		answered <- err
	}()
	<-loading
	if _, err := c.Jobs.Restart(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	close(gate)
	err := <-answered
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	if _, err := c.Jobs.Deploy(limited(t), c.Job("job", "v3", 2), jobmanager.DeployOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestADeploymentGoesOnWhenTheVersionBeforeFailsOnItsWayOut(t *testing.T) {
	c := startInFiles(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "1")
	var failed atomic.Int64
	c.Fault(func(step, name string) error {
		if step == "write" && strings.Contains(name, "/data/") && failed.Add(1) <= 1 {
			return syscall.ENOSPC
		}
		return nil
	})
	view, err := c.Jobs.Deploy(limited(t), c.Job("job", "v1", 3), jobmanager.DeployOptions{})
	if err != nil || view.Version != 2 {
		t.Fatalf("%+v %v", view, err)
	}
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "2" {
		t.Fatalf("%+v", got)
	}
}

func TestADeploymentThatFindsNoSlotsIsTakenBack(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 1))
	c.Call("t/counter", "ann", "1")
	large := c.Job("job", "v1", taskmanager.DefaultSlots+1)
	_, err := c.Jobs.Deploy(t.Context(), large, jobmanager.DeployOptions{})
	var problem *router.Problem
	if !errors.As(err, &problem) || problem.Type != "no-slots" {
		t.Fatalf("%v", err)
	}
	running(t, c, "job")
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "2" {
		t.Fatalf("%+v", got)
	}
	if _, err := c.Jobs.Deploy(t.Context(), func() *functions.Job {
		j := c.Job("new", "v1", taskmanager.DefaultSlots+1)
		j.Namespace = "other"
		return j
	}(),
		jobmanager.DeployOptions{}); !errors.As(err, &problem) || problem.Type != "no-slots" {
		t.Fatalf("%v", err)
	}
	if _, err := c.Jobs.Job(t.Context(), "new"); !errors.As(err, &problem) || problem.Type != "unknown-job" {
		t.Fatalf("a job that never ran is left: %v", err)
	}
}

// Another JobManager may have read the record that this one wrote in doubt, and run its job.
func TestAJobThatIsMadeAgainBehindAnUnclearRecordIsTheSame(t *testing.T) {
	c := start(t, counter)
	var failed atomic.Bool
	c.Fault(func(step, name string) error {
		if step == "ack" && strings.HasPrefix(name, "registry/") && !failed.Swap(true) {
			return syscall.EIO
		}
		return nil
	})
	if _, err := c.Jobs.Deploy(t.Context(), c.Job("job", "v1", 2), jobmanager.DeployOptions{}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("the first deployment: %v", err)
	}
	c.Deploy(c.Job("job", "v1", 1))
	lives := map[string]bool{}
	names, err := c.Storage.List(t.Context(), "registry/job/")
	if err != nil || len(names) != 2 {
		t.Fatalf("records %q: %v", names, err)
	}
	for _, name := range names {
		file, err := c.Storage.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		record := struct{ UID string }{}
		if err := json.NewDecoder(io.NewSectionReader(file, 0, file.Size())).Decode(&record); err != nil {
			t.Fatal(err)
		}
		lives[record.UID] = true
	}
	if len(lives) != 1 {
		t.Errorf("the records are of %d jobs: %v", len(lives), lives)
	}
}

// The tombstone of a job that was deleted by halves is not to take the next job of that name with it.
func TestAJobMadeBehindATombstoneOutlivesARestart(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	if _, err := c.Jobs.Cancel(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	c.Fault(func(step, name string) error {
		if step == "delete" && strings.HasPrefix(name, "registry/") {
			return syscall.EIO
		}
		return nil
	})
	_ = c.Jobs.Delete(t.Context(), "job") // whether it says so or not, its records stay
	c.Fault(nil)
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "5")
	c.Crash()
	c.Start()
	running(t, c, "job")
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "6" {
		t.Fatalf("%+v", got)
	}
}

func TestADeploymentIsRefusedWhileACancelWaitsForTheBroker(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	held := make(chan struct{})
	c.Broker.Publish = func(string, uint64) error { <-held; return nil }
	c.Call("t/counter", "ann", "5")
	canceled := make(chan jobmanager.JobState, 1)
	go func() {
		view, _ := c.Jobs.Cancel(t.Context(), "job")
		canceled <- view.State
	}()
	for state := jobmanager.JobState(""); state != jobmanager.Cancelling && t.Context().Err() == nil; {
		view, err := c.Jobs.Job(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		state = view.State
	}
	_, err := c.Jobs.Deploy(t.Context(), c.Job("job", "v1", 1), jobmanager.DeployOptions{})
	var problem *router.Problem
	if !errors.As(err, &problem) || problem.Status != 409 {
		t.Errorf("a deployment meanwhile: %v", err)
	}
	close(held)
	if state := <-canceled; state != jobmanager.Canceled {
		t.Errorf("the job is %s", state)
	}
	c.Deploy(c.Job("job", "v1", 1))
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "6" {
		t.Errorf("%+v", got)
	}
}
