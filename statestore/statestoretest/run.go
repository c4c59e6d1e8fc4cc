package statestoretest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
)

// Groups is how many key groups a backend under test must own: [0, Groups).
const Groups = 8

// Run holds a backend to the contract. open returns an empty backend that owns Groups key groups and has room for
// 64 MiB; the tests close it.
func Run(t *testing.T, open func(t *testing.T) statestore.Backend) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open opener)
	}{
		{"ReadSeesEveryEarlierWrite", readSeesWrites},
		{"TheLastWriteOfAKeyInABatchWins", lastWriteWins},
		{"StatesOfOneKeyAreApart", statesAreApart},
		{"DeletedAndAddedAgain", deletedAndAdded},
		{"SizesFromNothingToTheLimits", sizes},
		{"OversizeKeysAndValuesAreRefused", oversize},
		{"WriteKeepsNothingOfItsArguments", keepsNothing},
		{"AnExpiredEntryIsAbsent", expiry},
		{"AnEpochHasOneEntryPerKey", oneEntryPerKey},
		{"AnEpochWithoutWritesHasNoBlocks", quietEpoch},
		{"ASealedEpochDoesNotChange", sealedIsImmutable},
		{"SealedEpochsOutliveTheBackend", sealedOutlives},
		{"BaseAndDeltasGiveTheStateAsOfTheLastSeal", restores},
		{"GroupsLoadAtOnce", loadsAtOnce},
		{"DamagedBlocksAreRefused", damagedBlocks},
		{"EachYieldsLiveEntriesUntilToldToStop", each},
		{"AgreesWithItsTwin", agrees},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, opener{t, open}) })
	}
}

type opener struct {
	t    *testing.T
	open func(t *testing.T) statestore.Backend
}

func (o opener) backend() subject {
	b := o.open(o.t)
	o.t.Cleanup(func() {
		if err := b.Close(); err != nil {
			o.t.Errorf("close: %v", err)
		}
	})
	return subject{o.t, b}
}

// subject is a backend whose errors fail the test.
type subject struct {
	t *testing.T
	statestore.Backend
}

// Entry makes a present entry with hash and key group set.
func Entry(state uint16, key, value string) statestore.Entry {
	e := statestore.Entry{State: state, Key: []byte(key), Value: []byte(value), Present: true}
	e.Hash = functions.Hash(e.Key)
	e.Group = functions.GroupOf(e.Hash, Groups)
	return e
}

func deleted(state uint16, key string) statestore.Entry {
	e := Entry(state, key, "")
	e.Present, e.Value = false, nil
	return e
}

func (s subject) write(entries ...statestore.Entry) {
	s.t.Helper()
	if err := s.Write(entries); err != nil {
		s.t.Fatalf("write: %v", err)
	}
}

// get is "value", or "-" when absent.
func (s subject) get(now int64, state uint16, key string) string {
	s.t.Helper()
	entries := []statestore.Entry{deleted(state, key)}
	if err := s.Read(now, entries); err != nil {
		s.t.Fatalf("read: %v", err)
	}
	if !entries[0].Present {
		return "-"
	}
	return string(entries[0].Value)
}

func (s subject) want(state uint16, key, want string) {
	s.t.Helper()
	if got := s.get(1, state, key); got != want {
		s.t.Fatalf("state %d of %q is %.40q, want %.40q", state, key, got, want)
	}
}

// seal copies an epoch as "state key=value" by entry, and releases it. It fails when a key comes twice.
func (s subject) seal() (blocks []statestore.Block, entries map[string]string) {
	s.t.Helper()
	sealed := s.Seal()
	defer sealed.Release()
	entries = map[string]string{}
	for _, block := range sealed.Blocks {
		blocks = append(blocks, statestore.Block{Group: block.Group, Bytes: bytes.Clone(block.Bytes)})
		for e, err := range statestore.Entries(block.Bytes) {
			if err != nil {
				s.t.Fatalf("sealed block: %v", err)
			}
			name := fmt.Sprintf("%d %s", e.State, e.Key)
			if _, twice := entries[name]; twice {
				s.t.Fatalf("%s is twice in the block", name)
			}
			entries[name] = "-"
			if e.Present {
				entries[name] = string(e.Value)
			}
		}
	}
	return blocks, entries
}

