package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// burst makes width messages of one record, and width of each of these: every one comes out, with who sent it.
func burst(width int) runtimetest.Module {
	return runtimetest.Module{
		{Type: "t/source", Run: func(c *runtimetest.Call) error {
			for i := range width {
				c.Send("t/fan", fmt.Sprint(c.Key, "-", i), nil)
			}
			return nil
		}},
		{Type: "t/fan", Run: func(c *runtimetest.Call) error {
			for i := range width {
				c.Send("t/sink", "k"+strconv.Itoa(i%7), fmt.Appendf(nil, "%s %d", c.Key, i))
			}
			return nil
		}},
		{Type: "t/sink", Run: func(c *runtimetest.Call) error {
			c.Put("out", c.Key, c.Value)
			c.Reply(c.Value)
			return nil
		}},
	}
}

// slow is a burst of messages so large that few fit into a batch, each of which takes a while until it is enough.
func slow(width int, enough func() bool) runtimetest.Module {
	module := burst(width)
	sink := module[2].Run
	module[1].Run = func(c *runtimetest.Call) error {
		for i := range width {
			c.Send("t/sink", "k"+strconv.Itoa(i%7), append(fmt.Appendf(nil, "%s %d", c.Key, i), make([]byte, 4<<10)...))
		}
		return nil
	}
	module[2].Run = func(c *runtimetest.Call) error {
		c.Value = bytes.TrimRight(c.Value, "\x00")
		if !enough() {
			time.Sleep(time.Millisecond)
		}
		return sink(c)
	}
	return module
}

// spilling is a cluster whose tasks hold few bytes in memory. files counts the segments that were written.
func spilling(t *testing.T, module runtimetest.Module, memory int) (c *runtimetest.Cluster, files *atomic.Int64) {
	c = runtimetest.New(t, runtimetest.NewBroker(4, "in", "out", "dead"))
	c.Modules["v1"] = module
	c.Configure = func(config *taskmanager.Config) { config.Spill.Memory = memory }
	files = &atomic.Int64{}
	c.Fault(func(step, name string) error {
		if step == "ack" && strings.Contains(name, "/spill/") {
			files.Add(1)
		}
		return nil
	})
	c.Start()
	c.Ready()
	return c, files
}

