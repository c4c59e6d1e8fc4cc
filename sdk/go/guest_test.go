package weir_test

import (
	"encoding/json"
	"testing"

	"github.com/weir-run/weir/sdk/abi"
	weir "github.com/weir-run/weir/sdk/go"
)

// batch encodes two groups of the same messages, a panic in the first only, for a function whose states are absent.
func batch(g *weir.Guest, function string, values ...string) ([]byte, []int) {
	return batchWith(nil, g, function, values...)
}

// batchWith is batch with a value for the states, which are absent when it is nil.
func batchWith(state []byte, g *weir.Guest, function string, values ...string) ([]byte, []int) {
	var d struct {
		Functions []struct {
			Type   string            `json:"type"`
			States []json.RawMessage `json:"states"`
		} `json:"functions"`
	}
	if err := json.Unmarshal(g.Describe(), &d); err != nil {
		panic(err)
	}
	var b abi.Batch
	b.Reset(1, 1)
	for i, f := range d.Functions {
		if f.Type != function {
			continue
		}
		for _, key := range []string{"first", "second"} {
			b.Group(uint16(i), []byte(key))
			for range f.States {
				b.State(state, state != nil)
			}
			for _, v := range values {
				if key == "second" && v == "13" {
					v = "3"
				}
				b.Message(&abi.Message{Kind: abi.KindIngress, Value: []byte(v)})
			}
		}
	}
	return b.Bytes(), b.Counts()
}

// run runs a batch and stands on the first group of its result.
func run(t *testing.T, g *weir.Guest, in []byte, counts []int) *abi.Result {
	t.Helper()
	copy(g.In(len(in)), in)
	out := g.Out(64 << 10)
	size := g.Batch(len(in))
	if size < 0 {
		t.Fatalf("batch ends with %d", size)
	}
	var r abi.Result
	if err := r.Open(out[:size], len(counts), counts); err != nil {
		t.Fatal(err)
	}
	r.Next()
	return &r
}

func TestNumbersAndBytesAreHandledWithoutAllocations(t *testing.T) {
	for _, c := range []struct{ function, value string }{{"t/add", "3"}, {"t/append", "abcdefgh"}} {
		g := weir.NewGuest(nil)
		in, _ := batchWith([]byte("12345678"), g, c.function, c.value, c.value, c.value)
		copy(g.In(len(in)), in)
		g.Out(64 << 10)
		if n := testing.AllocsPerRun(100, func() { g.Batch(len(in)) }); n != 0 {
			t.Errorf("%s: %v allocations for a batch of six", c.function, n)
		}
	}
}

func BenchmarkCounter(b *testing.B) {
	b.ReportAllocs()
	g := weir.NewGuest(nil)
	var batch abi.Batch
	batch.Reset(1, 1)
	for range 64 {
		batch.Group(0, []byte("user-00000000042"))
		batch.State([]byte("\x07\x00\x00\x00\x00\x00\x00\x00"), true)
		batch.Message(&abi.Message{Kind: abi.KindIngress, Value: []byte("3")})
	}
	in := batch.Bytes()
	copy(g.In(len(in)), in)
	g.Out(64 << 10)
	for b.Loop() {
		if n := g.Batch(len(in)); n < 0 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/message")
}

// FuzzBatch feeds a guest any bytes: it answers with a result that the host can read, or a code.
func FuzzBatch(f *testing.F) {
	g := weir.NewGuest(func(int32, string) {})
	for _, function := range []string{"t/add", "t/append", "t/script"} {
		in, _ := batch(g, function, "1", `["record","typed"]`)
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		copy(g.In(len(in)), in)
		out := g.Out(4 << 20)
		size := g.Batch(len(in))
		if size < abi.GuestFunction || size == 0 {
			t.Fatalf("batch ends with %d", size)
		}
		if size < 0 {
			return
		}
		var r abi.Reader
		if err := r.Open(in); err != nil {
			t.Fatal(err)
		}
		var counts []int
		for r.Next() {
			counts = append(counts, r.Messages())
		}
		var result abi.Result
		if err := result.Open(out[:size], len(counts), counts); err != nil {
			t.Fatal(err)
		}
	})
}
