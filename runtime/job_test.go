package runtime_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/runtimetest"
)

// counter counts what it is told, and says the sum to whoever asks and to the egress.
var counter = runtimetest.Module{{Type: "t/counter", States: []string{"n"}, Run: func(c *runtimetest.Call) error {
	add, err := strconv.ParseInt(string(c.Value), 10, 64)
	if err != nil {
		return err
	}
	c.SetInt(0, c.Int(0)+add)
	c.Put("out", c.Key, strconv.AppendInt(nil, c.Int(0), 10))
	c.Reply(strconv.AppendInt(nil, c.Int(0), 10))
	return nil
}}}

func start(t *testing.T, module runtimetest.Module) *runtimetest.Cluster {
	return startInline(t, module, 0)
}

// startInFiles is start for a test that lets epochs' files fail: no manifest holds them.
func startInFiles(t *testing.T, module runtimetest.Module) *runtimetest.Cluster {
	return startInline(t, module, -1)
}

func startInline(t *testing.T, module runtimetest.Module, inline int) *runtimetest.Cluster {
	c := runtimetest.New(t, runtimetest.NewBroker(4, "in", "out", "dead"))
	c.Modules["v1"], c.Inline = module, inline
	c.Start()
	c.Ready()
	return c
}

func TestACallIsAnsweredWithItsCommittedState(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	for i, want := range []string{"3", "7", "12"} {
		if got := c.Call("t/counter", "ann", strconv.Itoa(3+i)); string(got.Body) != want || got.Status != 200 || got.Epoch == 0 {
			t.Fatalf("call %d: %+v, want %s", i, got, want)
		}
	}
	name, _ := functions.ParseTypeName("t/counter")
	state, err := c.Jobs.State(t.Context(), "job", name, "ann")
	if err != nil || len(state.States) != 1 || binary.LittleEndian.Uint64(state.States[0].Value.([]byte)) != 12 {
		t.Fatalf("state %+v, %v", state, err)
	}
}

func TestACrashTakesBackNothingThatWasAnswered(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	for round := 1; round <= 5; round++ {
		if got := c.Call("t/counter", "ann", "1"); string(got.Body) != strconv.Itoa(round) {
			t.Fatalf("round %d: %+v", round, got)
		}
		c.Crash()
		c.Start()
		running(t, c, "job")
	}
}

