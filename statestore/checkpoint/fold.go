package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/statestore"
)

const (
	// foldFloorBytes keeps a small job from folding all the time. To replay as much takes some 50 ms.
	foldFloorBytes = 8 << 20
	// maxDeltas is how many delta files a manifest names before the latest are joined: a restore opens them all.
	maxDeltas = 64
	// smallBaseBytes is up to where a fold costs no more than joining deltas does.
	smallBaseBytes = 4 << 20
	// maxRest is how much of other kind, output above all, deltas may hold that were files of an epoch, which takes disk and no
	// time of a restore: then they are joined, which leaves it out.
	maxRest = 256 << 20
	// mergeShare is how much larger than all later ones together a delta may be to be joined with them. So every entry
	// is copied once per factor of its delta's size, not once per join.
	mergeShare = 2
	// restShare is how long a fold rests per time it works: it takes a sixteenth of a core at most. When changes come faster
	// than that, deltas grow longer, and a fold of longer deltas costs less per change.
	restShare = 15
	// hurryShare is restShare of a join, and when deltas are longer than hurryDeltas times the bases: a restore reads them all.
	hurryShare  = 3
	hurryDeltas = 2
)

// restFor is how long a fold of these files into one of a kind rests per time it works. A join is short, and until it is done
// manifests repeat what it joins.
func restFor(kind SectionKind, bases, deltas []FileRef) time.Duration {
	if kind == KindDelta || blocks(deltas...) > hurryDeltas*blocks(bases...)+foldFloorBytes {
		return hurryShare
	}
	return restShare
}

// deltasLimit is maxDeltas, but for builds whose short runs are to reach it.
func deltasLimit() int { return planted.Limit(maxDeltas, 4) }

// blocks is how many bytes of state files hold: what a restore reads of them.
func blocks(refs ...FileRef) (sum int64) {
	for _, ref := range refs {
		sum += ref.Length - ref.Rest
	}
	return sum
}

// FoldNeeded tells that m's deltas exceed half of its bases, so that replaying them would make a restore slow; or that
// they are too many and the bases are small.
func FoldNeeded(m *Manifest) bool {
	base := blocks(m.Bases...)
	return blocks(m.Deltas...) > max(base/2, foldFloorBytes) || len(m.Deltas) > deltasLimit() && base <= int64(planted.Limit(smallBaseBytes, 1<<10))
}

// MergeNeeded returns the latest of m's deltas, in their order, to be joined into one by MergeFiles; nil while a
// manifest names few enough, they hold little else, and it holds few enough of their bytes itself. The bases stay: at 100 epochs a second folding them all the time would cost more than
// everything else. The first folding deltas are in a fold that is under way, and are left alone.
func MergeNeeded(m *Manifest, folding int) []FileRef {
	deltas := m.Deltas[folding:]
	from := len(deltas)
	if from > deltasLimit() {
		from -= deltasLimit() / 2
	}
	if m.inlineBytes(deltas) > maxInlineDeltas {
		first := slices.IndexFunc(deltas, func(ref FileRef) bool { return m.Inline[ref.Name] != nil })
		from = min(from, first)
	}
	from = min(from, laden(deltas))
	if from == len(deltas) {
		return nil
	}
	sum := blocks(deltas[from:]...)
	for from > 0 && blocks(deltas[from-1]) <= mergeShare*sum {
		from--
		sum += blocks(deltas[from])
	}
	return deltas[from:]
}

// laden is the first of deltas with more of other kind than of state, when such hold more than maxRest of it, and else their
// number.
func laden(deltas []FileRef) int {
	first, rest := len(deltas), int64(0)
	for i, ref := range slices.Backward(deltas) {
		if ref.Rest > ref.Length/2 {
			first, rest = i, rest+ref.Rest
		}
	}
	if rest > maxRest {
		return first
	}
	return len(deltas)
}

// FoldFiles writes the base file name for the key groups [from, to): the bases, which may lack some, and on them the
// deltas in their order, without what is deleted or expired at now (unix ms). It holds one key group in memory. The
// result's Number is the highest of its arguments'.
func FoldFiles(ctx context.Context, storage Storage, name string, bases, deltas []FileRef, from, to functions.KeyGroup,
	now int64) (FileRef, error) {
	return joinFiles(ctx, storage, name, KindBase, bases, deltas, from, to, func(base, deltas [][]byte) ([]byte, error) {
		return statestore.Fold(now, nil, append(base, deltas...)...)
	})
}

