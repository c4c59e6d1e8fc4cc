package runtime_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
)

func TestAtLeastOnceOutputIsOutBeforeAJobIsFinished(t *testing.T) {
	var mu sync.Mutex
	var closed bool
	var sent int
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.Egress
		config.Egress = func(r *taskmanager.EgressRequest) (router.Egress, error) {
			e, err := open(r)
			return &faultyEgress{Egress: e, run: func(ctx context.Context) error {
				<-ctx.Done()
				mu.Lock()
				closed = true
				mu.Unlock()
				return nil
			}, send: func(batch []byte, done func(error)) {
				time.AfterFunc(300*time.Millisecond, func() {
					mu.Lock()
					defer mu.Unlock()
					if !closed {
						sent++
						e.Send(batch, done)
					}
				})
			}}, err
		}
	})
	job := c.Job("job", "v1", 1)
	job.Egresses[0].Delivery = functions.AtLeastOnce
	c.Deploy(job)
	c.Call("t/counter", "ann", "1")
	if view, err := c.Jobs.Stop(limited(t), "job"); err != nil || view.State != jobmanager.Finished {
		t.Fatalf("%+v %v", view, err)
	}
	if got := c.Broker.Records("out"); len(got) != 1 {
		t.Fatalf("finished, and %d records are out", len(got))
	}
}

func TestTwoRefusedRecordsOfOneOutboxAreDiverted(t *testing.T) {
	c := start(t, counter)
	c.Broker.Refuse = func(r *router.EgressRecord) error {
		if string(r.Topic) == "out" && strings.HasPrefix(string(r.Key), "bad") {
			return errors.New("policy violation")
		}
		return nil
	}
	c.Broker.Produce("in", "bad1", []byte("1"))
	c.Broker.Produce("in", "ok", []byte("1"))
	c.Broker.Produce("in", "bad2", []byte("1"))
	go func() {
		_, _ = c.Jobs.Deploy(limited(t), c.Job("job", "v1", 1, "t/counter"), jobmanager.DeployOptions{})
	}()
	for range 3 {
		for {
			view, err := c.Jobs.Job(t.Context(), "job")
			if err == nil && view.State == jobmanager.Suspended {
				break
			}
			if len(c.Broker.Records("dead")) == 2 {
				return
			}
		}
		lanes, err := c.Jobs.Lanes(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Jobs.Divert(limited(t), "job", lanes[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("three diversions, %d dead letters of 2", len(c.Broker.Records("dead")))
}

func TestADeadLetterThatDoesNotFitDoesNotEndTheJob(t *testing.T) {
	c := wired(t, counter, func(config *taskmanager.Config) {
		open := config.Egress
		config.Egress = func(r *taskmanager.EgressRequest) (router.Egress, error) {
			e, err := open(r)
			return &smallTopics{e}, err
		}
	})
	c.Deploy(c.Job("job", "v1", 1))
	if a := c.Call("t/counter", "ann", strings.Repeat("x", 900)); a.Status != 500 {
		t.Fatalf("%+v", a)
	}
	view, err := c.Jobs.Job(t.Context(), "job")
	if err != nil || view.State != jobmanager.Running || view.Attempt != 1 {
		t.Fatalf("%+v %v", view, err)
	}
}

func TestAHotAddressThatFailsHoldsTheIngressBack(t *testing.T) {
	c := start(t, runtimetest.Module{
		{Type: "t/failing", Run: func(*runtimetest.Call) error { return errors.New("not yet") }},
		{Type: "t/other", Run: func(c *runtimetest.Call) error { c.Reply(nil); return nil }},
	})
	job := c.Job("job", "v1", 1, "t/failing")
	job.Modules[0].Retry = functions.Retry{Attempts: 3, Backoff: time.Hour, MaxBackoff: time.Hour}
	c.Deploy(job)
	const parked = 32 // MiB, which with what else is kept of a record is above the limit
	taken := func() uint64 {
		view, err := c.Jobs.Job(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		return view.In
	}
	for range parked + 1 { // the last one may be in the same fetch
		c.Broker.Produce("in", "hot", make([]byte, 1<<20))
	}
	for taken() < parked {
	}
	c.Call("t/other", "ann", "") // by its commit everything taken is parked
	before := taken()
	c.Broker.Produce("in", "hot", nil)
	c.Broker.Produce("in", "cold", []byte("1"))
	c.Call("t/other", "ann", "")
	if in := taken(); in != before {
		t.Fatalf("%d records are taken, and %d before", in, before)
	}
}

func TestCallsAreTurnedAwayWhileMuchOutputWaits(t *testing.T) {
	c := start(t, runtimetest.Module{{Type: "t/wide", Run: func(c *runtimetest.Call) error {
		c.Put("out", c.Key, make([]byte, 900<<10))
		return nil
	}}})
	c.Deploy(c.Job("job", "v1", 1))
	gate := make(chan struct{})
	c.Broker.Publish = func(string, uint64) error { <-gate; return nil }
	defer close(gate)
	for i := range 200 { // whose callers do not wait
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		a, err := c.Tasks.Dispatch(ctx, &router.Call{Namespace: "default", Type: "t/wide", Key: []byte("k")})
		cancel()
		if err == nil && a.Status == 503 {
			if i < 32 {
				t.Fatalf("turned away after %d MiB", i)
			}
			return
		}
	}
	t.Fatal("200 MB of output wait, and calls are taken")
}
