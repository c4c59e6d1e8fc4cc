package memory_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/memory"
	"github.com/weir-run/weir/statestore/statestoretest"
)

func TestMemoryMeetsTheContract(t *testing.T) {
	statestoretest.Run(t, func(*testing.T) statestore.Backend {
		return memory.New(memory.Config{To: statestoretest.Groups})
	})
}

func open(t *testing.T, cfg memory.Config) *memory.Backend {
	b := memory.New(cfg)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func entry(key, value string) statestore.Entry {
	e := statestore.Entry{State: 1, Key: []byte(key), Value: []byte(value), Present: true}
	e.Hash = functions.Hash(e.Key)
	e.Group = functions.GroupOf(e.Hash, functions.DefaultKeyGroups)
	return e
}

func write(t *testing.T, b *memory.Backend, entries ...statestore.Entry) {
	t.Helper()
	if err := b.Write(entries); err != nil {
		t.Fatal(err)
	}
}

func value(t *testing.T, b *memory.Backend, key string) string {
	t.Helper()
	entries := []statestore.Entry{entry(key, "")}
	if err := b.Read(1, entries); err != nil {
		t.Fatal(err)
	}
	if !entries[0].Present {
		return "-"
	}
	return string(entries[0].Value)
}

func TestAnEmptyBackendTakesNothingAndAnIdleOneLittle(t *testing.T) {
	b := open(t, memory.Config{})
	if got := b.Stats(); got != (statestore.Stats{}) {
		t.Errorf("empty: %+v", got)
	}
	for i := range 1000 { // some in every key group
		write(t, b, entry(fmt.Sprint(i), "1"))
	}
	b.Seal().Release()
	if got := b.Stats(); got.Keys != 1000 || got.Bytes > 512<<10 || got.DeltaBytes != 0 {
		t.Errorf("with 1000 keys: %+v", got)
	}
}

func TestASmallKeyTakesAtMost60Bytes(t *testing.T) {
	b := open(t, memory.Config{})
	entries := make([]statestore.Entry, batch)
	for i := range entries {
		entries[i] = statestore.Entry{State: 1, Key: make([]byte, 16), Value: make([]byte, 8), Present: true}
	}
	worst := 0.0
	for n := 0; n < 1_750_000; n += batch {
		for i := range entries {
			setKey(&entries[i], uint64(n+i))
		}
		write(t, b, entries...)
		if n%(1<<14) == 0 {
			b.Seal().Release()
			if n > 1_000_000 { // from where what is mapped ahead does not count; growth doubles every index on the way
				worst = max(worst, float64(b.Stats().Bytes)/float64(n))
			}
		}
	}
	t.Logf("up to %.1f bytes per key", worst)
	if worst > 60 {
		t.Errorf("up to %.1f bytes per key", worst)
	}
}

func TestReadAndWriteDoNotAllocate(t *testing.T) {
	b := open(t, memory.Config{})
	entries := fill(t, b, 10_000)
	for name, run := range map[string]func() error{
		"read":  func() error { return b.Read(1, entries) },
		"write": func() error { return b.Write(entries) },
	} {
		if allocs := testing.AllocsPerRun(100, func() {
			if err := run(); err != nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("%s: %v allocations a batch", name, allocs)
		}
	}
}

func TestBeyondItsLimitABackendIsFull(t *testing.T) {
	b := open(t, memory.Config{MaxBytes: 1 << 20})
	var err error
	n := 0
	for ; err == nil && n < 1_000_000; n++ {
		err = b.Write([]statestore.Entry{entry(fmt.Sprintf("%016d", n), "12345678")})
	}
	if !errors.Is(err, statestore.ErrFull) {
		t.Fatalf("after %d keys: %v", n, err)
	}
	if got := b.Stats().Bytes; got > 1<<20 || n < 5000 {
		t.Errorf("%d bytes for %d keys", got, n)
	}
}

func TestAKeyGroupOfAnotherTaskIsRefused(t *testing.T) {
	b := open(t, memory.Config{From: 4, To: 8})
	for group, fine := range map[functions.KeyGroup]bool{0: false, 3: false, 4: true, 7: true, 8: false, 32767: false} {
		e := entry("ann", "1")
		e.Group = group
		block := statestore.NewBlockWriter(group, nil)
		block.Add(&e)
		for call, err := range map[string]error{
			"load":  b.Load(group, block.Bytes()),
			"read":  b.Read(1, []statestore.Entry{e}),
			"write": b.Write([]statestore.Entry{e}),
			"each":  b.Each(group, 1, func(statestore.Entry) bool { return true }),
		} {
			if (err == nil) != fine {
				t.Errorf("%s of key group %d: %v", call, group, err)
			}
		}
	}
}

func TestKeysChosenToCollideMakeTheTableReseed(t *testing.T) {
	b := open(t, memory.Config{})
	var keys []string
	for i := 0; len(keys) < 3000; i++ {
		key := fmt.Sprint("chosen ", i)
		if functions.Hash([]byte(key))>>54 == 0 { // alike where an index looks first
			keys = append(keys, key)
		}
	}
	put := func(key string) {
		e := entry(key, key)
		e.Group = 3
		write(t, b, e)
	}
	for _, key := range keys {
		put(key)
	}
	if n := b.Reseeded(); n != 1 {
		t.Fatalf("%d tables have a seed", n)
	}
	b.Seal().Release()
	for i, key := range keys {
		e := []statestore.Entry{entry(key, "")}
		e[0].Group = 3
		if i%2 == 0 {
			e[0].Present = false
			write(t, b, e...)
		}
		if err := b.Read(1, e); err != nil || e[0].Present != (i%2 == 1) || e[0].Present && string(e[0].Value) != key {
			t.Fatalf("%s reads %q, present %v, error %v", key, e[0].Value, e[0].Present, err)
		}
	}
}

func TestMarksStartAgainWithoutMixingRecords(t *testing.T) {
	b := open(t, memory.Config{})
	for i := range 100 {
		write(t, b, entry(fmt.Sprint(i), "before"))
	}
	b.Seal().Release()
	b.RestartMarks()
	for i := range 100 {
		write(t, b, entry(fmt.Sprint(i), fmt.Sprint("after ", i%10)), entry(fmt.Sprint(i), "the last"))
	}
	sealed := b.Seal()
	defer sealed.Release()
	n := 0
	for _, block := range sealed.Blocks {
		for e, err := range statestore.Entries(block.Bytes) {
			if err != nil || string(e.Value) != "the last" {
				t.Fatalf("%s is %q, error %v", e.Key, e.Value, err)
			}
			n++
		}
	}
	if n != 100 {
		t.Errorf("%d entries sealed", n)
	}
}

func TestExpiredEntriesAreReclaimedAsOthersCome(t *testing.T) {
	b := open(t, memory.Config{})
	if err := b.Read(0, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 100_000 {
		now := int64(i)
		if err := b.Read(now, nil); err != nil {
			t.Fatal(err)
		}
		e := entry(fmt.Sprint(i), "1")
		e.Expires = now + 1000
		write(t, b, e)
		if i%100 == 0 {
			b.Seal().Release()
		}
	}
	if keys := b.Stats().Keys; keys > 20_000 {
		t.Errorf("%d entries are kept, 1000 are alive", keys)
	}
	if got := value(t, b, "99999"); got != "1" {
		t.Errorf("one alive reads %q", got)
	}
}

// Each history leaves few bytes alive, and would take many times the limit if it left others behind.
func TestMemoryIsUsedAgain(t *testing.T) {
	const key = "a key that several states share"
	put := func(b *memory.Backend, state uint16, key string, size int) {
		e := entry(key, strings.Repeat("v", max(size, 0)))
		e.State, e.Group = state, 3
		if e.Present = size >= 0; !e.Present {
			e.Value = nil
		}
		write(t, b, e)
	}
	for name, test := range map[string]struct {
		limit int64
		run   func(b *memory.Backend, round int)
	}{
		"values that all grow": {8 << 20, func(b *memory.Backend, round int) {
			for i := range 1000 {
				put(b, uint16(i%3), fmt.Sprint(key, i/3), 20*round)
			}
		}},
		"keys that come and go": {4 << 20, func(b *memory.Backend, round int) {
			for i := range 1000 {
				put(b, uint16(i%3), fmt.Sprint(key, round, i/3), 100)
				put(b, uint16(i%3), fmt.Sprint(key, round-1, i/3), -1)
			}
		}},
		"large values that change": {8 << 20, func(b *memory.Backend, round int) {
			put(b, 1, key, 100_000+round*10_000)
			put(b, 2, key, 40_000)
			put(b, 2, key, round%2*50_000)
		}},
		"large values that go": {32 << 20, func(b *memory.Backend, round int) {
			size := -1
			if round < 3 {
				size = 1 << 20
			}
			for i := range 40 {
				put(b, 1, fmt.Sprint(i), size)
			}
		}},
	} {
		b := open(t, memory.Config{})
		twin := statestoretest.NewTwin()
		for round := range 60 {
			test.run(b, round)
			sealed := b.Seal()
			for _, block := range sealed.Blocks {
				if err := twin.Load(block.Group, block.Bytes); err != nil {
					t.Fatal(err)
				}
			}
			sealed.Release()
		}
		if got := b.Stats().Bytes; got > test.limit {
			t.Errorf("%s: %d bytes", name, got)
		}
		if got, want := b.Stats().Keys, twin.Stats().Keys; got != want {
			t.Errorf("%s: %d keys, want %d", name, got, want)
		}
		if err := twin.Each(3, 1, func(want statestore.Entry) bool {
			got := []statestore.Entry{want}
			if err := b.Read(1, got); err != nil || !got[0].Present || string(got[0].Value) != string(want.Value) {
				t.Errorf("%s: %s of state %d is %d bytes, present %v, error %v", name, want.Key, want.State, len(got[0].Value), got[0].Present, err)
			}
			return !t.Failed()
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASealedEpochIsWhatWasWrittenHoweverOftenItChanged(t *testing.T) {
	b := open(t, memory.Config{})
	for i := range 3000 { // voids outweigh the rest many times over
		write(t, b, entry("hot", strings.Repeat("v", i%700)), entry("cold", "1"))
	}
	sealed := b.Seal()
	defer sealed.Release()
	total := 0
	for _, block := range sealed.Blocks {
		total += len(block.Bytes)
	}
	if total > 256<<10 {
		t.Errorf("%d bytes sealed for two keys", total)
	}
}