// MergeFiles joins deltas, in their order, into the delta file name, for the key groups [from, to). Deletes stay.
func MergeFiles(ctx context.Context, storage Storage, name string, deltas []FileRef, from, to functions.KeyGroup) (FileRef, error) {
	return joinFiles(ctx, storage, name, KindDelta, nil, deltas, from, to, func(_, deltas [][]byte) ([]byte, error) {
		return statestore.Merge(deltas...)
	})
}

func joinFiles(ctx context.Context, storage Storage, name string, kind SectionKind, bases, deltas []FileRef,
	from, to functions.KeyGroup, join func(bases, deltas [][]byte) ([]byte, error)) (FileRef, error) {
	ref := FileRef{Name: name}
	for _, input := range append(append([]FileRef(nil), bases...), deltas...) {
		ref.Number = max(ref.Number, input.Number)
	}
	share := restFor(kind, bases, deltas)
	source, err := openBlocks(ctx, storage, bases, deltas)
	if err != nil {
		return FileRef{}, fmt.Errorf("fold into %s: %w", name, err)
	}
	err = storage.Create(ctx, name, func(out io.Writer) error {
		w := NewWriter(out)
		for group := int(from); group < int(to); group++ {
			started := time.Now()
			block, err := source.join(functions.KeyGroup(group), join)
			if err != nil {
				return err
			}
			if block == nil {
				continue
			}
			if err := w.Section(kind, 0, functions.KeyGroup(group), "", block); err != nil {
				return err
			}
			if err := rest(ctx, share*time.Since(started)); err != nil {
				return err
			}
		}
		return w.Close(&ref)
	})
	if err = errors.Join(err, source.close()); err != nil {
		return FileRef{}, fmt.Errorf("fold into %s: %w", name, err)
	}
	return ref, nil
}

// rest pauses between key groups, so that a fold stays in the background.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// blockFiles are open files and where the blocks of each key group are in them, in the order to be applied.
type blockFiles struct {
	open   []*Snapshot
	memory [][]byte // of the blocks that join read, used again for the next key group: BenchmarkFold pays for it
	bases  map[functions.KeyGroup][]blockPlace
	deltas map[functions.KeyGroup][]blockPlace
}

type blockPlace struct {
	file    *Snapshot
	section Section
}

func openBlocks(ctx context.Context, storage Storage, bases, deltas []FileRef) (*blockFiles, error) {
	f := &blockFiles{bases: map[functions.KeyGroup][]blockPlace{}, deltas: map[functions.KeyGroup][]blockPlace{}}
	add := func(refs []FileRef, kind SectionKind, places map[functions.KeyGroup][]blockPlace) error {
		for _, ref := range refs {
			s, err := OpenSnapshot(ctx, storage, ref)
			if err != nil {
				return err
			}
			f.open = append(f.open, s)
			for _, section := range s.Sections() {
				if section.Kind == kind {
					places[section.Group] = append(places[section.Group], blockPlace{s, section})
				}
			}
		}
		return nil
	}
	if err := errors.Join(add(bases, KindBase, f.bases), add(deltas, KindDelta, f.deltas)); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *blockFiles) close() error {
	var errs []error
	for _, s := range f.open {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// join reads a key group's blocks and joins them; nil when it has none, or nothing is left. The result is valid until the
// next call.
func (f *blockFiles) join(group functions.KeyGroup, join func(bases, deltas [][]byte) ([]byte, error)) ([]byte, error) {
	places := slices.Concat(f.bases[group], f.deltas[group])
	for i, p := range places {
		if i == len(f.memory) {
			f.memory = append(f.memory, nil)
		}
		var err error
		if f.memory[i], err = p.file.readInto(f.memory[i], p.section); err != nil {
			return nil, err
		}
	}
	bases := len(f.bases[group])
	block, err := join(f.memory[:bases:bases], f.memory[bases:len(places)])
	if err != nil {
		return nil, fmt.Errorf("key group %d: %w", group, err)
	}
	if len(block) <= statestore.BlockHeaderBytes {
		return nil, nil
	}
	return block, nil
}
