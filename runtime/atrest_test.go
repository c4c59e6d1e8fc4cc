package runtime_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
)

// explained checks a refusal by its type and by words of its detail.
func explained(t *testing.T, p *router.Problem, kind string, words ...string) {
	t.Helper()
	if p == nil || p.Type != kind {
		t.Errorf("%+v, want %s", p, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(p.Detail, word) {
			t.Errorf("%q is not in %q", word, p.Detail)
		}
	}
}

func TestAReadThatWaitsForACommitSaysHowLongTheIntervalIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, counter)
		job := c.Job("job", "v1", 1)
		job.Checkpoints.Interval = time.Hour
		c.Deploy(job)
		name, _ := functions.ParseTypeName("t/counter")
		var p *router.Problem
		if _, err := c.Jobs.State(t.Context(), "job", name, "ann"); !errors.As(err, &p) {
			t.Fatal(err)
		}
		explained(t, p, "no-commit", "runs", "10s", "1h0m0s")
	})
}

func TestACallOfAJobAtRestSaysHowToStartIt(t *testing.T) {
	c := start(t, counter)
	c.Deploy(c.Job("job", "v1", 1))
	call := func() *router.Problem {
		t.Helper()
		answer, err := c.Jobs.Dispatch(c.Tasks.Dispatch)(t.Context(), &router.Call{Namespace: "default", Type: "t/counter", Key: []byte("ann"), Body: []byte("1")})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Problem
	}
	if p := call(); p != nil {
		t.Fatal(p)
	}
	if _, err := c.Jobs.Pause(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	explained(t, call(), "job-at-rest", "weir resume job")
	c.Stop()
	c.Start()
	c.Ready()
	inState(t, c, "job", jobmanager.Suspended)
	explained(t, call(), "job-at-rest", "weir resume job")
	if _, err := c.Jobs.Resume(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	running(t, c, "job")
	if p := call(); p != nil {
		t.Fatal(p)
	}
	if _, err := c.Jobs.Cancel(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	explained(t, call(), "job-at-rest", "canceled", "weir restart job")
}
