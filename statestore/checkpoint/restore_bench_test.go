package checkpoint_test

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// BenchmarkRestore reads 128 MiB of blocks, a base and three deltas, from a directory, and loads them into nothing. It also
// tells the CPU time of the process.
func BenchmarkRestore(b *testing.B) {
	const groups, blockBytes = 128, 256 << 10
	d, err := checkpoint.Directory(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	content := func(functions.KeyGroup) []byte { return make([]byte, blockBytes) }
	write := func(kind checkpoint.SectionKind, name string) checkpoint.FileRef {
		return writeBlocks(b, d, kind, name, groups, content)
	}
	m := &checkpoint.Manifest{Bases: []checkpoint.FileRef{write(checkpoint.KindBase, "base")}}
	for _, name := range []string{"one", "two", "three"} {
		m.Deltas = append(m.Deltas, write(checkpoint.KindDelta, name))
	}
	b.ReportAllocs()
	b.SetBytes(4 * groups * blockBytes)
	before, n := cpuTime(b), 0
	for b.Loop() {
		n++
		if err := checkpoint.Restore(b.Context(), d, m, 0, groups, func(functions.KeyGroup, []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(n), "cpu-ns/op")
}

// writeBlocks writes a file with a block of every key group.
func writeBlocks(b *testing.B, storage checkpoint.Storage, kind checkpoint.SectionKind, name string, groups functions.KeyGroup,
	content func(functions.KeyGroup) []byte) checkpoint.FileRef {
	ref := checkpoint.FileRef{Name: name}
	err := storage.Create(b.Context(), name, func(out io.Writer) error {
		w := checkpoint.NewWriter(out)
		for group := range groups {
			if err := w.Section(kind, 0, group, "", content(group)); err != nil {
				return err
			}
		}
		return w.Close(&ref)
	})
	if err != nil {
		b.Fatal(err)
	}
	return ref
}

// BenchmarkFold folds 32 MiB in entries of 100 bytes, a base and a delta of the same keys. It rests most of the time: what
// counts are the CPU time of the process and what it allocates.
func BenchmarkFold(b *testing.B) {
	const groups, entries = 16, 10_000
	d, err := checkpoint.Directory(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	content := func(group functions.KeyGroup) []byte {
		w := statestore.NewBlockWriter(group, nil)
		e := statestore.Entry{State: 1, Key: make([]byte, 9), Value: make([]byte, 91), Present: true}
		for n := range uint64(entries) {
			binary.BigEndian.PutUint64(e.Key, n)
			w.Add(&e)
		}
		return w.Bytes()
	}
	bases := []checkpoint.FileRef{writeBlocks(b, d, checkpoint.KindBase, "base", groups, content)}
	deltas := []checkpoint.FileRef{writeBlocks(b, d, checkpoint.KindDelta, "delta", groups, content)}
	b.ReportAllocs()
	before, n := cpuTime(b), 0
	for b.Loop() {
		n++
		if _, err := checkpoint.FoldFiles(b.Context(), d, "folded", bases, deltas, 0, groups, 0); err != nil {
			b.Fatal(err)
		}
		if err := d.Delete(b.Context(), "folded"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(n), "cpu-ns/op")
}
