package checkpoint_test

import (
	"errors"
	"fmt"
	"io"
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

func TestOfTwoPausedCoordinatorsNeitherTakesTheOthersManifestForItsOwn(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	first, _ := begin(t, storage)
	reign(t, first, 1, 1, 3)
	second, _ := begin(t, storage)
	reign(t, second, 2, 4, 4)
	leader, _ := begin(t, storage)
	reign(t, leader, 3, 5, 12)
	// The first writes where the second's last one was, and stops before it looks; the second finds something there.
	put(t, storage, &checkpoint.Manifest{Number: 4, Term: 1, Format: 1})
	if err := second.Append(t.Context(), &checkpoint.Manifest{Number: 5, Term: 2}); !errors.Is(err, checkpoint.ErrExists) {
		t.Errorf("append behind another's manifest: %v", err)
	}
	next, latest := begin(t, storage)
	if latest.Number != 12 || latest.Term != 3 {
		t.Errorf("latest %+v", latest)
	}
	reign(t, next, 4, 13, 14)
	if numbers, err := next.List(t.Context()); err != nil || !slices.Equal(numbers, []uint64{13, 14}) {
		t.Errorf("kept %v, %v", numbers, err)
	}
}

// put writes a manifest as a coordinator does that stops right behind it.
func put(t *testing.T, storage checkpoint.Storage, m *checkpoint.Manifest) {
	t.Helper()
	b, err := checkpoint.EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("jobs/ab12/manifest-%016d", m.Number)
	if err := storage.Create(t.Context(), name, func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
		t.Fatal(err)
	}
}
