package checkpoint_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/weir-run/weir/statestore/checkpoint"
)

// reign appends the manifests from..to of a term, and sweeps all but the newest two.
func reign(t *testing.T, log *checkpoint.Log, term, from, to uint64) {
	t.Helper()
	for number := from; number <= to; number++ {
		if err := log.Append(t.Context(), &checkpoint.Manifest{Number: number, Term: term}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Sweep(t.Context(), 2, func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
}

func TestACoordinatorWhoseNextNumberWasSweptMeanwhileHasLostItsTerm(t *testing.T) {
	for what, written := range map[string]uint64{"it has written": 3, "it has written nothing": 0} {
		storage := &checkpoint.MemoryStorage{}
		paused, _ := begin(t, storage)
		if written > 0 {
			reign(t, paused, 1, 1, written)
		}
		leader, _ := begin(t, storage)
		reign(t, leader, 2, written+1, written+6)
		late := &checkpoint.Manifest{Number: written + 1, Term: 1}
		if err := paused.Append(t.Context(), late); !errors.Is(err, checkpoint.ErrExists) {
			t.Errorf("%s: append of a swept number: %v", what, err)
		}
		next, latest := begin(t, storage)
		if latest.Number != written+6 || latest.Term != 2 {
			t.Errorf("%s: latest %+v", what, latest)
		}
		reign(t, next, 3, written+7, written+8)
		if numbers, err := next.List(t.Context()); err != nil || !slices.Equal(numbers, []uint64{written + 7, written + 8}) {
			t.Errorf("%s: kept %v, %v", what, numbers, err)
		}
		if names, err := storage.List(t.Context(), "jobs/ab12/manifest-"); err != nil || len(names) != 2 {
			t.Errorf("%s: left %v, %v", what, names, err)
		}
	}
}
