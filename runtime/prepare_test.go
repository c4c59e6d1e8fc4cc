package runtime_test

import (
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
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