func running(t *testing.T, c *runtimetest.Cluster, job string) {
	t.Helper()
	c.Ready()
	for t.Context().Err() == nil {
		view, err := c.Jobs.Job(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		if view.State == "running" {
			return
		}
		if view.State == "failed" {
			t.Fatalf("job failed: %s", view.Error)
		}
	}
}

// wait polls until the output is complete; the test's own deadline bounds it.
func wait(t *testing.T, c *runtimetest.Cluster, topic string, n int) []runtimetest.Record {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if got := c.Broker.Records(topic); len(got) >= n {
			return got
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("topic %s has %d records, want %d", topic, len(c.Broker.Records(topic)), n)
	return nil
}

func TestRecordsTakeEffectOnceThroughCrashesAtRandomMoments(t *testing.T) {
	for _, parallelism := range []int{1, 3} {
		t.Run(fmt.Sprint(parallelism), func(t *testing.T) {
			c := start(t, chain)
			c.Deploy(c.Job("job", "v1", parallelism, "t/source"))
			const n = 2000
			for i := range n {
				c.Broker.Produce("in", "s"+strconv.Itoa(i%17), []byte(strconv.Itoa(i)))
				if i%400 == 399 {
					c.Crash()
					c.Start()
					running(t, c, "job")
				}
			}
			check(t, wait(t, c, "out", n), n)
		})
	}
}

// chain sends each input through a cycle of two functions before it comes out, with a running number per sender.
var chain = runtimetest.Module{
	{Type: "t/source", States: []string{"sent"}, Run: func(c *runtimetest.Call) error {
		c.SetInt(0, c.Int(0)+1)
		c.Send("t/sink", "k"+c.Key, fmt.Appendf(nil, "%s %d %s 3", c.Key, c.Int(0), c.Value))
		return nil
	}},
	{Type: "t/sink", States: []string{"seen"}, Run: func(c *runtimetest.Call) error {
		var source, input string
		var number, hops int
		if _, err := fmt.Sscan(string(c.Value), &source, &number, &input, &hops); err != nil {
			return err
		}
		if hops > 0 {
			c.Send("t/sink", fmt.Sprint(source, hops), fmt.Appendf(nil, "%s %d %s %d", source, number, input, hops-1))
			return nil
		}
		c.SetInt(0, c.Int(0)+1)
		if c.Int(0) != int64(number) {
			return fmt.Errorf("message %d of %s came as number %d", number, source, c.Int(0))
		}
		c.Put("out", source, []byte(input))
		return nil
	}},
}

func check(t *testing.T, records []runtimetest.Record, n int) {
	t.Helper()
	seen := map[string]int{}
	last := map[string]int{}
	for _, r := range records {
		seen[string(r.Value)]++
		i, _ := strconv.Atoi(string(r.Value))
		if before, ok := last[string(r.Key)]; ok && before >= i {
			t.Errorf("source %s: %d after %d", r.Key, i, before)
		}
		last[string(r.Key)] = i
	}
	for i := range n {
		if got := seen[strconv.Itoa(i)]; got != 1 {
			t.Errorf("input %d came out %d times", i, got)
		}
	}
}

func TestAFailingInvocationIsDeadLetteredAndItsNeighboursGoOn(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 1, "t/counter"))
	for i := range 100 {
		value := "1"
		if i == 50 {
			value = "not a number"
		}
		c.Broker.Produce("in", "k"+strconv.Itoa(i%3), []byte(value))
	}
	wait(t, c, "out", 99)
	letters := wait(t, c, "dead", 1)
	if len(letters) != 1 || string(letters[0].Value) != "not a number" || letters[0].Headers["weir-function"] != "t/counter" {
		t.Fatalf("dead letters %+v", letters)
	}
}

func TestARepeatedRequestGetsTheFirstAnswer(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	call := func() router.Answer {
		a, err := c.Tasks.Dispatch(t.Context(), &router.Call{Namespace: "default", Type: "t/counter", Key: []byte("ann"), Body: []byte("5"), Idempotency: "x"})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := call()
	c.Crash()
	c.Start()
	running(t, c, "job")
	second := call()
	if string(first.Body) != "5" || string(second.Body) != "5" || !second.Replayed {
		t.Fatalf("%+v, then %+v", first, second)
	}
}

func TestAVersionTakesOverAtABarrierAndStateIsKept(t *testing.T) {
	c := start(t, counter)
	c.Modules["v2"] = runtimetest.Module{{Type: "t/counter", States: []string{"n"}, Run: func(call *runtimetest.Call) error {
		call.Reply([]byte("v2 " + strconv.FormatInt(call.Int(0), 10)))
		return nil
	}}}
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "5")
	view := c.Deploy(c.Job("job", "v2", 2))
	if got := c.Call("t/counter", "ann", ""); string(got.Body) != "v2 5" || view.Restarted || view.Version != 2 {
		t.Fatalf("%+v after %+v", got, view)
	}
	if _, err := c.Jobs.Rollback(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "6" {
		t.Fatalf("after rollback %+v", got)
	}
}

func TestParallelismChangesWithARestart(t *testing.T) {
	c := start(t, chain)
	n := 0
	for _, parallelism := range []int{1, 4, 2, 3} {
		c.Deploy(c.Job("job", "v1", parallelism, "t/source"))
		for range 500 {
			c.Broker.Produce("in", "s"+strconv.Itoa(n%17), []byte(strconv.Itoa(n)))
			n++
		}
	}
	check(t, wait(t, c, "out", n), n)
}

func TestAFailedPublicationEndsTheAttemptAndIsDoneByTheNext(t *testing.T) {
	c := start(t, counter)
	failures := 3
	c.Broker.Publish = func(string, uint64) error {
		if failures--; failures >= 0 {
			return errors.New("broker says no")
		}
		return nil
	}
	c.Deploy(c.Job("job", "v1", 1, "t/counter"))
	for i := range 10 {
		c.Broker.Produce("in", "k"+strconv.Itoa(i), []byte("1"))
	}
	if got := wait(t, c, "out", 10); len(got) != 10 {
		t.Fatalf("%d records", len(got))
	}
}

func TestSIGTERMDrainsAndTheNextStartGoesOn(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "5")
	c.Stop()
	c.Start()
	running(t, c, "job")
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "6" {
		t.Fatalf("%+v", got)
	}
}