func readSeesWrites(t *testing.T, open opener) {
	s := open.backend()
	s.want(1, "ann", "-")
	s.write(Entry(1, "ann", "3"), Entry(1, "bob", "4"))
	s.want(1, "ann", "3")
	s.want(1, "bob", "4")
	s.Seal().Release()
	s.want(1, "ann", "3")
	s.write(Entry(1, "ann", "5"))
	s.want(1, "ann", "5")
	s.want(1, "ann ", "-")
	s.want(1, "an", "-")
}

func lastWriteWins(t *testing.T, open opener) {
	s := open.backend()
	s.write(Entry(1, "ann", "3"), deleted(1, "ann"), Entry(1, "ann", "longer"), Entry(1, "ann", "x"))
	s.want(1, "ann", "x")
	if _, entries := s.seal(); len(entries) != 1 || entries["1 ann"] != "x" {
		t.Fatalf("sealed %v", entries)
	}
}

func statesAreApart(t *testing.T, open opener) {
	s := open.backend()
	key := strings.Repeat("a key that is worth sharing ", 3)
	for state := range uint16(100) {
		s.write(Entry(state, key, fmt.Sprint("value ", state)))
	}
	for state := range uint16(100) {
		s.want(state, key, fmt.Sprint("value ", state))
	}
	for state := uint16(0); state < 100; state += 3 {
		s.write(deleted(state, key))
		s.Seal().Release()
	}
	s.write(Entry(1, key, strings.Repeat("moved", 50)), Entry(500, key, "later"))
	for state := uint16(2); state < 100; state++ {
		want := fmt.Sprint("value ", state)
		if state%3 == 0 {
			want = "-"
		}
		s.want(state, key, want)
	}
	s.want(1, key, strings.Repeat("moved", 50))
	s.want(500, key, "later")
}

func deletedAndAdded(t *testing.T, open opener) {
	s := open.backend()
	s.write(deleted(1, "ann"))
	if blocks, _ := s.seal(); len(blocks) != 0 {
		t.Fatalf("deleting what is not there changed %d blocks", len(blocks))
	}
	s.write(Entry(1, "ann", "3"))
	s.Seal().Release()
	s.write(deleted(1, "ann"))
	s.want(1, "ann", "-")
	if _, entries := s.seal(); entries["1 ann"] != "-" {
		t.Fatalf("sealed %v", entries)
	}
	s.want(1, "ann", "-")
	s.write(Entry(1, "ann", "4"))
	s.want(1, "ann", "4")
	if keys := s.Stats().Keys; keys != 1 {
		t.Fatalf("%d keys", keys)
	}
}

func sizes(t *testing.T, open opener) {
	s := open.backend()
	var want []statestore.Entry
	for i, n := range []int{0, 1, 7, 8, 100, 255, 256, 257, 4096, 32 << 10, 32<<10 + 1, 70_000, 1 << 20, statestore.MaxValueBytes} {
		want = append(want, Entry(uint16(i), "", strings.Repeat("v", n)))
	}
	for _, n := range []int{1, 8, 9, 100, 1000, statestore.MaxKeyBytes} {
		want = append(want, Entry(3, strings.Repeat("k", n), "value"))
	}
	s.write(want...)
	for _, e := range want {
		s.want(e.State, string(e.Key), string(e.Value))
	}
	for i := range want { // every value takes another size
		want[i].Value = want[len(want)-1-i].Value[:min(len(want[len(want)-1-i].Value), 1<<20)]
	}
	s.write(want...)
	for _, e := range want {
		s.want(e.State, string(e.Key), string(e.Value))
	}
	if _, entries := s.seal(); len(entries) != len(want) {
		t.Fatalf("%d entries sealed, want %d", len(entries), len(want))
	}
}

func oversize(t *testing.T, open opener) {
	s := open.backend()
	if err := s.Write([]statestore.Entry{Entry(1, strings.Repeat("k", statestore.MaxKeyBytes+1), "v")}); err == nil {
		t.Error("an oversize key is written")
	}
	if err := s.Write([]statestore.Entry{Entry(1, "k", strings.Repeat("v", statestore.MaxValueBytes+1))}); err == nil {
		t.Error("an oversize value is written")
	}
}

