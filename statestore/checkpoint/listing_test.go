package checkpoint_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/weir-run/weir/statestore/checkpoint"
)

// torn lists as a directory does while an earlier term sweeps: what it has seen first is still there, what follows is gone.
type torn struct {
	*checkpoint.MemoryStorage
	stale []string // seen by the first listing although they are deleted by its end
}

func (s *torn) List(ctx context.Context, prefix string) ([]string, error) {
	names, err := s.MemoryStorage.List(ctx, prefix)
	names = append(names, s.stale...)
	s.stale = nil
	slices.Sort(names)
	return names, err
}

func TestAListingBesideASweepIsNotTakenForDamage(t *testing.T) {
	for name, open := range map[string]func(*checkpoint.Log) error{
		"latest": func(l *checkpoint.Log) error { m, err := l.Latest(t.Context()); return errors.Join(err, at(m, 9)) },
		"list": func(l *checkpoint.Log) error {
			numbers, err := l.List(t.Context())
			if len(numbers) != 3 {
				err = errors.Join(err, errors.New("not three manifests"))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			storage := &torn{MemoryStorage: &checkpoint.MemoryStorage{}}
			log := checkpoint.OpenLog(storage, "jobs/ab12")
			if _, err := log.Latest(t.Context()); err != nil {
				t.Fatal(err)
			}
			for number := uint64(7); number <= 9; number++ {
				if err := log.Append(t.Context(), full(number)); err != nil {
					t.Fatal(err)
				}
			}
			storage.stale = []string{"jobs/ab12/manifest-0000000000000004"} // 4 to 6 are deleted while it lists
			if err := open(checkpoint.OpenLog(storage, "jobs/ab12")); err != nil {
				t.Error(err)
			}
		})
	}
}

func at(m *checkpoint.Manifest, number uint64) error {
	if m == nil || m.Number != number {
		return errors.New("not the latest manifest")
	}
	return nil
}