func TestAFullDiskFailsCheckpointsAndTheJobGoesOnWhenThereIsRoom(t *testing.T) {
	c := startInFiles(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "1")
	var failed atomic.Int64
	c.Fault(func(step, name string) error {
		if step == "write" && strings.Contains(name, "/data/") && failed.Add(1) <= 3 {
			return syscall.ENOSPC
		}
		return nil
	})
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "2" || failed.Load() < 4 {
		t.Fatalf("%+v after %d failures", got, failed.Load())
	}
	view, err := c.Jobs.Job(t.Context(), "job")
	if err != nil || view.Attempt != 1 {
		t.Fatalf("%+v %v", view, err)
	}
}

func TestAnUnclearManifestWriteEndsTheTermAndTheLogIsReadBack(t *testing.T) {
	for _, step := range []string{"create", "write", "ack"} {
		t.Run(step, func(t *testing.T) {
			c := start(t, counter)
			c.Deploy(c.Job("job", "v1", 2))
			c.Call("t/counter", "ann", "1")
			var failed atomic.Bool
			c.Fault(func(s, name string) error {
				if s == step && strings.Contains(name, "manifest") && !failed.Swap(true) {
					return syscall.EIO
				}
				return nil
			})
			for t.Context().Err() == nil {
				a, err := c.Tasks.Dispatch(t.Context(), &router.Call{Namespace: "default", Type: "t/counter", Key: []byte("ann"), Body: []byte("1"), Idempotency: "x"})
				if err != nil {
					t.Fatal(err)
				}
				if a.Problem == nil {
					if string(a.Body) != "2" || !failed.Load() {
						t.Fatalf("%+v", a)
					}
					break
				}
			}
			wait(t, c, "out", 2)
			if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "3" {
				t.Fatalf("%+v", got)
			}
		})
	}
}

func TestAVersionThatCannotBeLoadedIsRefusedAndChangesNothing(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	c.Modules["gone"] = counter
	bad := c.Job("job", "gone", 2)
	delete(c.Modules, "gone")
	if view, err := c.Jobs.Deploy(t.Context(), bad, jobmanager.DeployOptions{}); err == nil {
		t.Fatalf("deployed %+v", view)
	}
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "1" {
		t.Fatalf("%+v", got)
	}
	if versions, err := c.Jobs.Versions(t.Context(), "job"); err != nil || len(versions) != 1 {
		t.Fatalf("%+v %v", versions, err)
	}
}

func TestAVersionThatFailsToStartIsTakenBack(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "1")
	bad := c.Job("job", "v1", 3) // other parallelism: a restart
	bad.Modules[0].Digest = "gone"
	if view, err := c.Jobs.Deploy(t.Context(), bad, jobmanager.DeployOptions{}); err == nil {
		t.Fatalf("deployed %+v", view)
	}
	running(t, c, "job")
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "2" {
		t.Fatalf("%+v", got)
	}
}

func TestAStateThatChangesItsTypeIsRefused(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	other := c.Job("job", "v1", 2)
	d := *other.Modules[0].Description
	d.Functions = append([]functions.FunctionSpec(nil), d.Functions...)
	d.Functions[0].States = []functions.StateSpec{{Name: "n", Type: "string"}}
	other.Modules[0].Description = &d
	_, err := c.Jobs.Deploy(t.Context(), other, jobmanager.DeployOptions{})
	var problem *router.Problem
	if !errors.As(err, &problem) || problem.Type != "state-incompatible" || problem.Status != 409 {
		t.Fatalf("%v", err)
	}
}

