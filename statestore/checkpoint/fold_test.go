package checkpoint_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
	"github.com/weir-run/weir/statestore/memory"
)

const foldGroups = 8

// epochs writes some epochs to a backend, each as a snapshot file, and returns the files and the backend.
func epochs(t *testing.T, storage checkpoint.Storage, n int) ([]checkpoint.FileRef, *memory.Backend) {
	t.Helper()
	backend := memory.New(memory.Config{To: foldGroups})
	t.Cleanup(func() {
		if err := backend.Close(); err != nil {
			t.Error(err)
		}
	})
	var refs []checkpoint.FileRef
	for epoch := range n {
		var entries []statestore.Entry
		for i := range 100 {
			e := entry(fmt.Sprint("key ", (i*epoch)%300), fmt.Sprint("epoch ", epoch))
			e.Present = (i+epoch)%9 != 0
			if i%11 == 0 {
				e.Expires = int64(50 * (epoch + 1))
			}
			entries = append(entries, e)
		}
		if err := backend.Write(entries); err != nil {
			t.Fatal(err)
		}
		sealed := backend.Seal()
		ref := checkpoint.FileRef{Name: fmt.Sprint("snapshot-", epoch), Number: uint64(epoch + 1)}
		err := storage.Create(t.Context(), ref.Name, func(out io.Writer) (err error) {
			w := checkpoint.NewWriter(out)
			for _, block := range sealed.Blocks {
				if err := w.Section(checkpoint.KindDelta, 0, block.Group, "", block.Bytes); err != nil {
					return err
				}
			}
			err = w.Section(checkpoint.KindMailbox, 0, 0, "", []byte("not a block"))
			if err != nil {
				return err
			}
			return w.Close(&ref)
		})
		if err != nil {
			t.Fatal(err)
		}
		sealed.Release()
		refs = append(refs, ref)
	}
	return refs, backend
}

func entry(key, value string) statestore.Entry {
	e := statestore.Entry{State: 1, Key: []byte(key), Value: []byte(value), Present: true}
	e.Hash = functions.Hash(e.Key)
	e.Group = functions.GroupOf(e.Hash, foldGroups)
	return e
}

