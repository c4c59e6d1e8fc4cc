package memory_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/memory"
)

const batch = 64

// fill writes n keys of 16 bytes with values of 8, and gives entries to reuse.
func fill(b testing.TB, backend *memory.Backend, n int) []statestore.Entry {
	entries := make([]statestore.Entry, batch)
	for i := range entries {
		entries[i] = statestore.Entry{State: 1, Key: make([]byte, 16), Value: make([]byte, 8), Present: true}
	}
	for at := 0; at < n; at += batch {
		for i := range entries {
			setKey(&entries[i], uint64(at+i))
		}
		if err := backend.Write(entries); err != nil {
			b.Fatal(err)
		}
		if at%(1<<16) == 0 {
			backend.Seal().Release()
		}
	}
	backend.Seal().Release()
	return entries
}

func setKey(e *statestore.Entry, n uint64) {
	binary.BigEndian.PutUint64(e.Key, n*0x9E3779B97F4A7C15)
	binary.BigEndian.PutUint64(e.Key[8:], n)
	e.Hash = functions.Hash(e.Key)
	e.Group = functions.GroupOf(e.Hash, functions.DefaultKeyGroups)
}

// benchmark runs one operation on batches of random keys; an operation is one entry, the making of its key included
// (BenchmarkKey).
func benchmark(b *testing.B, keys int, run func(*memory.Backend, []statestore.Entry) error) {
	backend := memory.New(memory.Config{})
	defer backend.Close()
	entries := fill(b, backend, keys)
	n := uint64(1)
	runtime.GC()
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		for i := range entries {
			n = n*6364136223846793005 + 1442695040888963407
			setKey(&entries[i], (n>>20)%uint64(keys))
		}
		if err := run(backend, entries); err != nil {
			b.Fatal(err)
		}
		if done%(1<<17) == 0 {
			backend.Seal().Release()
		}
	}
	b.ReportMetric(float64(backend.Stats().Bytes)/float64(keys), "B/key")
}

func BenchmarkUpdate10k(b *testing.B) { benchmark(b, 10_000, (*memory.Backend).Write) }
func BenchmarkUpdate10M(b *testing.B) { benchmark(b, 10_000_000, (*memory.Backend).Write) }
func BenchmarkRead10M(b *testing.B) {
	benchmark(b, 10_000_000, func(backend *memory.Backend, entries []statestore.Entry) error {
		return backend.Read(1, entries)
	})
}

// BenchmarkTurn1M is what a task does with a batch: it reads the states of its keys, and writes them.
func BenchmarkTurn1M(b *testing.B) {
	writes := make([]statestore.Entry, batch)
	benchmark(b, 1_000_000, func(backend *memory.Backend, entries []statestore.Entry) error {
		if err := backend.Read(1, entries); err != nil {
			return err
		}
		for i, e := range entries {
			e.Value = binary.LittleEndian.AppendUint64(writes[i].Value[:0], binary.LittleEndian.Uint64(e.Value)+1)
			writes[i] = e
		}
		return backend.Write(writes)
	})
}

func BenchmarkKey(b *testing.B) {
	e, n := statestore.Entry{Key: make([]byte, 16)}, uint64(1)
	for range b.N {
		n = n*6364136223846793005 + 1442695040888963407
		setKey(&e, (n>>20)%10_000_000)
	}
}