func TestTheLifeOfAJob(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "1")
	state := func(view jobmanager.JobView, err error, want jobmanager.JobState) {
		t.Helper()
		if err != nil || view.State != want {
			t.Fatalf("%s %v, want %s", view.State, err, want)
		}
	}
	view, err := c.Jobs.Pause(t.Context(), "job")
	state(view, err, jobmanager.Suspended)
	if got := c.Call("t/counter", "ann", "1"); got.Status != 503 {
		t.Fatalf("a paused job answers %+v", got)
	}
	if _, err := c.Jobs.Resume(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	running(t, c, "job")
	if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "2" {
		t.Fatalf("%+v", got)
	}
	if err := c.Jobs.Delete(t.Context(), "job"); err == nil {
		t.Fatal("deleted a running job")
	}
	view, err = c.Jobs.Cancel(t.Context(), "job")
	state(view, err, jobmanager.Canceled)
	if _, err := c.Jobs.Restart(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	running(t, c, "job")
	view, err = c.Jobs.Stop(t.Context(), "job")
	state(view, err, jobmanager.Finished)
	c.Crash()
	c.Start()
	c.Ready()
	view, err = c.Jobs.Job(t.Context(), "job")
	state(view, err, jobmanager.Finished)
	if err := c.Jobs.Delete(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	if names, err := c.Storage.List(t.Context(), ""); err != nil || len(names) != 0 {
		t.Fatalf("left behind: %v %v", names, err)
	}
}

// damaged is a cluster that has started again on a job whose newest manifest, also returned, has a flipped bit.
func damaged(t *testing.T) (c *runtimetest.Cluster, newest string) {
	t.Helper()
	c = start(t, counter)
	c.Deploy(c.Job("job", "v1", 2))
	c.Call("t/counter", "ann", "1")
	c.Stop()
	names, err := c.Storage.List(t.Context(), "jobs/")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.Contains(n, "manifest") {
			newest = n
		}
	}
	c.Storage.Flip(newest, 100)
	c.Start()
	c.Ready()
	return c, newest
}

func TestADamagedCheckpointIsNamedAndNothingIsGuessed(t *testing.T) {
	c, newest := damaged(t)
	for t.Context().Err() == nil {
		view, err := c.Jobs.Job(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		if view.State == jobmanager.Failed {
			if !strings.Contains(view.Error, newest) {
				t.Fatalf("error %q does not name %s", view.Error, newest)
			}
			return
		}
	}
}

func TestARefusedRecordSuspendsTheJobAndIsDiverted(t *testing.T) {
	c := start(t, counter)
	var refusing atomic.Bool
	c.Broker.Refuse = func(r *router.EgressRecord) error {
		if refusing.Load() && string(r.Topic) == "out" && string(r.Key) == "bad" {
			return errors.New("policy violation")
		}
		return nil
	}
	c.Deploy(c.Job("job", "v1", 1, "t/counter"))
	refusing.Store(true)
	for _, key := range []string{"a", "bad", "b"} {
		c.Broker.Produce("in", key, []byte("1"))
	}
	view := inState(t, c, "job", jobmanager.Suspended)
	lanes, err := c.Jobs.Lanes(t.Context(), "job")
	if err != nil || len(lanes) != 1 || !strings.Contains(lanes[0].Error, "policy violation") {
		t.Fatalf("%+v: lanes %+v %v", view, lanes, err)
	}
	if _, err := c.Jobs.Divert(t.Context(), "job", lanes[0].ID); err != nil {
		t.Fatal(err)
	}
	wait(t, c, "out", 2)
	letters := wait(t, c, "dead", 1)
	if len(letters) != 1 || string(letters[0].Key) != "bad" || !strings.Contains(letters[0].Headers["weir-cause"], "policy violation") {
		t.Fatalf("%+v", letters)
	}
	if out := c.Broker.Records("out"); len(out) != 2 {
		t.Fatalf("%+v", out)
	}
}

func inState(t *testing.T, c *runtimetest.Cluster, job string, want jobmanager.JobState) jobmanager.JobView {
	t.Helper()
	for t.Context().Err() == nil {
		view, err := c.Jobs.Job(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		if view.State == want {
			return view
		}
	}
	return jobmanager.JobView{}
}
