package growth_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/internal/e2e/growth"
)

// steady are samples of two lives, the second of which begins in the middle.
func steady(n int) []growth.Sample {
	samples := make([]growth.Sample, n)
	for i := range samples {
		samples[i] = growth.Sample{
			At: time.Duration(i) * 10 * time.Second, Life: 1 + 2*i/n, Steady: true,
			Memory: 200 << 20, Goroutines: 150, Files: 90, Disk: 60 << 20,
		}
	}
	return samples
}

func grown(t *testing.T, samples []growth.Sample) string {
	t.Helper()
	findings, err := growth.Judge(samples)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range findings {
		if f.Grew {
			names = append(names, f.Figure)
		}
	}
	return strings.Join(names, "; ")
}

func TestGrowthIsFoundAndOnlyGrowth(t *testing.T) {
	for name, c := range map[string]struct {
		change func(i, n int, s *growth.Sample)
		want   string
	}{
		"steady":                   {func(int, int, *growth.Sample) {}, ""},
		"memory leaks":             {func(i, _ int, s *growth.Sample) { s.Memory += int64(i) << 23 }, "memory, MB"},
		"goroutines leak":          {func(i, _ int, s *growth.Sample) { s.Goroutines += 4 * int64(i) }, "goroutines"},
		"files leak":               {func(i, _ int, s *growth.Sample) { s.Files += 4 * int64(i) }, "open files"},
		"disk fills":               {func(i, _ int, s *growth.Sample) { s.Disk += int64(i) << 19 }, "disk, MB"},
		"disk fills in one life":   {func(i, n int, s *growth.Sample) { s.Disk += int64(min(i, n/2)) << 21 }, "disk, MB"},
		"a process was small once": {func(i, n int, s *growth.Sample) { s.Memory >>= 3 * (1 - i*2/n) }, ""},
		"memory has peaks":         {func(i, _ int, s *growth.Sample) { s.Memory <<= 2 * max(0, i%4-2) }, ""},
		"one last sample is high":  {func(i, n int, s *growth.Sample) { s.Memory <<= 4 * ((i + 1) / n) }, ""},
		"little becomes more":      {func(i, _ int, s *growth.Sample) { s.Memory, s.Files, s.Disk = int64(i)<<20, int64(i)/2, int64(i)<<18 }, ""},
		"a backlog takes more": {func(i, n int, s *growth.Sample) {
			if i > n*6/10 && i%10 > 2 {
				s.Steady, s.Memory, s.Disk = false, 4*s.Memory, 4*s.Disk
			}
		}, ""},
		"a fifth more":            {func(i, n int, s *growth.Sample) { s.Memory += 39 << 20 * int64(i*5/n/4) }, ""},
		"a little more than that": {func(i, n int, s *growth.Sample) { s.Memory += 41 << 20 * int64(i*5/n/4) }, "memory, MB"},
	} {
		t.Run(name, func(t *testing.T) {
			samples := steady(100)
			for i := range samples {
				c.change(i, len(samples), &samples[i])
			}
			if got := grown(t, samples); got != c.want {
				t.Errorf("grown: %q, want %q", got, c.want)
			}
		})
	}
}

func TestTooFewSamplesAreNotJudged(t *testing.T) {
	if _, err := growth.Judge(steady(9)); err == nil {
		t.Error("a life of four samples is judged")
	}
	if _, err := growth.Judge(nil); err == nil {
		t.Error("nothing is judged")
	}
	unsteady := steady(100)
	for i := range unsteady {
		unsteady[i].Steady = i < 54
	}
	if _, err := growth.Judge(unsteady); err == nil {
		t.Error("a life of four steady samples is judged")
	}
	if got := grown(t, steady(10)); got != "" {
		t.Errorf("grown: %q", got)
	}
}

func TestTheTableHasTheFirstAndTheLastSampleAndIsShort(t *testing.T) {
	samples := steady(500)
	findings, err := growth.Judge(samples)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{500, 20, 1} {
		var b bytes.Buffer
		if err := growth.Write(&b, findings, samples[:n]); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if rows := len(lines) - 9; rows != min(20, n) {
			t.Errorf("%d rows of %d samples:\n%s", rows, n, b.String())
		}
		if last := "| " + samples[n-1].At.String(); !strings.HasPrefix(lines[9-1+min(20, n)], last) || !strings.HasPrefix(lines[9], "| 0s | 1 | 200 |") {
			t.Errorf("%d samples:\n%s", n, b.String())
		}
	}
}