func keepsNothing(t *testing.T, open opener) {
	s := open.backend()
	e := Entry(1, "ann", "3")
	s.write(e)
	e.Value[0], e.Key[0] = '9', 'x'
	s.want(1, "ann", "3")
	if _, entries := s.seal(); entries["1 ann"] != "3" {
		t.Fatalf("sealed %v", entries)
	}
}

func expiry(t *testing.T, open opener) {
	s := open.backend()
	e := Entry(1, "ann", "3")
	e.Expires = 1000
	s.write(e, Entry(1, "bob", "4"))
	for now, want := range map[int64]string{1: "3", 999: "3", 1000: "-", 2000: "-"} {
		if got := s.get(now, 1, "ann"); got != want {
			t.Errorf("at %d the value is %q, want %q", now, got, want)
		}
		if got := s.get(now, 1, "bob"); got != "4" {
			t.Errorf("at %d the value without expiry is %q", now, got)
		}
	}
	blocks, _ := s.seal()
	for _, block := range blocks {
		for e := range statestore.Entries(block.Bytes) {
			if want := map[string]int64{"ann": 1000, "bob": 0}[string(e.Key)]; e.Expires != want {
				t.Errorf("%s expires at %d in the delta, want %d", e.Key, e.Expires, want)
			}
		}
	}
	e.Expires = 0
	s.write(e)
	if got := s.get(2000, 1, "ann"); got != "3" {
		t.Errorf("the value without its expiry is %q", got)
	}
}

func oneEntryPerKey(t *testing.T, open opener) {
	s := open.backend()
	for i := range 2000 {
		s.write(Entry(1, "hot", strings.Repeat("v", i)), Entry(1, "same", fmt.Sprintf("%08d", i)), Entry(1, fmt.Sprint(i), "1"))
		if i%3 == 0 {
			s.write(deleted(1, fmt.Sprint(i/2)))
		}
	}
	_, entries := s.seal()
	if len(entries) != 2002 || len(entries["1 hot"]) != 1999 || entries["1 same"] != "00001999" || entries["1 0"] != "-" {
		t.Fatalf("%d entries, hot of %d, same %q", len(entries), len(entries["1 hot"]), entries["1 same"])
	}
}

func quietEpoch(t *testing.T, open opener) {
	s := open.backend()
	for range 3 {
		if blocks, _ := s.seal(); len(blocks) != 0 {
			t.Fatalf("%d blocks", len(blocks))
		}
	}
	s.write(Entry(1, "ann", "3"))
	s.seal()
	s.want(1, "ann", "3")
	if blocks, _ := s.seal(); len(blocks) != 0 {
		t.Fatalf("%d blocks after a read", len(blocks))
	}
	if n := s.Stats().DeltaBytes; n != 0 {
		t.Fatalf("delta of %d bytes", n)
	}
}

func sealedIsImmutable(t *testing.T, open opener) {
	s := open.backend()
	s.write(Entry(1, "ann", "3"), Entry(1, "bob", "4"))
	first := s.Seal()
	before := clone(first.Blocks)
	var later []statestore.Sealed
	for i := range 50 {
		s.write(Entry(1, "ann", fmt.Sprint(i)), deleted(1, "bob"), Entry(2, fmt.Sprint(i), strings.Repeat("v", i*10)))
		later = append(later, s.Seal())
	}
	if !equal(before, first.Blocks) {
		t.Fatal("a sealed block changed")
	}
	var wait sync.WaitGroup
	for _, sealed := range append(later, first) {
		wait.Go(sealed.Release)
	}
	wait.Wait()
	s.want(1, "ann", "49")
}

func clone(blocks []statestore.Block) (out []statestore.Block) {
	for _, b := range blocks {
		out = append(out, statestore.Block{Group: b.Group, Bytes: bytes.Clone(b.Bytes)})
	}
	return out
}

func equal(a, b []statestore.Block) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Group != b[i].Group || !bytes.Equal(a[i].Bytes, b[i].Bytes) {
			return false
		}
	}
	return true
}

