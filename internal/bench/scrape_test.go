package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parsed reads what /metrics serves.
func parsed(t *testing.T, text string) series {
	t.Helper()
	s := series{}
	for line := range strings.Lines(text) {
		if err := s.add(strings.TrimSuffix(line, "\n")); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestSumAddsUpWhatHasTheNameAndEveryLabel(t *testing.T) {
	s := parsed(t, `# HELP in Records.
# TYPE in counter
in{job_name="a",task="0"} 3
in{job_name="a",task="1"} 4.5e+01
in{job_name="b",task="0"} 1000

in_all{job_name="a"} 7
bare 2
`)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"in", nil, 1048}, {"in", []string{`job_name="a"`}, 48}, {"in", []string{`job_name="a"`, `task="0"`}, 3},
		{"bare", nil, 2}, {"bare", []string{`task="0"`}, 0}, {"out", nil, 0},
	} {
		if got := s.sum(c.name, c.labels...); got != c.want {
			t.Errorf("sum of %s with %q is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
}

func TestALineWithoutAValueIsRefused(t *testing.T) {
	for _, line := range []string{"in", `in{task="0"}`, `in{task="0"} many`} {
		if err := (series{}).add(line); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
}

func TestQuantileLooksAtWhatCameBetweenTwoLooks(t *testing.T) {
	const before = `took_bucket{phase="seal",le="1"} 100
took_bucket{phase="seal",le="2"} 100
took_bucket{phase="seal",le="5"} 100
took_bucket{phase="seal",le="+Inf"} 100
`
	const after = `took_bucket{phase="seal",le="+Inf"} 300
took_bucket{phase="seal",le="1"} 200
took_bucket{phase="seal",le="5"} 298
took_bucket{phase="seal",le="2"} 280
took_bucket{phase="total",le="1"} 0
took_bucket{phase="total",le="+Inf"} 9000
took_count{phase="seal"} 300
`
	earlier, later := parsed(t, before), parsed(t, after)
	for q, want := range map[float64]float64{0.25: 0.5, 0.5: 1, 0.7: 1.5, 0.99: 5} {
		if got := quantile(q, earlier, later, "took", `phase="seal"`); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	for name, got := range map[string]float64{
		"beyond the last bound": quantile(0.999, earlier, later, "took", `phase="seal"`),
		"of no values":          quantile(0.5, later, later, "took", `phase="seal"`),
		"of no histogram":       quantile(0.5, earlier, later, "gave"),
	} {
		if !math.IsNaN(got) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestFilesBytesAddsUpATree(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"x": 10, "a/y": 200, "a/b/z": 3000} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]float64{dir: 3210, filepath.Join(dir, "gone"): 0} {
		if got, err := filesBytes(name); err != nil || got != want {
			t.Errorf("%v bytes and error %v, want %v", got, err, want)
		}
	}
}
