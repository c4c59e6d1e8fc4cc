package checkpoint_test

import (
	"io"
	"testing"

	"github.com/weir-run/weir/functions"
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
	content := make([]byte, blockBytes)
	write := func(kind checkpoint.SectionKind, name string) checkpoint.FileRef {
		ref := checkpoint.FileRef{Name: name}
		err := d.Create(b.Context(), name, func(out io.Writer) error {
			w := checkpoint.NewWriter(out)
			for group := range functions.KeyGroup(groups) {
				if err := w.Section(kind, 0, group, "", content); err != nil {
					return err
				}
			}
			var err error
			ref.Length, ref.CRC, err = w.Close()
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		return ref
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
