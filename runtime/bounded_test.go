package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// bounded is a job that ends where its topic ended when it was first deployed.
func bounded(c *runtimetest.Cluster, parallelism int, target string) *functions.Job {
	job := c.Job("job", "v1", parallelism, target)
	job.Ingresses[0].Bounded = &functions.Bound{Type: "latest"}
	job.Checkpoints.Interval = 10 * time.Millisecond
	return job
}

// filled is a cluster whose topic holds n records.
func filled(t *testing.T, module runtimetest.Module, n int) *runtimetest.Cluster {
	c := start(t, module)
	for i := range n {
		c.Broker.Produce("in", "s"+strconv.Itoa(i%17), []byte(strconv.Itoa(i)))
	}
	return c
}

func TestAJobWhoseIngressesAreBoundedFinishesByItself(t *testing.T) {
	for _, parallelism := range []int{1, 3, 6} { // more tasks than partitions, too
		for _, n := range []int{0, 1000} {
			t.Run(fmt.Sprint(parallelism, " tasks ", n, " records"), func(t *testing.T) {
				c := filled(t, chain, n)
				c.Deploy(bounded(c, parallelism, "t/source"))
				c.Broker.Produce("in", "late", []byte("1"))
				inStateSoon(t, c, jobmanager.Finished)
				records := c.Broker.Records("out")
				check(t, records, n)
				if len(records) != n {
					t.Fatalf("%d records came out of %d", len(records), n)
				}
			})
		}
	}
}

func TestAJobWithoutAnEndRunsOn(t *testing.T) {
	c := start(t, counter)
	unbounded := c.Job("job", "v1", 1, "t/counter")
	unbounded.Ingresses = append(unbounded.Ingresses, unbounded.Ingresses[0])
	unbounded.Ingresses[1].ID = "in2"
	unbounded.Ingresses[1].Bounded = &functions.Bound{Type: "latest"}
	for name, job := range map[string]*functions.Job{"one ingress without end": unbounded, "no ingress": c.Job("job", "v1", 1)} {
		c.Deploy(job)
		for range 5 { // epochs
			if got := c.Call("t/counter", "ann", "1"); got.Status != 200 {
				t.Fatalf("%s: %+v", name, got)
			}
		}
		if view, err := c.Jobs.Job(t.Context(), "job"); err != nil || view.State != jobmanager.Running {
			t.Fatalf("%s: %+v %v", name, view, err)
		}
	}
}

func TestABoundedJobEndsOnceThroughACrashAtEveryStep(t *testing.T) {
	const n = 50
	for at := int64(1); ; at++ {
		c := filled(t, chain, n)
		var step atomic.Int64
		c.Fault(func(string, string) error {
			if step.Add(1) > at { // one operation comes through, and everything after it is lost
				return errors.New("the machine is off")
			}
			return nil
		})
		job := bounded(c, 2, "t/source")
		job.Restart.Delay = time.Hour // nothing but the next start of the machine makes it go on
		ctx, leave := context.WithCancel(t.Context())
		go func() { _, _ = c.Jobs.Deploy(ctx, job, jobmanager.DeployOptions{}) }()
		for step.Load() <= at {
			if view, err := c.Jobs.Job(t.Context(), "job"); err == nil && view.State == jobmanager.Finished {
				if at < 10 {
					t.Fatalf("finished after %d steps", at)
				}
				leave()
				return // every step has been the last one
			}
		}
		leave()
		c.Crash()
		c.Fault(nil)
		c.Start()
		c.Ready()
		if _, err := c.Jobs.Job(t.Context(), "job"); err != nil { // it was not even recorded
			c.Deploy(bounded(c, 2, "t/source"))
		}
		inStateSoon(t, c, jobmanager.Finished)
		if got := c.Broker.Records("out"); len(got) != n {
			t.Fatalf("crash after step %d: %d records came out of %d", at, len(got), n)
		}
		c.Crash()
	}
}

func TestABoundedJobEndsAcrossAChangeOfParallelism(t *testing.T) {
	c := filled(t, chain, 1000)
	c.Deploy(bounded(c, 1, "t/source"))
	c.Broker.Produce("in", "late", []byte("1"))
	// Some of these find the job finished; the end stays where it was.
	for _, parallelism := range []int{4, 2} {
		if _, err := c.Jobs.Deploy(limited(t), bounded(c, parallelism, "t/source"), jobmanager.DeployOptions{}); err != nil {
			t.Log(err)
		}
	}
	inStateSoon(t, c, jobmanager.Finished)
	if got := c.Broker.Records("out"); len(got) != 1000 {
		t.Fatalf("%d records came out of 1000", len(got))
	}
}

func TestABoundedJobWaitsForItsRetriesAndItsBroker(t *testing.T) {
	var runs atomic.Int64
	c := filled(t, runtimetest.Module{{Type: "t/slow", Run: func(c *runtimetest.Call) error {
		if runs.Add(1) < 3 {
			return errors.New("not yet")
		}
		c.Put("out", c.Key, c.Value)
		return nil
	}}}, 1)
	gate := make(chan struct{})
	c.Broker.Publish = func(string, uint64) error { <-gate; return nil }
	job := bounded(c, 2, "t/slow")
	job.Modules[0].Retry = functions.Retry{Attempts: 3, Backoff: 100 * time.Millisecond, MaxBackoff: time.Second}
	c.Deploy(job)
	for range 10 { // looks; the outbox waits at the gate
		if view, err := c.Jobs.Job(t.Context(), "job"); err != nil || view.State != jobmanager.Running {
			t.Fatalf("%+v %v", view, err)
		}
	}
	close(gate)
	inStateSoon(t, c, jobmanager.Finished)
	if got := c.Broker.Records("out"); len(got) != 1 || runs.Load() != 3 {
		t.Fatalf("%d records after %d runs", len(got), runs.Load())
	}
}

func TestAFinishedBoundedJobThatIsResumedRepeatsNothing(t *testing.T) {
	c := filled(t, chain, 100)
	c.Deploy(bounded(c, 2, "t/source"))
	inStateSoon(t, c, jobmanager.Finished)
	c.Broker.Produce("in", "late", []byte("1"))
	c.Crash()
	c.Start()
	c.Ready()
	inStateSoon(t, c, jobmanager.Finished)
	view, err := c.Jobs.Resume(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	for view.Attempt < 2 || view.State != jobmanager.Finished {
		if view, err = c.Jobs.Job(limited(t), "job"); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Broker.Records("out"); len(got) != 100 {
		t.Fatalf("%d records came out of 100", len(got))
	}
}

// lateEnd learns late that nothing is left, and without a record: as behind a partition's last transaction marker.
type lateEnd struct {
	router.Ingress
	ended  atomic.Bool
	signal chan struct{}
}

func (i *lateEnd) Done() bool             { return i.ended.Load() && i.Ingress.Done() }
func (i *lateEnd) Ready() <-chan struct{} { return i.signal }

func TestAnEndThatBringsNoRecordEndsTheJob(t *testing.T) {
	opened := make(chan *lateEnd, 1)
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.Ingress
		config.Ingress = func(r *taskmanager.IngressRequest) (router.Ingress, error) {
			in, err := open(r)
			late := &lateEnd{Ingress: in, signal: make(chan struct{}, 1)}
			opened <- late
			return late, err
		}
	})
	c.Deploy(bounded(c, 1, "t/counter"))
	c.Call("t/counter", "ann", "1") // commits
	late := <-opened
	late.ended.Store(true)
	late.signal <- struct{}{}
	inStateSoon(t, c, jobmanager.Finished)
}
