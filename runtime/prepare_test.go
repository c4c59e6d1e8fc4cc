package runtime_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/runtimetest"
)

// TestOutboxesArePreparedAheadOfTheirCommit lets a file of an epoch fail, too: its outbox joins the next one's, and what is
// published is what was prepared last.
func TestOutboxesArePreparedAheadOfTheirCommit(t *testing.T) {
	c := startInFiles(t, counter)
	var mu sync.Mutex
	prepared, published, tries := map[uint64]int{}, map[uint64]int{}, 0
	c.Broker.Prepared = func(_ string, number uint64) {
		mu.Lock()
		defer mu.Unlock()
		prepared[number]++
		tries++
	}
	c.Broker.Publish = func(_ string, number uint64) error {
		mu.Lock()
		defer mu.Unlock()
		published[number] = prepared[number]
		return nil
	}
	c.Deploy(c.Job("job", "v1", 1))
	var once sync.Once
	c.Fault(func(step, name string) (err error) {
		if strings.Contains(name, "/data/") {
			once.Do(func() { err = errors.New("full") })
		}
		return err
	})
	const calls = 5
	for i := range calls {
		if got := c.Call("t/counter", "ann", "1"); got.Status != 200 {
			t.Fatalf("call %d: %+v", i, got)
		}
	}
	for deadline := time.Now().Add(time.Minute); c.Broker.Count("out") < calls; {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d records are out", c.Broker.Count("out"), calls)
		}
	}
	for i, r := range c.Broker.Records("out") {
		if string(r.Value) != strconv.Itoa(i+1) {
			t.Errorf("record %d is %q", i, r.Value)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for number, n := range published {
		if number > 0 && n == 0 {
			t.Errorf("outbox %d was published and not prepared", number)
		}
	}
	if tries <= len(published) {
		t.Errorf("%d outboxes were prepared and %d published: the failed epoch's is not among them", tries, len(published))
	}
}

// held runs a job on a storage that hangs at the file of an epoch whose outbox is prepared, until it is let go.
func held(t *testing.T) (c *runtimetest.Cluster, prepared, discarded chan struct{}, letGo func()) {
	c = startInFiles(t, counter)
	prepared, discarded = make(chan struct{}, 100), make(chan struct{}, 100)
	c.Broker.Prepared = func(string, uint64) { prepared <- struct{}{} }
	c.Broker.Discarded = func(string) { discarded <- struct{}{} }
	c.Deploy(c.Job("job", "v1", 1))
	hang := make(chan struct{})
	c.Fault(func(_, name string) error {
		if strings.Contains(name, "/data/") {
			<-hang
		}
		return nil
	})
	letGo = sync.OnceFunc(func() { close(hang) })
	t.Cleanup(letGo)
	return c, prepared, discarded, letGo
}

// await waits for up to a minute of the bubble's clock.
func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatalf("no outbox was %s", what)
	}
}

// TestWhatIsPreparedDoesNotWaitForAStorageThatHangs runs in a bubble, whose clock moves on only when all else stands.
func TestWhatIsPreparedDoesNotWaitForAStorageThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, prepared, discarded, letGo := held(t)
		answered := make(chan router.Answer, 1)
		go func() { answered <- c.Call("t/counter", "ann", "1") }()
		await(t, "prepared", prepared)
		await(t, "discarded", discarded)
		letGo()
		if got := <-answered; got.Status != 200 {
			t.Errorf("call: %+v", got)
		}
		synctest.Wait()
		if n := c.Broker.Count("out"); n != 1 {
			t.Errorf("%d records are out, want 1", n)
		}
		c.Stop()
	})
}

func TestAnAttemptThatEndsGivesUpWhatIsPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, prepared, discarded, letGo := held(t)
		began := time.Now()
		go c.Call("t/counter", "ann", "1")
		await(t, "prepared", prepared)
		ended := make(chan error, 1)
		go func() {
			_, err := c.Jobs.Cancel(t.Context(), "job")
			ended <- err
		}()
		await(t, "discarded", discarded)
		if waited := time.Since(began); waited >= time.Second/2 {
			t.Errorf("it was given up after %v, for its age", waited)
		}
		letGo()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := c.Broker.Count("out"); n != 0 {
			t.Errorf("%d records of an undecided epoch are out", n)
		}
		c.Stop()
	})
}

// TestNoLaneWaitsForItsTurnToRecover has lanes that go on only when all have begun, as those do whose predecessors left
// transactions open in one partition of markers.
func TestNoLaneWaitsForItsTurnToRecover(t *testing.T) {
	const lanes = 16
	synctest.Test(t, func(t *testing.T) {
		c := startInFiles(t, counter)
		var begun atomic.Int32
		all := make(chan struct{})
		c.Broker.Recovering = func(string) {
			if begun.Add(1) == lanes {
				close(all)
			}
			select {
			case <-all:
			case <-t.Context().Done():
			}
		}
		c.Deploy(c.Job("job", "v1", lanes))
		select {
		case <-all:
		case <-time.After(time.Minute):
			t.Errorf("%d lanes have begun and wait for the other %d", begun.Load(), lanes-begun.Load())
		}
	})
}