func sealedOutlives(t *testing.T, open opener) {
	b := open.open(t)
	if err := b.Write([]statestore.Entry{Entry(1, "ann", "3")}); err != nil {
		t.Fatal(err)
	}
	sealed := b.Seal()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for e, err := range statestore.Entries(sealed.Blocks[0].Bytes) {
		if err != nil || string(e.Value) != "3" {
			t.Fatalf("value %q, error %v", e.Value, err)
		}
	}
	sealed.Release()
}

func restores(t *testing.T, open opener) {
	s := open.backend()
	r := open.backend()
	for epoch := range 5 {
		for i := range 200 {
			s.write(Entry(uint16(i%3), fmt.Sprint(i), fmt.Sprint("epoch ", epoch, " of ", i)))
			if (i+epoch)%7 == 0 {
				s.write(deleted(uint16(i%3), fmt.Sprint(i)))
			}
		}
		blocks, _ := s.seal()
		for _, block := range blocks {
			lent := bytes.Clone(block.Bytes)
			if err := r.Load(block.Group, lent); err != nil {
				t.Fatal(err)
			}
			clear(lent) // the caller reads the next block into it
		}
	}
	for i := range 200 {
		r.want(uint16(i%3), fmt.Sprint(i), s.get(1, uint16(i%3), fmt.Sprint(i)))
	}
	if blocks, _ := r.seal(); len(blocks) != 0 {
		t.Fatalf("loading made %d blocks of changes", len(blocks))
	}
	if a, b := s.Stats().Keys, r.Stats().Keys; a != b {
		t.Fatalf("%d keys loaded, want %d", b, a)
	}
}

func loadsAtOnce(t *testing.T, open opener) {
	s := open.backend()
	for i := range 5000 {
		s.write(Entry(1, fmt.Sprint(i), fmt.Sprint(i)))
	}
	blocks, _ := s.seal()
	r := open.backend()
	var wait sync.WaitGroup
	for _, block := range blocks {
		wait.Go(func() {
			if err := r.Load(block.Group, block.Bytes); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for i := range 5000 {
		r.want(1, fmt.Sprint(i), fmt.Sprint(i))
	}
}

func damagedBlocks(t *testing.T, open opener) {
	w := statestore.NewBlockWriter(3, nil)
	w.Add(&statestore.Entry{State: 1, Key: []byte("ann"), Value: []byte("3"), Present: true})
	good := w.Bytes()
	newer := bytes.Clone(good)
	newer[4]++
	for name, block := range map[string][]byte{
		"empty": nil, "short": good[:10], "torn": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "newer": newer,
	} {
		if err := open.backend().Load(3, block); !errors.Is(err, statestore.ErrBlock) {
			t.Errorf("a block that is %s: %v", name, err)
		}
	}
	if err := open.backend().Load(4, good); !errors.Is(err, statestore.ErrBlock) {
		t.Errorf("a block of another key group: %v", err)
	}
}

func each(t *testing.T, open opener) {
	s := open.backend()
	want := map[string]string{}
	for i := range 500 {
		e := Entry(uint16(i%2), fmt.Sprint("key ", i), fmt.Sprint(i))
		if i%5 == 0 {
			e.Expires = 100
		} else {
			want[string(e.Key)] = string(e.Value)
		}
		s.write(e)
	}
	s.write(deleted(1, "key 1"))
	delete(want, "key 1")
	got := map[string]string{}
	for group := range functions.KeyGroup(Groups) {
		err := s.Each(group, 100, func(e statestore.Entry) bool {
			if e.Group != group || e.Hash != functions.Hash(e.Key) || !e.Present {
				t.Errorf("entry %+v of key group %d", e, group)
			}
			got[string(e.Key)] = string(e.Value)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	calls := 0
	if err := s.Each(want0(want), 100, func(statestore.Entry) bool { calls++; return false }); err != nil || calls != 1 {
		t.Fatalf("%d calls after false, error %v", calls, err)
	}
}

// want0 is the key group of any of the keys.
func want0(keys map[string]string) functions.KeyGroup {
	for key := range keys {
		return functions.GroupOf(functions.Hash([]byte(key)), Groups)
	}
	return 0
}
