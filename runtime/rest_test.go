package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
	"github.com/weir-run/weir/statestore/checkpoint"
)

func TestAJobWithADamagedLogCanBeLookedAtAndDeployed(t *testing.T) {
	c, _ := damaged(t)
	inState(t, c, "job", jobmanager.Failed)
	if _, err := c.Jobs.Lanes(limited(t), "job"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Jobs.Deploy(limited(t), c.Job("job", "v1", 3), jobmanager.DeployOptions{}); err == nil {
		t.Fatal("deployed onto a damaged log")
	}
	inState(t, c, "job", jobmanager.Failed)
}

func TestAJobWithADamagedLogStillSaysWhyWhenItIsDeployedAgain(t *testing.T) {
	c, newest := damaged(t)
	inState(t, c, "job", jobmanager.Failed)
	if _, err := c.Jobs.Deploy(limited(t), c.Job("job", "v1", 2), jobmanager.DeployOptions{}); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Fatal(err)
	}
	if view := inState(t, c, "job", jobmanager.Failed); !strings.Contains(view.Error, newest) {
		t.Fatalf("error %q does not name %s", view.Error, newest)
	}
}

func TestStopEndsAJobWhoseAttemptFailsOnTheWay(t *testing.T) {
	c := startInFiles(t, counter)
	job := c.Job("job", "v1", 2)
	c.Deploy(job)
	c.Call("t/counter", "ann", "1")
	var failed atomic.Int64
	c.Fault(func(step, name string) error {
		if step == "write" && strings.Contains(name, "/data/") && failed.Add(1) <= 1 {
			return syscall.ENOSPC
		}
		return nil
	})
	view, err := c.Jobs.Stop(limited(t), "job")
	if err != nil || view.State != jobmanager.Finished {
		t.Fatalf("%+v %v", view, err)
	}
}

func TestAJobStoppedAcrossACrashPublishesWhatItCommitted(t *testing.T) {
	for name, want := range map[string]jobmanager.JobState{"stop": jobmanager.Finished, "cancel": jobmanager.Canceled} {
		t.Run(name, func(t *testing.T) {
			c := start(t, counter)
			c.Deploy(c.Job("job", "v1", 1))
			var down atomic.Bool
			c.Broker.Publish = func(string, uint64) error {
				if down.Load() {
					return errors.New("broker is away")
				}
				return nil
			}
			down.Store(true)
			c.Call("t/counter", "ann", "1") // committed, answered; its record is owed
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if name == "stop" {
				_, _ = c.Jobs.Stop(ctx, "job")
			} else {
				_, _ = c.Jobs.Cancel(ctx, "job")
			}
			c.Crash()
			down.Store(false)
			c.Start()
			c.Ready()
			wait(t, c, "out", 1)
			inStateSoon(t, c, want)
		})
	}
}

func inStateSoon(t *testing.T, c *runtimetest.Cluster, want jobmanager.JobState) {
	t.Helper()
	ctx := limited(t)
	for ctx.Err() == nil {
		view, err := c.Jobs.Job(ctx, "job")
		if err == nil && view.State == want {
			return
		}
	}
	view, _ := c.Jobs.Job(t.Context(), "job")
	t.Fatalf("%+v, want %s", view, want)
}

func TestARestartWhoseFinalEpochFailsStillRuns(t *testing.T) {
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
	if _, err := c.Jobs.Restart(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	for {
		view, _ := c.Jobs.Job(t.Context(), "job")
		if view.Attempt > 1 {
			break
		}
	}
	inStateSoon(t, c, jobmanager.Running)
}

func TestAFailedJobWaitsForItsRestartDelay(t *testing.T) {
	c := start(t, counter)
	job := c.Job("job", "v1", 1)
	job.Restart.Delay = time.Hour
	var down atomic.Bool
	c.Broker.Publish = func(string, uint64) error {
		if down.Load() {
			return errors.New("no")
		}
		return nil
	}
	c.Deploy(job)
	c.Call("t/counter", "ann", "1")
	wait(t, c, "out", 1)
	down.Store(true)
	c.Call("t/counter", "ann", "1")
	for until := time.Now().Add(1500 * time.Millisecond); time.Now().Before(until); { // the coordinator asked to be woken after a second
		if view, err := c.Jobs.Job(t.Context(), "job"); err != nil || view.Attempt != 1 {
			t.Fatalf("%+v %v", view, err)
		}
	}
}

func TestAJobThatWaitsForItsBrokerIsShownAtOnce(t *testing.T) {
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.Egress
		config.Egress = func(r *taskmanager.EgressRequest) (router.Egress, error) {
			e, err := open(r)
			return &faultyEgress{Egress: e, lane: func(l router.Lane) router.Lane { return stuckLane{l} }}, err
		}
	})
	go func() { _, _ = c.Jobs.Deploy(t.Context(), c.Job("job", "v1", 1), jobmanager.DeployOptions{}) }()
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
		started := time.Now()
		if _, err := c.Jobs.Job(t.Context(), "job"); time.Since(started) > time.Second {
			t.Fatalf("took %v: %v", time.Since(started), err)
		}
	}
}

func TestADrainDoesNotWaitForAFinalEpochThatFailed(t *testing.T) {
	c := startInFiles(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "1")
	c.Fault(func(step, name string) error {
		if step == "write" && strings.Contains(name, "/data/") {
			return syscall.ENOSPC
		}
		return nil
	})
	started := time.Now()
	c.Stop()
	if took := time.Since(started); took > 5*time.Second {
		t.Fatalf("took %v", took)
	}
	c.Fault(nil)
	c.Start()
	running(t, c, "job")
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "2" {
		t.Fatalf("%+v", got)
	}
}

func TestWhatKeepsAJobFromRestIsShownAndToldWhenTheProcessEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, counter)
		c.Crash() // to start again with a log that is read here
		var log bytes.Buffer
		c.Log = &log
		c.Start()
		c.Ready()
		job := c.Job("job", "v1", 1)
		c.Deploy(job)
		away := make(chan struct{})
		c.Broker.Publish = func(string, uint64) error { <-away; return nil }
		c.Call("t/counter", "ann", "1") // committed, answered; its record is owed
		want := "its output to be taken by " + job.Egresses[0].Cluster.Address
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = c.Jobs.Pause(ctx, "job") // it is pending
		if view, err := c.Jobs.Job(t.Context(), "job"); err != nil || view.State != jobmanager.Running || view.Waiting != want {
			t.Errorf("a pause that is pending: %s, waiting for %q: %v", view.State, view.Waiting, err)
		}
		time.AfterFunc(10*time.Second, func() { close(away) })
		c.Stop()
		if told := `msg="job is not at rest yet" job=job for="` + want + `"`; strings.Count(log.String(), told) != 1 {
			t.Errorf("%s is not there once:\n%s", told, &log)
		}
	})
}
