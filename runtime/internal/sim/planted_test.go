//go:build planted

package sim_test

import (
	"flag"
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
	kept := map[string]bool{}
	for _, f := range foundSeeds(t) {
		kept[f.Bug] = true
	}
	for bug := planted.None + 1; int(bug) < len(planted.Names); bug++ {
		if kept[bug.String()] {
			continue // its own seed finds it
		}
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
	if len(told)+len(kept) != len(planted.Names)-1 {
		t.Errorf("the table in docs/reliability.md has %d bugs, testdata/found.json %d, and %d can be planted", len(told), len(kept), len(planted.Names)-1)
	}
}

// TestEverySeedThatFoundABugFindsItAgain puts each bug back for its seed. A change of what the platform does, and in which
// steps, makes another run of a seed: one that does not find its bug any more proves nothing, and another has to be found.
func TestEverySeedThatFoundABugFindsItAgain(t *testing.T) {
	for _, f := range foundSeeds(t) {
		t.Run(f.Bug, func(t *testing.T) {
			planted.Plant(planted.Bug(slices.Index(planted.Names, f.Bug)))
			defer planted.Plant(planted.None)
			seed := f.Seed
			if *searchFlag {
				seed = search(t, f)
			}
			if r := simulate(t, seed, sim.Options{Generation: f.Generation}); r.Check != f.Check {
				t.Errorf("seed %d of generation %d: check %q %s; %q found it. For another: make sim SEARCH=1", f.Seed, f.Generation, r.Check, r.Violation, f.Check)
			}
		})
	}
}

var searchFlag = flag.Bool("search", false, "look for a seed, among those that are asked for, that finds each bug of testdata/found.json")

// search is the first seed that finds a bug by the check that is known to.
func search(t *testing.T, f found) uint64 {
	t.Helper()
	for seed := range seeds {
		if r := simulate(t, seed, sim.Options{Generation: f.Generation}); r.Check == f.Check {
			t.Logf("seed %d of generation %d: check %q: %s", seed, f.Generation, r.Check, r.Violation)
			return seed
		}
	}
	return f.Seed
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
