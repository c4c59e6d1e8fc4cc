//go:build planted

package sim_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/sim"
)

// plantedSeeds is within how many seeds, of those that CI runs, each planted bug is found; plantedFinds is how many finds
// are looked at, since several checks may find one bug, and which is first depends on the seed.
const (
	plantedSeeds = 1000
	plantedFinds = 5
)

// TestEveryPlantedBugIsFoundByAGeneralCheck also compares what found it with the table of docs/reliability.md.
func TestEveryPlantedBugIsFoundByAGeneralCheck(t *testing.T) {
	told := toldChecks(t)
	for bug := planted.None + 1; int(bug) < len(planted.Names); bug++ {
		t.Run(bug.String(), func(t *testing.T) {
			planted.Plant(bug)
			defer planted.Plant(planted.None)
			var finds []string
			for seed := uint64(1); seed <= plantedSeeds && len(finds) < plantedFinds && !slices.Contains(finds, told[bug.String()]); seed++ {
				if r := simulate(t, seed, sim.Options{}); !r.Good() {
					finds = append(finds, r.Check)
					t.Logf("seed %d, check %q: %s", seed, r.Check, r.Violation)
				}
			}
			if !slices.Contains(finds, told[bug.String()]) {
				t.Errorf("found by the checks %q; the table in docs/reliability.md says %q", finds, told[bug.String()])
			}
		})
	}
	if len(told) != len(planted.Names)-1 {
		t.Errorf("the table in docs/reliability.md has %d bugs, and %d can be planted", len(told), len(planted.Names)-1)
	}
}

// toldChecks reads the table of planted bugs: rows of bug, check, and what the check says.
func toldChecks(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| planted bug | found by |")
	if !found {
		t.Fatal("docs/reliability.md has no table of planted bugs")
	}
	checks := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 4 {
			if len(checks) > 0 {
				break
			}
			continue
		}
		if bug := strings.TrimSpace(cells[1]); slices.Contains(planted.Names, bug) {
			checks[bug] = strings.Trim(cells[2], " `")
		}
	}
	return checks
}
