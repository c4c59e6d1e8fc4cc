package sim_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"github.com/weir-run/weir/runtime/internal/sim"
)

var (
	seedFlag       = flag.Uint64("seed", 0, "replay this seed, with every step told")
	generationFlag = flag.Int("generation", 0, "with seed: of this generation; 0 is the latest")
	workloadFlag   = flag.Uint64("workload", 0, "with seed: the inputs are those of this workload")
	fromFlag       = flag.Uint64("from", 1, "first seed")
	seedsFlag      = flag.Uint64("seeds", 200, "how many seeds")
	inputsFlag     = flag.Uint64("inputs", 5, "how many inputs are each run in several ways")
	shardFlag      = flag.Uint64("shard", 0, "which part of the seeds is run here")
	shardsFlag     = flag.Uint64("shards", 1, "in how many parts the seeds are run")
)

// variantsPerInput is in how many ways each input is run: parallelism, intervals, batches, faults.
const variantsPerInput = 10

// TestMain runs goroutines one at a time: what is left of Go's own schedule between two steps is then as good as fixed.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

// seeds yields those that are asked for.
func seeds(yield func(uint64) bool) {
	for seed := *fromFlag + *shardFlag; seed < *fromFlag+*seedsFlag; seed += *shardsFlag {
		if !yield(seed) {
			return
		}
	}
}

// simulate makes the run of a seed in a bubble of its own.
func simulate(t *testing.T, seed uint64, options sim.Options) (result *sim.Result) {
	t.Helper()
	t.Run(fmt.Sprint(seed), func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		synctest.Test(t, func(*testing.T) { result = sim.Run(seed, options) })
	})
	return result
}

// replay is the command that makes the same run again.
func replay(r *sim.Result) string {
	if r.Generation != 0 {
		return fmt.Sprintf("make sim SEED=%d GENERATION=%d", r.Seed, r.Generation)
	}
	if r.Workload != 0 {
		return fmt.Sprintf("make sim SEED=%d WORKLOAD=%d", r.Seed, r.Workload)
	}
	return fmt.Sprintf("make sim SEED=%d", r.Seed)
}

func report(t *testing.T, r *sim.Result) {
	t.Helper()
	t.Errorf("seed %d, check %q: %s\n%s\n\t%s\nreplay with: %s", r.Seed, r.Check, r.Violation, r.Plan, strings.Join(r.Last, "\n\t"), replay(r))
}

func TestSeed(t *testing.T) {
	if *seedFlag == 0 {
		return // others run the seeds
	}
	if r := simulate(t, *seedFlag, sim.Options{Log: t.Output(), Workload: *workloadFlag, Generation: *generationFlag}); !r.Good() {
		report(t, r)
	}
}

func TestNothingIsLostOrDoubledWhateverHappens(t *testing.T) {
	if *seedFlag != 0 {
		return
	}
	var runs, steps, epochs, folds, stale int
	for seed := range seeds {
		r := simulate(t, seed, sim.Options{})
		if !r.Good() {
			report(t, r)
		}
		runs++
		steps, epochs, folds, stale = steps+r.Steps, epochs+r.Epochs, folds+r.Folds, stale+r.Stale
	}
	t.Logf("%d seeds, %d steps, %d epochs, %d folds, %d late frames", runs, steps, epochs, folds, stale)
}

func TestTheSameInputsGiveTheSameStateAndOutputHoweverTheyAreRun(t *testing.T) {
	for input := uint64(1); input <= *inputsFlag; input++ {
		var first *sim.Result
		for seed := range uint64(variantsPerInput) {
			r := simulate(t, input<<16+seed, sim.Options{Workload: input})
			if !r.Good() {
				report(t, r)
				continue
			}
			if first == nil {
				first = r
			}
			if r.State != first.State || r.Output != first.Output {
				t.Errorf("inputs %d: state %x, output %x\n%s\nand state %x, output %x\n%s", input, first.State, first.Output, first.Plan, r.State, r.Output, r.Plan)
			}
		}
	}
}

func TestARunReplaysExactlyFromItsSeed(t *testing.T) {
	for seed := *fromFlag; seed < *fromFlag+20; seed++ {
		a, b := simulate(t, seed, sim.Options{}), simulate(t, seed, sim.Options{})
		if a.Trace != b.Trace || a.Steps != b.Steps {
			t.Errorf("seed %d: %d steps, trace %x; again: %d steps, trace %x", seed, a.Steps, a.Trace, b.Steps, b.Trace)
		}
	}
}
