package main

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestChosenRunsAlwaysHaveWeirBesideThem(t *testing.T) {
	for _, c := range []struct {
		only, delivery string
		want           string
	}{
		{"", "", "weir exactly-once auto, flink exactly-once 1000, flink exactly-once 100, kstreams exactly-once 100, statefun exactly-once 1000, " +
			"statefun exactly-once 100, weir exactly-once auto, weir at-least-once auto, flink at-least-once 1000, kstreams at-least-once 1000, statefun at-least-once 1000, weir at-least-once auto"},
		{"kstreams", "", "weir exactly-once auto, kstreams exactly-once 100, weir exactly-once auto, weir at-least-once auto, kstreams at-least-once 1000, weir at-least-once auto"},
		{"flink,kstreams", atLeastOnce, "weir at-least-once auto, flink at-least-once 1000, kstreams at-least-once 1000, weir at-least-once auto"},
		{"", exactlyOnce, "weir exactly-once auto, flink exactly-once 1000, flink exactly-once 100, kstreams exactly-once 100, statefun exactly-once 1000, " +
			"statefun exactly-once 100, weir exactly-once auto"},
	} {
		chosen, err := choose(c.only, c.delivery)
		var got []string
		for _, e := range chosen {
			got = append(got, e.System+" "+e.Delivery+" "+e.Interval)
		}
		if err != nil || strings.Join(got, ", ") != c.want {
			t.Errorf("-only %q -delivery %q: %v, %v", c.only, c.delivery, got, err)
		}
	}
}

func TestWhatIsNotInTheLineupIsRefused(t *testing.T) {
	for _, c := range []struct{ only, delivery, want string }{
		{"storm", "", `no system "storm"`},
		{"flink,", "", `no system ""`},
		{"", "at-most-once", `delivery "at-most-once": want exactly-once or at-least-once`},
	} {
		if _, err := choose(c.only, c.delivery); err == nil || err.Error() != c.want {
			t.Errorf("-only %q -delivery %q: %v, want %s", c.only, c.delivery, err, c.want)
		}
	}
}

