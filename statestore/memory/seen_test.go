package memory_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/memory"
	"github.com/weir-run/weir/statestore/statestoretest"
)

// What a Read found must not mislead the Write after it, whichever of its entries that has, and whatever moved in between.
func TestAWriteAfterAReadAgreesWithTheTwin(t *testing.T) {
	b, twin := open(t, memory.Config{}), statestoretest.NewTwin()
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 1000 {
		reads := readAlike(t, random, b, twin)
		if round%4 == 0 { // what was deleted leaves its table, which may compact, within the Write that follows
			b.Seal().Release()
		}
		var writes []statestore.Entry
		for _, e := range reads {
			for range random.IntN(3) {
				size := random.IntN(400) - 100*(round/25%4) // in turn more keys than go, and fewer
				e.Value, e.Present = bytes.Repeat([]byte{byte(round)}, max(size, 0)), size >= 0
				writes = append(writes, e)
			}
		}
		if random.IntN(4) == 0 {
			random.Shuffle(len(writes), func(i, j int) { writes[i], writes[j] = writes[j], writes[i] })
		}
		write(t, b, writes...)
		if err := twin.Write(writes); err != nil {
			t.Fatal(err)
		}
	}
}

// readAlike reads some entries at random from both, and returns them.
func readAlike(t *testing.T, random *rand.Rand, b *memory.Backend, twin *statestoretest.Twin) []statestore.Entry {
	t.Helper()
	reads := make([]statestore.Entry, random.IntN(5*batch))
	for i := range reads {
		reads[i] = entry(fmt.Sprint("key of some length ", random.IntN(400)), "")
		reads[i].State, reads[i].Group = uint16(random.IntN(2)), functions.KeyGroup(random.IntN(2))
	}
	want := append([]statestore.Entry(nil), reads...)
	if err := b.Read(1, reads); err != nil {
		t.Fatal(err)
	}
	if err := twin.Read(1, want); err != nil {
		t.Fatal(err)
	}
	for i, e := range reads {
		if e.Present != want[i].Present || !bytes.Equal(e.Value, want[i].Value) {
			t.Fatalf("%s of state %d is %d bytes, present %v, want %d, %v", e.Key, e.State, len(e.Value), e.Present, len(want[i].Value), want[i].Present)
		}
	}
	return reads
}
