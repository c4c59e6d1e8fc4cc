package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func counted(key string, n byte) uint64 {
	v := make([]byte, valueBytes)
	v[15] = n
	return pair(&kgo.Record{Key: []byte(key), Value: v})
}

func TestExactFindsWhatIsLostOrDoubled(t *testing.T) {
	const a, b = "k00000001", "k00000002"
	for name, c := range map[string]struct {
		pairs   []uint64
		fromOne bool
		want    string
	}{
		"whole":             {[]uint64{counted(a, 2), counted(b, 1), counted(a, 1)}, true, ""},
		"first lost":        {[]uint64{counted(a, 2), counted(a, 3)}, true, "lost 1, doubled 0"},
		"from the middle":   {[]uint64{counted(a, 2), counted(a, 3)}, false, ""},
		"middle lost":       {[]uint64{counted(a, 1), counted(a, 4), counted(b, 1)}, true, "lost 2, doubled 0"},
		"doubled":           {[]uint64{counted(a, 1), counted(a, 1), counted(a, 2)}, true, "lost 0, doubled 1"},
		"never counted":     {[]uint64{counted(a, 0)}, true, "without a count"},
		"key is no number":  {[]uint64{counted("kx", 1)}, true, "without a count"},
		"nothing came back": {nil, true, ""},
	} {
		err := exact(c.pairs, c.fromOne)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestScheduleFindsTheRecordOfATime(t *testing.T) {
	s := schedule{start: 1_700_000_000_123_456_789, total: 100_000, rate: latencyRate}
	for _, i := range []int64{0, 1, 2, 3, 49_999, 99_999} {
		if got := s.index(s.of(i)); got != i {
			t.Errorf("index(of(%d)) = %d", i, got)
		}
	}
	for _, strange := range []int64{0, s.start - 1, s.of(5) + 1, s.of(100_000)} {
		if got := s.index(strange); got != -1 {
			t.Errorf("index(%d) = %d, want -1", strange, got)
		}
	}
}

func TestQuantileOfNothingIsNoNumber(t *testing.T) {
	var none timing
	if got := none.quantile(0.5); !math.IsNaN(got) {
		t.Errorf("got %v", got)
	}
	some := timing{millis: []float64{1, 2, 3, 4}}
	if p50, p100 := some.quantile(0.5), some.quantile(1); p50 != 3 || p100 != 4 {
		t.Errorf("p50 %v, max %v", p50, p100)
	}
}

func TestVerdictComparesWithTheTarget(t *testing.T) {
	for _, c := range []struct {
		value          float64
		target, expect string
	}{{59, "<= 60", "met"}, {61, "<= 60", "missed"}, {5e6, ">= 5000000", "met"}, {4e6, ">= 5000000", "missed"}, {1, "", ""}} {
		if got := (result{Value: c.value, Target: c.target}).verdict(); got != c.expect {
			t.Errorf("%v against %q: %q, want %q", c.value, c.target, got, c.expect)
		}
	}
}

func TestSteadyPartLeavesStartAndDrainOut(t *testing.T) {
	points := []point{{done: 0}, {done: 50}, {done: 520}, {done: 900}, {done: 960}, {done: 1000, at: time.Unix(1, 0)}}
	if from, to := at(points, steadyFrom), at(points, steadyTo); from.done != 520 || to.done != 960 {
		t.Errorf("from %d to %d", from.done, to.done)
	}
}