// contents is all that is alive in a backend.
func contents(t *testing.T, backend *memory.Backend, now int64) map[string]string {
	t.Helper()
	all := map[string]string{}
	for group := range functions.KeyGroup(foldGroups) {
		err := backend.Each(group, now, func(e statestore.Entry) bool {
			all[fmt.Sprint(e.State, " ", string(e.Key))] = fmt.Sprint(string(e.Value), " until ", e.Expires)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func restored(t *testing.T, storage checkpoint.Storage, m *checkpoint.Manifest, now int64) map[string]string {
	t.Helper()
	backend := memory.New(memory.Config{To: foldGroups})
	defer backend.Close()
	if err := checkpoint.Restore(t.Context(), storage, m, 0, foldGroups, backend.Load); err != nil {
		t.Fatal(err)
	}
	return contents(t, backend, now)
}

func TestRestoreFoldAndMergeGiveTheSameState(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	deltas, backend := epochs(t, storage, 12)
	const now = 300
	want := contents(t, backend, now)
	if len(want) == 0 {
		t.Fatal("nothing to compare")
	}
	check := func(what string, m *checkpoint.Manifest) {
		t.Helper()
		if got := restored(t, storage, m, now); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d entries, want %d", what, len(got), len(want))
		}
	}
	check("deltas", &checkpoint.Manifest{Deltas: deltas})

	low, err := checkpoint.FoldFiles(t.Context(), storage, "base-low", nil, deltas[:5], 0, 3, 100)
	if err != nil {
		t.Fatal(err)
	}
	high, err := checkpoint.FoldFiles(t.Context(), storage, "base-high", nil, deltas[:5], 3, foldGroups, 100)
	if err != nil {
		t.Fatal(err)
	}
	if low.Number != 5 || high.Number != 5 {
		t.Errorf("bases of epochs %d and %d, want 5", low.Number, high.Number)
	}
	check("two bases and deltas", &checkpoint.Manifest{Bases: []checkpoint.FileRef{low, high}, Deltas: deltas[5:]})

	merged, err := checkpoint.MergeFiles(t.Context(), storage, "merged", deltas[6:11], 0, foldGroups)
	if err != nil {
		t.Fatal(err)
	}
	between := []checkpoint.FileRef{deltas[5], merged, deltas[11]}
	check("two bases and a merged delta", &checkpoint.Manifest{Bases: []checkpoint.FileRef{low, high}, Deltas: between})

	base, err := checkpoint.FoldFiles(t.Context(), storage, "base", []checkpoint.FileRef{low, high}, between, 0, foldGroups, now)
	if err != nil {
		t.Fatal(err)
	}
	check("one base", &checkpoint.Manifest{Bases: []checkpoint.FileRef{base}})
	if got := restored(t, storage, &checkpoint.Manifest{Bases: []checkpoint.FileRef{base}}, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("the base holds %d entries, %d are alive", len(got), len(want))
	}
}

func TestRestoreLoadsOnlyItsRangeAndEachGroupInOrder(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	deltas, _ := epochs(t, storage, 5)
	var mu sync.Mutex
	order := map[functions.KeyGroup][]string{}
	err := checkpoint.Restore(t.Context(), storage, &checkpoint.Manifest{Deltas: deltas}, 2, 5,
		func(group functions.KeyGroup, block []byte) error {
			mu.Lock()
			defer mu.Unlock()
			for e, err := range statestore.Entries(block) {
				if err != nil {
					return err
				}
				if e.Present {
					order[group] = append(order[group], string(e.Value))
					break
				}
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	for group, values := range order {
		if group < 2 || group >= 5 || !slices.IsSorted(values) {
			t.Errorf("key group %d: %q", group, values)
		}
	}
	if len(order) != 3 {
		t.Errorf("%d key groups", len(order))
	}
}

func TestRestoreEndsAtTheFirstError(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	deltas, _ := epochs(t, storage, 3)
	m := &checkpoint.Manifest{Number: 3, Deltas: deltas}
	full := errors.New("no room")
	err := checkpoint.Restore(t.Context(), storage, m, 0, foldGroups, func(functions.KeyGroup, []byte) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("load fails: %v", err)
	}
	storage.Flip("snapshot-1", 8*40)
	err = checkpoint.Restore(t.Context(), storage, m, 0, foldGroups, func(functions.KeyGroup, []byte) error { return nil })
	if !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("a damaged block: %v", err)
	}
}

func TestAFoldOfDamagedFilesWritesNothing(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	deltas, _ := epochs(t, storage, 3)
	storage.Flip("snapshot-1", 8*40)
	if _, err := checkpoint.FoldFiles(t.Context(), storage, "base", nil, deltas, 0, foldGroups, 0); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("fold: %v", err)
	}
	if names, _ := storage.List(t.Context(), "base"); len(names) != 0 {
		t.Errorf("left %q", names)
	}
}

func TestFoldsAndMergesAreDueBySizeAndNumber(t *testing.T) {
	refs := func(n int, length int64) (refs []checkpoint.FileRef) {
		for i := range n {
			refs = append(refs, checkpoint.FileRef{Name: fmt.Sprint(i), Length: length})
		}
		return refs
	}
	with := func(rest int64, refs []checkpoint.FileRef) []checkpoint.FileRef {
		for i := range refs {
			refs[i].Length, refs[i].Rest = refs[i].Length+rest, rest
		}
		return refs
	}
	for _, test := range []struct {
		what          string
		bases, deltas []checkpoint.FileRef
		fold          bool
		merge         int
	}{
		{"nothing", nil, nil, false, 0},
		{"small", nil, refs(2, 1000), false, 0},
		{"at the floor", nil, refs(2, 4<<20), false, 0},
		{"above the floor", nil, refs(2, 5<<20), true, 0},
		{"many small on a small base", refs(1, 1000), refs(65, 10), true, 65},
		{"many small on a large base", refs(1, 1<<30), refs(65, 10), false, 65},
		{"not yet many on a large base", refs(1, 1<<30), refs(64, 1<<20), false, 0},
		{"half of a large base", refs(1, 1<<30), refs(64, 9<<20), true, 0},
		{"a large merged one stays", refs(1, 1<<30), append(refs(1, 100<<20), refs(64, 1000)...), false, 64},
		{"below the floor, and much output", nil, with(10<<20, refs(10, 100)), false, 0},
		{"half of a base with its output, and not without", refs(1, 100<<20), with(10<<20, refs(10, 1<<20)), false, 0},
		{"too much output", nil, append(refs(1, 4<<20), with(10<<20, refs(26, 10_000))...), false, 26},
		{"much output with more state", refs(1, 1<<30), with(10<<20, refs(30, 12<<20)), false, 0},
		{"a comparable merged one joins", refs(1, 1<<30), append(refs(1, 100_000), refs(64, 1000)...), false, 65},
	} {
		m := &checkpoint.Manifest{Bases: test.bases, Deltas: test.deltas}
		if got := checkpoint.FoldNeeded(m); got != test.fold {
			t.Errorf("%s: fold needed %v", test.what, got)
		}
		if got := checkpoint.MergeNeeded(m, 0); len(got) != test.merge {
			t.Errorf("%s: %d deltas to merge, want %d", test.what, len(got), test.merge)
		}
	}
}
