package memory_test

import (
	"encoding/binary"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/memory"
)

// loadKeys makes the blocks of a tenth of a gigabyte, with keys of 9 bytes and values of 91: as many entries per key group
// as one of 16 tasks of a job with ten million keys has.
const loadKeys = 1_000_000

// BenchmarkLoad restores whole key groups, one after the other; an operation is one entry.
func BenchmarkLoad(b *testing.B) {
	source := memory.New(memory.Config{})
	entries := []statestore.Entry{{State: 1, Key: make([]byte, 9), Value: make([]byte, 91), Present: true}}
	for n := range uint64(loadKeys) {
		e := &entries[0]
		binary.BigEndian.PutUint64(e.Key, n)
		e.Hash = functions.Hash(e.Key)
		e.Group = functions.GroupOf(e.Hash, functions.DefaultKeyGroups)
		if err := source.Write(entries); err != nil {
			b.Fatal(err)
		}
	}
	sealed := source.Seal()
	b.ReportAllocs()
	for b.Loop() {
		target := memory.New(memory.Config{})
		for _, block := range sealed.Blocks {
			if err := target.Load(block.Group, block.Bytes); err != nil {
				b.Fatal(err)
			}
		}
		if err := target.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/loadKeys, "ns/entry")
	sealed.Release()
	if err := source.Close(); err != nil {
		b.Fatal(err)
	}
}
