//go:build planted

package sim_test

import (
	"slices"
	"testing"

	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/sim"
)

// plantedSeeds is within how many seeds, of those that CI runs, a planted bug has to be found.
const plantedSeeds = 1000

func TestEveryPlantedBugIsFoundByAGeneralCheck(t *testing.T) {
	for bug := planted.None + 1; int(bug) < len(planted.Names); bug++ {
		t.Run(bug.String(), func(t *testing.T) {
			planted.Plant(bug)
			defer planted.Plant(planted.None)
			for seed := uint64(1); seed <= plantedSeeds; seed++ {
				if r := simulate(t, seed, sim.Options{}); !r.Good() {
					t.Logf("seed %d, check %q: %s", seed, r.Check, r.Violation)
					return
				}
			}
			t.Errorf("not found by the first %d seeds", plantedSeeds)
		})
	}
}

var _ = slices.Contains[[]string]
