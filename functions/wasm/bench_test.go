package wasm_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/sdk/abi"
)

// counterBatch is n groups of one message each, for the guest in testdata/counter.
func counterBatch(n int) *abi.Batch {
	var b abi.Batch
	b.Reset(1_700_000_000_000, 1)
	for k := range n {
		b.Group(0, strconv.AppendInt(nil, int64(k), 10))
		b.State([]byte{byte(k), 0, 0, 0, 0, 0, 0, 0}, true)
		b.Message(&abi.Message{Kind: abi.KindRequest, ID: uint64(k), Value: []byte("3")})
	}
	return &b
}

// result is what an instance answers to a batch.
func result(t *testing.T, i *wasm.Instance, b *abi.Batch) *abi.Result {
	t.Helper()
	out, err := i.Call(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	r := &abi.Result{}
	if err := r.Open(out, b.Groups(), b.Counts()); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAGuestOfTheGoSDKRuns(t *testing.T) {
	i := instance(t, load(t, newEngine(t), build(t, "counter"), wasm.Limits{}), nil)
	b := counterBatch(3)
	r := result(t, i, b)
	for k := 0; r.Next(); k++ {
		var w abi.StateWrite
		if !r.NextState(&w) || w.Value[0] != byte(k+3) {
			t.Errorf("group %d: state %x", k, w.Value)
		}
		var op abi.Op
		for _, want := range []abi.OpKind{abi.Egress, abi.Reply} {
			if !r.NextOp(&op) || op.Kind != want || string(op.Value) != strconv.Itoa(k+3) {
				t.Errorf("group %d: op %+v", k, op)
			}
		}
	}
}

func BenchmarkCall(b *testing.B) {
	e := newEngine(b)
	small, standard := load(b, e, guest(b, "hostile"), wasm.Limits{}), load(b, e, standardGuest(b), wasm.Limits{})
	for _, c := range []struct {
		name string
		m    *wasm.Module
		in   string
	}{
		{"small echo", small, "e23456789"},
		{"standard Go echo", standard, "e23456789"},
		{"standard Go json and fmt", standard, `j{"a":[1,2,{"b":"c"}]}`},
	} {
		b.Run(c.name, func(b *testing.B) { measure(b, c.m, []byte(c.in), 1) })
	}
	counter := load(b, e, build(b, "counter"), wasm.Limits{})
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("SDK counter batch of %d", n), func(b *testing.B) { measure(b, counter, counterBatch(n).Bytes(), n) })
	}
}

// BenchmarkInterpretedCall is what a call costs until there is compiled code.
func BenchmarkInterpretedCall(b *testing.B) {
	draft := interpret(b, drafting(b), build(b, "counter"), wasm.Limits{})
	measure(b, draft, counterBatch(64).Bytes(), 64)
}

func measure(b *testing.B, m *wasm.Module, in []byte, messages int) {
	i := instance(b, m, nil)
	b.ReportAllocs()
	fuel := int64(0)
	for b.Loop() {
		if _, err := i.Call(in); err != nil {
			b.Fatal(err)
		}
		fuel += i.Fuel()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(messages), "ns/message")
	b.ReportMetric(float64(fuel)/float64(b.Elapsed().Nanoseconds()), "units/ns")
}

func BenchmarkNewInstance(b *testing.B) {
	e := newEngine(b)
	for name, module := range map[string][]byte{"small": guest(b, "hostile"), "standard Go": standardGuest(b)} {
		m := load(b, e, module, wasm.Limits{})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				i, err := m.NewInstance(b.Context(), nil)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := i.Call([]byte("e")); err != nil {
					b.Fatal(err)
				}
				i.Close()
			}
		})
	}
}

func BenchmarkLoadFromCache(b *testing.B) {
	e := newEngine(b)
	module := standardGuest(b)
	load(b, e, module, wasm.Limits{})
	b.ReportAllocs()
	for b.Loop() {
		other := newEngine(b) // wazero's cache in memory belongs to an engine
		m, err := other.Load(b.Context(), wasm.Digest(module), nil, wasm.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	module := standardGuest(b)
	for b.Loop() {
		b.StopTimer()
		e, err := wasm.New(wasm.Config{CacheDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := e.Prepare(b.Context(), module); err != nil {
			b.Fatal(err)
		}
	}
}
