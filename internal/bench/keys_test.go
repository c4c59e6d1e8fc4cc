package main

import (
	"math"
	"strings"
	"testing"
)

// shares draws keys and tells which part of the draws each had.
func shares(t *testing.T, draws int, next func() []byte) map[string]float64 {
	t.Helper()
	found := map[string]float64{}
	for range draws {
		found[string(next())] += 1 / float64(draws)
	}
	return found
}

func TestSourcesOfKeysHaveTheSkewTheyPromise(t *testing.T) {
	const keys, draws = 1000, 50_000
	harmonic := 0.0
	for k := 1.0; k <= keys; k++ {
		harmonic += math.Pow(k, -zipfExponent)
	}
	for name, c := range map[string]struct {
		next       func() []byte
		first      float64 // share of key 0
		hundredth  float64 // share of key 99
		howMany    int
		sameAsEver func() []byte
	}{
		"uniform": {uniform(keys), 1.0 / keys, 1.0 / keys, keys, uniform(keys)},
		"zipf":    {zipf(keys), 1 / harmonic, math.Pow(100, -zipfExponent) / harmonic, keys, zipf(keys)},
		"hot":     {hot(keys), hotPart / 10.0, (1 - hotPart/10.0) / (keys - 1), keys, hot(keys)},
		"same":    {same, 1, 0, 1, same},
	} {
		found := shares(t, draws, c.next)
		for key, want := range map[string]float64{"k00000000": c.first, "k00000099": c.hundredth} {
			// Five standard deviations of a share; the draws are the same in every run.
			if margin := 5 * math.Sqrt(want*(1-want)/draws); math.Abs(found[key]-want) > margin+1e-9 {
				t.Errorf("%s: %s has a share of %v, want %v", name, key, found[key], want)
			}
		}
		if len(found) > c.howMany || len(found) < c.howMany*9/10 {
			t.Errorf("%s: %d keys, want about %d", name, len(found), c.howMany)
		}
		again := shares(t, draws, c.sameAsEver)
		for key, share := range found {
			if again[key] != share {
				t.Fatalf("%s: another run gives key %s a share of %v, not %v", name, key, again[key], share)
			}
		}
	}
}

func TestSequenceGivesEveryKeyOnceWithItsDigits(t *testing.T) {
	next := sequence(smallKeyDigits)
	for i := range uint64(1000) {
		key := next()
		if n, err := number(key); err != nil || n != i || len(key) != 1+smallKeyDigits {
			t.Fatalf("key %d is %q: number %d, error %v", i, key, n, err)
		}
	}
}

func TestSameCountsFindsWhatIsLostOrDoubled(t *testing.T) {
	const keys = 4
	for _, c := range []struct {
		got  []uint64
		want string
	}{
		{[]uint64{3, 3, 2, 2}, ""},
		{[]uint64{3, 3, 1, 2}, "key k00000002 was sent 2 times and counted 1 times"},
		{[]uint64{4, 3, 2, 2}, "key k00000000 was sent 3 times and counted 4 times"},
	} {
		at := -1
		turns := func() []byte { at++; return name(uint64(at % keys)) }
		err := sameCounts(turns, 10, c.got)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%v: got %v, want %q", c.got, err, c.want)
		}
	}
}
