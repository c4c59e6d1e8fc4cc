package sim_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/sim"
)

// found is a seed that has found a bug, as testdata/found.json keeps it.
type found struct {
	Seed       uint64
	Generation int
	Bug        string // among planted.Names: the bug can be put back
	Check      string // that finds it
	Was        string // what was wrong
	Since      string // where it was mended, or how the seed was found
}

func foundSeeds(t *testing.T) []found {
	t.Helper()
	text, err := os.ReadFile("testdata/found.json")
	if err != nil {
		t.Fatal(err)
	}
	var kept []found
	if err := json.Unmarshal(text, &kept); err != nil {
		t.Fatal(err)
	}
	return kept
}

// TestEverySeedThatFoundABugIsRun runs them whatever seeds are asked for.
func TestEverySeedThatFoundABugIsRun(t *testing.T) {
	if *seedFlag != 0 {
		return
	}
	for _, kept := range foundSeeds(t) {
		if kept.Seed == 0 || kept.Generation == 0 || !slices.Contains(planted.Names, kept.Bug) {
			t.Errorf("an entry has no seed, no generation or no bug that can be planted: %+v", kept)
		}
		if r := simulate(t, kept.Seed, sim.Options{Generation: kept.Generation}); !r.Good() {
			report(t, r)
		}
	}
}
