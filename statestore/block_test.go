package statestore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
)

func entry(state uint16, key, value string, expires int64) statestore.Entry {
	return statestore.Entry{Group: 5, State: state, Hash: functions.Hash([]byte(key)), Key: []byte(key), Value: []byte(value),
		Present: true, Expires: expires}
}

func deleted(state uint16, key string) statestore.Entry {
	return statestore.Entry{Group: 5, State: state, Hash: functions.Hash([]byte(key)), Key: []byte(key)}
}

var sample = []statestore.Entry{
	entry(1, "ann", "\x07\x00\x00\x00\x00\x00\x00\x00", 0),
	entry(2, "ann", "a longer value", 1_795_000_000_000),
	deleted(65535, "bob"),
	entry(0, "", "", 0),
	entry(3, "early", "v", -1),
}

func encode(entries []statestore.Entry) []byte {
	w := statestore.NewBlockWriter(5, nil)
	for i := range entries {
		w.Add(&entries[i])
	}
	return w.Bytes()
}

func decode(block []byte) (entries []statestore.Entry, err error) {
	for e, err := range statestore.Entries(block) {
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func TestABlockReadsBackAsItWasWritten(t *testing.T) {
	block := encode(sample)
	got, err := decode(block)
	if err != nil || !reflect.DeepEqual(got, sample) {
		t.Fatalf("%+v, error %v", got, err)
	}
	if group, count, err := statestore.ReadBlockHeader(block); group != 5 || count != len(sample) || err != nil {
		t.Errorf("key group %d, %d entries, error %v", group, count, err)
	}
	if got, err := decode(encode(nil)); len(got) != 0 || err != nil {
		t.Errorf("an empty block: %v, error %v", got, err)
	}
}

func TestTheBlockFormatIsThatOfVersion1(t *testing.T) {
	want, err := os.ReadFile("testdata/block-v1")
	if err != nil {
		t.Fatal(err)
	}
	if got := encode(sample); !bytes.Equal(got, want) {
		t.Errorf("what is written is not the format of version 1 any more:\n%q\n%q", got, want)
	}
}

func TestVoidEntriesAreLeftOut(t *testing.T) {
	block := encode(sample)
	second := statestore.BlockHeaderBytes + statestore.EntryLen(block[statestore.BlockHeaderBytes:])
	statestore.VoidEntry(block[second:])
	statestore.PutBlockHeader(block, 5, len(sample)-1)
	got, err := decode(block)
	if want := append(sample[:1:1], sample[2:]...); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, error %v", got, err)
	}
}

func TestABlockThatIsNotWholeIsErrBlock(t *testing.T) {
	whole := encode(sample)
	for size := range whole {
		if _, err := decode(whole[:size]); !errors.Is(err, statestore.ErrBlock) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	change := func(at int, value byte) []byte {
		b := bytes.Clone(whole)
		b[at] = value
		return b
	}
	entryAt := statestore.BlockHeaderBytes
	for what, block := range map[string][]byte{
		"another magic":              change(0, 'X'),
		"a later version":            change(4, 2),
		"a reserved byte":            change(5, 1),
		"too few entries":            change(8, 6),
		"too many entries":           change(8, 4),
		"a count beyond all bytes":   change(13, 1),
		"another length":             change(16, 0),
		"a key beyond the block":     change(entryAt+3, 0x7f),
		"a key above the limit":      change(entryAt+3, 0xff),
		"a value above the limit":    change(entryAt+7, 0x1f),
		"a delete with a value":      change(entryAt+7, 0x80),
		"an expiry that is not here": change(entryAt+7, 0x40),
		"a byte at the end":          append(bytes.Clone(whole), 0),
	} {
		if _, err := decode(block); !errors.Is(err, statestore.ErrBlock) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestFoldKeepsTheNewestThatIsAlive(t *testing.T) {
	base := encode([]statestore.Entry{entry(1, "ann", "1", 0), entry(1, "bob", "2", 0), entry(1, "cal", "3", 0), entry(2, "ann", "4", 0)})
	first := encode([]statestore.Entry{entry(1, "ann", "5", 0), deleted(1, "bob"), entry(1, "cal", "6", 100), entry(1, "dee", "7", 101)})
	second := encode([]statestore.Entry{entry(1, "ann", "8", 0), deleted(1, "none")})
	got, err := statestore.Fold(100, base, first, nil, second)
	if err != nil {
		t.Fatal(err)
	}
	want := []statestore.Entry{entry(1, "ann", "8", 0), entry(2, "ann", "4", 0), entry(1, "dee", "7", 101)}
	if entries, err := decode(got); err != nil || !reflect.DeepEqual(entries, want) {
		t.Errorf("folded to %+v, error %v", entries, err)
	}
	merged, err := statestore.Merge(first, second)
	if err != nil {
		t.Fatal(err)
	}
	want = []statestore.Entry{entry(1, "ann", "8", 0), deleted(1, "bob"), entry(1, "cal", "6", 100), entry(1, "dee", "7", 101), deleted(1, "none")}
	if entries, err := decode(merged); err != nil || !reflect.DeepEqual(entries, want) {
		t.Errorf("merged to %+v, error %v", entries, err)
	}
	if got, err := statestore.Fold(100, nil, nil); got != nil || err != nil {
		t.Errorf("nothing folds to %q, error %v", got, err)
	}
	if got, err := statestore.Fold(0, nil, encode([]statestore.Entry{deleted(1, "ann")})); err != nil || len(got) != statestore.BlockHeaderBytes {
		t.Errorf("a lone delete folds to %q, error %v", got, err)
	}
}

func TestFoldRefusesDamagedAndForeignBlocks(t *testing.T) {
	good := encode(sample)
	other := bytes.Clone(good)
	other[6]++
	more := bytes.Clone(good) // has more entries than it says
	more[8]--
	for what, block := range map[string][]byte{"torn": good[:len(good)-1], "of another key group": other, "with a wrong count": more} {
		if _, err := statestore.Fold(0, good, block); !errors.Is(err, statestore.ErrBlock) {
			t.Errorf("a block %s: %v", what, err)
		}
	}
}

// Folding in any portions gives what a map gives.
func TestFoldAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := map[string]string{}
		var blocks [][]byte
		for range rapid.IntRange(0, 6).Draw(r, "blocks") {
			w := statestore.NewBlockWriter(5, nil)
			keys := rapid.SliceOfNDistinct(rapid.IntRange(0, 40), 0, 40, rapid.ID).Draw(r, "keys")
			for _, key := range keys {
				e := entry(uint16(key%3), fmt.Sprint(key/3), rapid.String().Draw(r, "value"), 0)
				name := fmt.Sprint(e.State, " ", string(e.Key))
				if e.Present = rapid.IntRange(0, 2).Draw(r, "put") > 0; e.Present {
					e.Expires = rapid.Int64Range(0, 3).Draw(r, "expires")
				}
				delete(want, name)
				if e.Present && (e.Expires == 0 || e.Expires > 2) {
					want[name] = string(e.Value)
				}
				w.Add(&e)
			}
			blocks = append(blocks, w.Bytes())
		}
		if len(blocks) > 2 && rapid.Bool().Draw(r, "merge") {
			merged, err := statestore.Merge(blocks[1:]...)
			if err != nil {
				r.Fatal(err)
			}
			blocks = [][]byte{blocks[0], merged}
		}
		folded, err := statestore.Fold(2, nil, blocks...)
		if err != nil {
			r.Fatal(err)
		}
		got := map[string]string{}
		entries, err := decode(folded)
		if err != nil && folded != nil {
			r.Fatal(err)
		}
		for _, e := range entries {
			got[fmt.Sprint(e.State, " ", string(e.Key))] = string(e.Value)
		}
		if !reflect.DeepEqual(got, want) {
			r.Fatalf("folded to %q, want %q", got, want)
		}
	})
}

func FuzzBlock(f *testing.F) {
	f.Add(encode(sample))
	f.Add(encode(nil))
	void := encode(sample)
	statestore.VoidEntry(void[statestore.BlockHeaderBytes:])
	statestore.PutBlockHeader(void, 5, len(sample)-1)
	f.Add(void)
	f.Fuzz(func(t *testing.T, block []byte) {
		entries, err := decode(block)
		if err != nil {
			if !errors.Is(err, statestore.ErrBlock) {
				t.Fatal(err)
			}
			if _, err := statestore.Fold(0, block); len(block) > 0 && !errors.Is(err, statestore.ErrBlock) {
				t.Fatalf("folds a block that does not read: %v", err)
			}
			return
		}
		w := statestore.NewBlockWriter(0, nil)
		for i := range entries {
			w.Add(&entries[i])
		}
		again, err := decode(w.Bytes())
		if err != nil || len(again) != len(entries) {
			t.Fatalf("%d entries again, had %d, error %v", len(again), len(entries), err)
		}
		if _, err := statestore.Fold(0, block, block); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkFold100k(b *testing.B) {
	blocks := make([][]byte, 2)
	for i := range blocks {
		w := statestore.NewBlockWriter(5, nil)
		for key := range 50_000 {
			e := entry(1, fmt.Sprintf("%016d", key*(i+1)), strings.Repeat("v", 8), 0)
			w.Add(&e)
		}
		blocks[i] = w.Bytes()
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := statestore.Fold(0, blocks[0], blocks[1]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/entry")
}