func TestSteadyPartIsTheSecondHalfOfTheSecondPass(t *testing.T) {
	start := time.Unix(1_000, 0)
	var readings []reading
	for i := range 41 { // 100 records a second; the system takes 0.5 s of CPU for them at first, 0.25 s in the second pass
		r := reading{at: start.Add(time.Duration(i) * time.Second), done: int64(100 * i), busy: float64(i), stolen: 0.1 * float64(i), resident: 5e6}
		r.cpu = 0.5 * float64(min(i, 20))
		r.cpu += 0.25 * float64(max(0, i-20))
		readings = append(readings, r)
	}
	found, err := steady(readings, 2_000)
	if err != nil {
		t.Fatal(err)
	}
	got := *found
	got.StolenCores = math.Round(got.StolenCores*1e6) / 1e6
	want := throughput{Pass: 2_000, PerCPUSecond: 400, PerSecond: 100, Cores: 0.25, OtherCores: 0.75, StolenCores: 0.1, ResidentMB: 5, Commits: 9}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestScheduleHasTwoEqualPasses(t *testing.T) {
	start := time.Unix(1_700_000_000, 123_456_789)
	s := plan(start, 30)
	if s.total != 2*30*rate || s.of(0) != start.UnixNano() || s.from != start.Add(30*time.Second).UnixNano() || s.of(1)-s.of(0) != int64(100*time.Microsecond) {
		t.Errorf("plan %+v, second record after %d ns", s, s.of(1)-s.of(0))
	}
}

func TestQuantilesAreOfSortedValues(t *testing.T) {
	values := make([]float64, 1_000)
	for i := range values {
		values[i] = float64(i)
	}
	for q, want := range map[float64]float64{0.5: 500, 0.99: 990, 0.999: 999, 1: 999} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
}

func TestSlowSystemsDrainATenth(t *testing.T) {
	c := &contest{records: 500}
	for _, e := range lineup {
		if got, slow := c.pass(e), e.System == "statefun"; slow != (got == 50) || !slow != (got == 500) {
			t.Errorf("%s drains %d records", e.System, got)
		}
	}
}

func TestPartWithFewCommitsHasNoFigure(t *testing.T) {
	start := time.Unix(1_000, 0)
	readings := []reading{
		{at: start, done: 0}, {at: start.Add(time.Second), done: 160, cpu: 1}, {at: start.Add(2 * time.Second), done: 180, cpu: 2},
		{at: start.Add(3 * time.Second), done: 200, cpu: 3},
	}
	if got, err := steady(readings, 100); err == nil || !strings.Contains(err.Error(), "2 commits") {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFiguresShowRatiosAgainstTheMeanOfWeirWithTheSameGuarantee(t *testing.T) {
	weir := entry{System: weirName, Delivery: exactlyOnce, Interval: auto, Timed: true}
	flink := entry{System: "flink", Delivery: exactlyOnce, Interval: "100", Timed: true}
	r := report{Date: "2026-01-02", Machine: "2 x CPU", Versions: "weir 1", Records: 100, Seconds: 5, Keys: 10, Tasks: 2, Rows: []row{
		{entry: weir, Version: "1", Throughput: &throughput{PerCPUSecond: 500, PerSecond: 400, Commits: 9, Checked: 200}, Latency: &latency{P50: 8, P99: 15, Checked: 7}},
		{entry: flink, Version: "2", Throughput: &throughput{PerCPUSecond: 200, PerSecond: 1000, Commits: 8, Checked: 200}, Latency: &latency{P50: 150, P99: 300, Checked: 7}},
		{entry: entry{System: "kstreams", Delivery: exactlyOnce, Interval: "100", Timed: true}, Failed: "fetch:\n no network"},
		{entry: weir, Version: "1", Throughput: &throughput{PerCPUSecond: 700, PerSecond: 600, Commits: 9, Checked: 200}, Latency: &latency{P50: 12, P99: 25, Checked: 7}},
		{entry: entry{System: "flink", Delivery: atLeastOnce, Interval: "1000"}, Version: "2", Throughput: &throughput{PerCPUSecond: 300, PerSecond: 2000, Commits: 7, Checked: 200}},
	}}
	got := r.figures()
	for _, want := range []string{
		"| weir 1 | exactly-once | auto | 500 | 1.20 | 400 | 1.25 | 0 | 0 | 0 | 0 | 9 | 200 | 0, 0 |\n",
		"| flink 2 | exactly-once | 100 ms | 200 | 3.00 | 1000 | 0.50 | 0 | 0 | 0 | 0 | 8 | 200 | 0, 0 |\n",
		"| flink 2 | at-least-once | 1000 ms | 300 |  | 2000 |  | 0 | 0 | 0 | 0 | 7 | 200 | 0, 0 |\n", // Weir has no such row here
		"| flink 2 | exactly-once | 100 ms | 150 | 15.00 | 300 | 15.00 | 0 | 0 | 0 | 0 | 7 | 0, 0 |\n",
		"| kstreams | exactly-once | 100 ms | failed |",
		"\nkstreams, exactly-once, 100 ms: fetch: no network\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestRunIsWrittenForProgramsAndForPeople(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{resultsFile: "", documentFile: "above\n" + figuresBegin + figuresEnd} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	c := &contest{records: 100, keys: 10, tasks: 2, brokerIs: "4.1.1", versions: map[string]string{weirName: "v1"}, rows: []row{
		{entry: entry{System: weirName, Delivery: exactlyOnce, Interval: auto}, Version: "v1", Throughput: &throughput{Pass: 100, PerCPUSecond: 500, Checked: 200}},
	}}
	if err := c.write(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(resultsFile)
	if err != nil {
		t.Fatal(err)
	}
	var got report
	if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got.Rows, c.rows) || got.Records != 100 {
		t.Errorf("read back %+v, %v", got, err)
	}
	page, err := os.ReadFile(documentFile)
	if err != nil || !strings.HasPrefix(string(page), "above\n"+figuresBegin) || !strings.Contains(string(page), "| weir v1 | exactly-once | auto | 500 | 1.00 |") {
		t.Errorf("the page is %q, %v", page, err)
	}
}

func TestFiguresReplaceOnlyTheirPlace(t *testing.T) {
	page := "above\n" + figuresBegin + "old\n" + figuresEnd + "below\n"
	if got, err := replace(page, "fresh\n"); err != nil || got != "above\n"+figuresBegin+"fresh\n"+figuresEnd+"below\n" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, page := range []string{"", figuresBegin, figuresEnd, figuresEnd + figuresBegin} {
		if got, err := replace(page, "fresh\n"); err == nil {
			t.Errorf("page %q became %q", page, got)
		}
	}
}

func TestSystemThatCannotTakePartHasARowThatSaysSo(t *testing.T) {
	flink := entry{System: "flink", Delivery: exactlyOnce, Interval: "100", Timed: true}
	c := &contest{records: 100, seconds: 5, unfit: map[string]error{"flink": errors.New("fetch flink: no network")}}
	err := c.all(t.Context(), []entry{flink})
	if want := "flink, exactly-once, 100: fetch flink: no network"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if want := []row{{entry: flink, Failed: "fetch flink: no network"}}; !slices.Equal(c.rows, want) {
		t.Errorf("got %+v, want %+v", c.rows, want)
	}
}

func TestPeerWithoutSourcesCannotTakePart(t *testing.T) {
	j := &javaSystem{name: "absent", cache: t.TempDir(), dir: t.TempDir()}
	if _, err := j.prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "fetch absent") || !strings.Contains(err.Error(), "root of the repository") {
		t.Errorf("got %v", err)
	}
}

func TestFirstOutputMayTakeLongerThanAnyOther(t *testing.T) {
	if first, second := patience(0), patience(1); first != startLimit || second != stall || first <= second {
		t.Errorf("patience for the first record %v, behind it %v", first, second)
	}
}

func TestProgramEndsWithItsInput(t *testing.T) {
	p, err := launch(exec.Command("cat"), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.ended(); err != nil {
		t.Errorf("it runs: %v", err)
	}
	if err := p.stop(); err != nil || !p.cmd.ProcessState.Success() {
		t.Errorf("stop: %v, %v", err, p.cmd.ProcessState)
	}
}

func TestProgramThatEndsByItselfSaysWhy(t *testing.T) {
	p, err := launch(exec.Command("sh", "-c", "echo no such topic >&2; exit 3"), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p.gone <- <-p.gone
	if err, want := p.ended(), "the program ended by itself (exit status 3): no such topic"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestFirstErrorOfALoadIsKept(t *testing.T) {
	first := errors.New("first")
	s := newSent()
	s.done(nil, nil)
	s.done(nil, first)
	s.done(nil, errors.New("second"))
	if got := <-s.first; !errors.Is(got, first) {
		t.Errorf("got %v", got)
	}
}