// waitCount waits for so many records: as long as the test may run, for it may share a machine.
func waitCount(t *testing.T, c *runtimetest.Cluster, n int) []runtimetest.Record {
	t.Helper()
	for c.Broker.Count("out") < n {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	return c.Broker.Records("out")
}

// checkBurst looks for every message of bursts once, and in the order of its sender.
func checkBurst(t *testing.T, records []runtimetest.Record, bursts, width int) {
	t.Helper()
	if len(records) != bursts*width*width {
		t.Errorf("%d records came out of %d", len(records), bursts*width*width)
	}
	seen := map[string]bool{}
	last := map[string]int{}
	for _, r := range records {
		if seen[string(r.Value)] {
			t.Fatalf("%s came out twice", r.Value)
		}
		seen[string(r.Value)] = true
		sender, number, _ := strings.Cut(string(r.Value), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		from := sender + " to " + string(r.Key)
		if before, ok := last[from]; ok && before >= n {
			t.Fatalf("%s: %d came after %d", from, n, before)
		}
		last[from] = n
	}
}

func fastJob(c *runtimetest.Cluster, parallelism int) *functions.Job {
	job := c.Job("job", "v1", parallelism, "t/source")
	job.Checkpoints.Interval = 10 * time.Millisecond
	return job
}

func TestABurstThatDoesNotFitIntoMemoryPassesThroughTheDisk(t *testing.T) {
	for _, parallelism := range []int{1, 3} {
		t.Run(fmt.Sprint(parallelism), func(t *testing.T) {
			const width = 316 // 100 k messages
			c, files := spilling(t, burst(width), 256<<10)
			c.Deploy(fastJob(c, parallelism))
			c.Broker.Produce("in", "burst", []byte("go"))
			for files.Load() == 0 && t.Context().Err() == nil {
			}
			if got := c.Call("t/sink", "k1", "call 1"); string(got.Body) != "call 1" {
				t.Fatalf("a call behind the burst: %+v", got)
			}
			checkBurst(t, withoutCall(waitCount(t, c, width*width+1)), 1, width)
		})
	}
}

func withoutCall(records []runtimetest.Record) (others []runtimetest.Record) {
	for _, r := range records {
		if string(r.Value) != "call 1" {
			others = append(others, r)
		}
	}
	return others
}

func TestSpilledMessagesSurviveCrashesAtRandomMoments(t *testing.T) {
	for _, parallelism := range []int{1, 3} {
		t.Run(fmt.Sprint(parallelism), func(t *testing.T) {
			const width, bursts = 100, 6
			c, files := spilling(t, burst(width), 16<<10)
			c.Deploy(fastJob(c, parallelism))
			for i := range bursts {
				c.Broker.Produce("in", "b"+strconv.Itoa(i), []byte("go"))
				before := files.Load()
				for files.Load() < before+3 && c.Broker.Count("out") < (i+1)*width*width {
				}
				c.Crash()
				c.Start()
				running(t, c, "job")
			}
			checkBurst(t, waitCount(t, c, bursts*width*width), bursts, width)
		})
	}
}

func TestSpilledMessagesSurviveACrashAtEveryStep(t *testing.T) {
	const width = 60
	for at := int64(10); ; at++ {
		c, _ := spilling(t, burst(width), 4<<10)
		var step atomic.Int64
		job := fastJob(c, 2)
		job.Restart.Delay = time.Hour // nothing but the next start of the machine makes it go on
		c.Broker.Produce("in", "burst", []byte("go"))
		c.Fault(func(string, string) error {
			if step.Add(1) > at {
				return errors.New("the machine is off")
			}
			return nil
		})
		ctx, leave := context.WithCancel(t.Context())
		go func() { _, _ = c.Jobs.Deploy(ctx, job, jobmanager.DeployOptions{}) }()
		out := 0
		for step.Load() <= at && out < width*width {
			out = c.Broker.Count("out")
		}
		leave()
		c.Crash()
		c.Fault(nil)
		if out == width*width {
			return // every step has been the last one
		}
		c.Start()
		c.Ready()
		checkBurst(t, waitCount(t, c, width*width), 1, width)
		c.Crash()
	}
}

func TestADiskThatIsFullStopsNothingForGood(t *testing.T) {
	const width = 100
	c, _ := spilling(t, burst(width), 16<<10)
	var failed atomic.Int64
	c.Fault(func(step, name string) error {
		if step == "write" && strings.Contains(name, "/spill/") && failed.Add(1) <= 5 {
			return syscall.ENOSPC
		}
		return nil
	})
	c.Deploy(fastJob(c, 2))
	c.Broker.Produce("in", "burst", []byte("go"))
	checkBurst(t, waitCount(t, c, width*width), 1, width)
	if view, err := c.Jobs.Job(t.Context(), "job"); err != nil || view.Attempt != 1 || failed.Load() < 5 {
		t.Fatalf("%+v %v after %d failures", view, err, failed.Load())
	}
}

func TestSpilledMessagesMoveToOtherTasks(t *testing.T) {
	const width, bursts = 30, 4
	var inherited atomic.Int64
	var attempt atomic.Uint64
	c, _ := spilling(t, slow(width, func() bool { return inherited.Load() > 3 }), 32<<10)
	c.Fault(func(step, name string) error {
		_, file, ok := strings.Cut(name, "/spill/")
		if parts := strings.Split(file, "-"); ok && step == "open" {
			if by, err := strconv.ParseUint(parts[1], 10, 64); err == nil && by < attempt.Load() {
				inherited.Add(1)
			}
		}
		return nil
	})
	for i, parallelism := range []int{1, 4, 3, 2} {
		c.Deploy(fastJob(c, parallelism))
		job, err := c.Jobs.Job(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		attempt.Store(job.Attempt)
		c.Broker.Produce("in", "b"+strconv.Itoa(i), []byte("go"))
		for taken := uint64(0); taken == 0; {
			job, err := c.Jobs.Job(t.Context(), "job")
			if err != nil {
				t.Fatal(err)
			}
			taken = job.In
		}
	}
	checkBurst(t, waitCount(t, c, bursts*width*width), bursts, width)
	if inherited.Load() == 0 {
		t.Fatal("no attempt has read a segment of an earlier one")
	}
}

func TestACycleThatNeverEndsFailsTheJobByName(t *testing.T) {
	c, _ := spilling(t, runtimetest.Module{{Type: "t/loop", Run: func(c *runtimetest.Call) error {
		for range 2 {
			c.Send("t/loop", "k", c.Value)
		}
		return nil
	}}}, 16<<10)
	c.Crash()
	configure := c.Configure
	c.Configure = func(config *taskmanager.Config) { configure(config); config.Spill.Disk = 1 << 20 }
	c.Start()
	c.Ready()
	job := c.Job("job", "v1", 2, "t/loop")
	c.Deploy(job)
	c.Broker.Produce("in", "k", make([]byte, 1000))
	view := inState(t, c, "job", jobmanager.Failed)
	if !strings.Contains(view.Error, "cycle") || !strings.Contains(view.Error, "t/loop") || view.Attempt != 1 {
		t.Fatalf("%+v", view)
	}
}

func TestSegmentsThatAreConsumedAreSwept(t *testing.T) {
	const width = 100
	c, files := spilling(t, burst(width), 16<<10)
	job := fastJob(c, 2)
	job.Checkpoints.Retain, job.Checkpoints.Interval = 1, 0
	c.Deploy(job)
	c.Broker.Produce("in", "burst", []byte("go"))
	waitCount(t, c, width*width)
	c.Crash() // what was written and named by no manifest is an orphan of that attempt
	c.Start()
	running(t, c, "job")
	ctx := limited(t)
	for ctx.Err() == nil {
		c.Call("t/sink", "k1", "call 1") // an epoch; every 64 there is a sweep
		names, err := c.Storage.List(t.Context(), "jobs/")
		if err != nil {
			t.Fatal(err)
		}
		left := 0
		for _, name := range names {
			if strings.Contains(name, "/spill/") {
				left++
			}
		}
		if left == 0 {
			if files.Load() == 0 {
				t.Fatal("nothing was spilled")
			}
			return
		}
	}
	t.Fatal("segments are left")
}

func TestSegmentsOutliveSweepsAsLongAsTheyAreNamed(t *testing.T) {
	const width, epochs = 70, 64 + 10 // every 64 there is a sweep
	var files, manifests atomic.Int64
	c, _ := spilling(t, slow(width, func() bool { return manifests.Load() > epochs }), 1<<20)
	c.Fault(func(step, name string) error {
		switch {
		case step == "ack" && strings.Contains(name, "/spill/"):
			files.Add(1)
		case step == "ack" && strings.Contains(name, "/manifest-"):
			manifests.Add(1)
		}
		return nil
	})
	job := fastJob(c, 2)
	job.Checkpoints.Retain = 1
	c.Deploy(job)
	c.Broker.Produce("in", "burst", []byte("go"))
	for files.Load() < 10 && t.Context().Err() == nil {
	}
	c.Crash() // the next term takes what no manifest names for an orphan
	manifests.Store(0)
	c.Start()
	running(t, c, "job")
	checkBurst(t, waitCount(t, c, width*width), 1, width)
	view, err := c.Jobs.Job(t.Context(), "job")
	if err != nil || view.Attempt != 2 || manifests.Load() < epochs {
		t.Fatalf("%d manifests: %+v %v", manifests.Load(), view, err)
	}
}

func TestADamagedSegmentIsNamed(t *testing.T) {
	const width = 200
	c, _ := spilling(t, burst(width), 16<<10)
	c.Fault(func(step, name string) error {
		if step == "ack" && strings.Contains(name, "/spill/") {
			c.Storage.Flip(name, 8*100)
		}
		return nil
	})
	c.Deploy(fastJob(c, 1))
	c.Broker.Produce("in", "burst", []byte("go"))
	view := inState(t, c, "job", jobmanager.Failed)
	if !strings.Contains(view.Error, "/spill/") || !strings.Contains(view.Error, "damaged") {
		t.Fatalf("%s", view.Error)
	}
}
