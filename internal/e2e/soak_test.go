package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/internal/e2e/growth"
)

func TestASoakDealsEveryBlowAndLeavesTheServerAliveInTheSecondHalf(t *testing.T) {
	for _, d := range []time.Duration{shortestSoak, 5 * time.Minute, 10 * time.Minute, time.Hour} {
		for seed := range uint64(50) {
			s := &soaked{blows: map[string]int{}}
			last, longest := time.Duration(0), time.Duration(0)
			for _, b := range soakPlan(d, rand.New(rand.NewPCG(seed, 2))) {
				s.blows[b.kind]++
				if b.at < last || b.at > time.Duration(lastBlow*float64(d)) {
					t.Errorf("%v, seed %d: a blow at %v after one at %v", d, seed, b.at, last)
				}
				if deadly := slices.Contains(killers, b.kind); deadly != b.worker || deadly && b.at > d/2 {
					t.Errorf("%v, seed %d: %+v", d, seed, b)
				}
				last, longest = b.at, max(longest, b.stop)
			}
			if err := s.enough(); err != nil {
				t.Errorf("%v, seed %d: %v", d, seed, err)
			}
			if long := d >= longStopFrom; long != (longest == longStop) {
				t.Errorf("%v, seed %d: the longest stop is %v", d, seed, longest)
			}
		}
	}
}

func TestASoakIsTheSameForASeed(t *testing.T) {
	plan := func(seed uint64) []blow { return soakPlan(time.Hour, rand.New(rand.NewPCG(seed, 2))) }
	if !slices.Equal(plan(3), plan(3)) {
		t.Error("one seed makes two plans")
	}
	if slices.Equal(plan(3), plan(4)) {
		t.Error("two seeds make one plan")
	}
}

func TestASoakWithoutAKindOfBlowProvesNothing(t *testing.T) {
	for _, missing := range slices.Concat(killers, mild) {
		s := &soaked{blows: map[string]int{}}
		for _, kind := range slices.Concat(killers, mild) {
			s.blows[kind] = 1
		}
		delete(s.blows, missing)
		if err := s.enough(); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

func TestMetricsAreReadByName(t *testing.T) {
	got := parseMetrics([]byte(`# HELP go_goroutine_count Goroutines. 7
# TYPE go_goroutine_count gauge
go_goroutine_count{otel_scope_name="a b"} 12
process_memory_usage_bytes 1.5e+06
weir_task_held_bytes{task="0"} 3
weir_task_held_bytes{task="1"} 4
`))
	for name, want := range map[string]int64{
		"go_goroutine_count": 12, "process_memory_usage_bytes": 1_500_000, "weir_task_held_bytes": 7, "#": 0,
	} {
		if got[name] != want {
			t.Errorf("%s is %d, want %d", name, got[name], want)
		}
	}
}

func TestTheSizeOfAFolderIsThatOfItsFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, size := range map[string]int{"x": 10, "a/y": 200, "a/b/z": 3000} {
		if err := os.WriteFile(filepath.Join(dir, path), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := bytesUnder(dir); n != 3210 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := bytesUnder(filepath.Join(dir, "gone")); n != 0 || err != nil {
		t.Errorf("of a folder that is gone: %d, %v", n, err)
	}
}

func TestTheReportSaysWhatFailed(t *testing.T) {
	w := &world{options: &options{soak: time.Hour, seed: 7, rate: 300, kafka: "4.1.1"}}
	s := &soaked{tally: tally{workerKills: 5}, blows: map[string]int{killBoth: 3}, samples: make([]growth.Sample, 1)}
	s.verdict.Lost = 2
	text, err := w.soakText(s, nil, errBad)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"DURATION=1h0m0s", "seed 7", "It **failed**: the history is bad.", "soak: worker kills 5, broker kills 0, records 0, lost 2, doubled 0",
		"| kill weir and the broker | 3 |", "| kill the broker | 0 |",
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%q is not in the report:\n%s", want, text)
		}
	}
}
