package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCallsAreRunForWhoAnswersThem(t *testing.T) {
	for _, c := range []struct {
		only, delivery string
		want           []string
		counting       bool
	}{
		{"", "", []string{"weir", "restate", "weir"}, true},
		{"restate", "", []string{"weir", "restate", "weir"}, false},
		{"flink", "", nil, true},
		{"flink,restate", exactlyOnce, []string{"weir", "restate", "weir"}, true},
		{"restate", atLeastOnce, nil, false},
		{"weir", "", []string{"weir", "weir"}, true},
	} {
		got := chooseCalls(c.only, c.delivery)
		entries, err := choose(c.only, c.delivery)
		if err != nil || !slices.Equal(got, c.want) || (len(entries) > 0) != c.counting {
			t.Errorf("-only %q -delivery %q: calls of %v, %d entries, %v", c.only, c.delivery, got, len(entries), err)
		}
	}
}

// tallying is a system that answers, in this process; from the lossy-th call on it forgets what it added.
type tallying struct {
	lossy int
	*httptest.Server

	mu    sync.Mutex // guards what follows
	calls int
	sums  map[string]int64
}

func (s *tallying) prepare(context.Context) (string, error) { return "1", nil }

func (s *tallying) serve(context.Context, string, int) (callee, error) {
	s.sums = map[string]int64{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		add, bad := strconv.ParseInt(string(body), 10, 64)
		if err != nil || bad != nil {
			http.Error(w, "no number", http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.calls++
		answer := s.sums[r.URL.Path] + add
		if s.lossy == 0 || s.calls < s.lossy {
			s.sums[r.URL.Path] = answer
		}
		fmt.Fprint(w, answer)
	}))
	return s, nil
}

func (s *tallying) url(key string) string { return s.URL + "/" + key }
func (s *tallying) pids() []int           { return []int{os.Getpid(), os.Getppid()} }
func (s *tallying) ended() error          { return nil }
func (s *tallying) stop() error           { s.Close(); return nil }

func TestPassOfCallsIsMeasuredAndChecked(t *testing.T) {
	s := &tallying{}
	if _, err := s.serve(t.Context(), "", 1); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := (&contest{seconds: 1}).callsOf(t.Context(), s, 4)
	var sum int64
	for _, n := range s.sums {
		sum += n
	}
	if err != nil || r.Connections != 4 || r.Checked != sum || r.Calls <= 0 || r.Calls >= sum || r.PerSecond <= 0 || r.P50 > r.P99 {
		t.Errorf("%+v of %d calls, %v", r, sum, err)
	}
	lossy := &tallying{lossy: 100}
	if _, err := lossy.serve(t.Context(), "", 1); err != nil {
		t.Fatal(err)
	}
	defer lossy.Close()
	if r, err := (&contest{seconds: 1}).callsOf(t.Context(), lossy, 1); err == nil || !strings.Contains(err.Error(), "should be") {
		t.Errorf("calls were lost, and there is a row %+v, %v", r, err)
	}
}

func TestUsageOfAPassIsSplitByProcess(t *testing.T) {
	start := time.Unix(1_000, 0)
	before := []reading{{at: start, cpu: 1, busy: 10}, {at: start, cpu: 5, busy: 10}}
	after := []reading{{at: start.Add(2 * time.Second), cpu: 3, busy: 14, resident: 3e6}, {at: start.Add(2 * time.Second), cpu: 6, busy: 14, resident: 4e6}}
	got := measured(before, after, []float64{1, 2, 3, 4})
	if want := (callRow{PerSecond: 2, P50: 3, P99: 4, SystemCPU: 500, FunctionCPU: 250, OtherCores: 0.5, ResidentMB: 7, Calls: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCallFiguresShowRatiosAgainstTheMeanOfWeirWithAsManyConnections(t *testing.T) {
	r := report{Seconds: 8, Calls: []callRow{
		{System: weirName, Version: "1", Connections: 64, PerSecond: 800, P50: 1, P99: 2, SystemCPU: 0.125, Calls: 9, Checked: 10},
		{System: weirName, Version: "1", Connections: 1, PerSecond: 9, P50: 9, P99: 9, SystemCPU: 9, Calls: 9, Checked: 10},
		{System: restateName, Version: "2", Connections: 64, PerSecond: 500, P50: 4, P99: 8, SystemCPU: 0.5, FunctionCPU: 0.25, Calls: 7, Checked: 8},
		{System: restateName, Connections: 1, Failed: "fetch:\n no network"},
		{System: weirName, Version: "1", Connections: 64, PerSecond: 1200, P50: 3, P99: 6, SystemCPU: 0.375, Calls: 9, Checked: 10},
	}}
	got := r.figures()
	for _, want := range []string{
		"1000 keys, a pass of 8 s behind 2 s that warm up",
		"| weir 1 | 64 | 800 | 1.25 | 1 | 0.50 | 2 | 0.50 | 0.125 | in it | 0.50 | 0 | 0 | 9 | 10 | 0, 0 |\n",
		"| restate 2 | 64 | 500 | 2.00 | 4 | 2.00 | 8 | 2.00 | 0.5 | 0.25 | 3.00 | 0 | 0 | 7 | 8 | 0, 0 |\n",
		"| restate | 1 | failed |",
		"\nrestate, calls, connections: 1: fetch: no network\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestSystemThatCannotAnswerHasRowsThatSaySo(t *testing.T) {
	c := &contest{seconds: 1, unfit: map[string]error{restateName: errors.New("npm: no network")}}
	if err := c.call(t.Context(), []string{restateName}); err == nil || err.Error() != "restate, calls: npm: no network" {
		t.Errorf("got %v", err)
	}
	if want := []callRow{
		{System: restateName, Connections: 1, Failed: "npm: no network"}, {System: restateName, Connections: 64, Failed: "npm: no network"},
	}; !slices.Equal(c.callRows, want) {
		t.Errorf("got %+v, want %+v", c.callRows, want)
	}
}

func TestRestateThatCannotBeFetchedSaysWhy(t *testing.T) {
	t.Chdir(t.TempDir())
	r := &restateSystem{cache: t.TempDir()}
	if _, err := r.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "root of the repository") {
		t.Errorf("without sources: %v", err)
	}
	source := filepath.Join(sources, restateName)
	if err := os.MkdirAll(source, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		if err := os.WriteFile(filepath.Join(source, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := r.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "fetch restate: npm: ") {
		t.Errorf("without npm: %v", err)
	}
}

func TestSettingsOfTheUserAreLeftOut(t *testing.T) {
	got := without([]string{"A=1", "RESTATE_BIND_IP=0.0.0.0", "B=RESTATE_"}, "RESTATE_")
	if want := []string{"A=1", "B=RESTATE_"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(4)
	slices.Sort(ports)
	if err != nil || len(slices.Compact(ports)) != 4 {
		t.Errorf("ports %v, %v", ports, err)
	}
}
