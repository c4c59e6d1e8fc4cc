package wasm_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/sdk/abi"
)

// guestInC is bench/count of internal/bench/guest in C, without an SDK.
func guestInC(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../internal/bench/guest/c/count.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAGuestInCAnswersAsOneOfTheGoSDK(t *testing.T) {
	e := newEngine(t)
	inC := instance(t, load(t, e, guestInC(t), wasm.Limits{}), nil)
	inGo := instance(t, load(t, e, build(t, "../../../internal/bench/guest"), wasm.Limits{}), nil)
	record := func(bytes int) *abi.Message { return &abi.Message{Kind: abi.KindIngress, Value: make([]byte, bytes)} }
	var b abi.Batch
	b.Reset(1_700_000_000_000, 1)
	for _, group := range []struct {
		key      string
		messages []int
	}{{"a", []int{100}}, {"key of some length", []int{16, 17, 100}}, {"", []int{31, 32}}, {"short", []int{100, 3, 100}}, {"at once", []int{15}}} {
		b.Group(0, []byte(group.key))
		b.State(binary.LittleEndian.AppendUint64(nil, uint64(len(group.key))), len(group.key) != 1)
		for _, n := range group.messages {
			b.Message(record(n))
		}
	}
	for _, batch := range []*abi.Batch{&b, recordBatch(1), recordBatch(8), recordBatch(64)} {
		want, got := answers(t, inGo, batch), answers(t, inC, batch)
		if want != got {
			t.Errorf("in Go:\n%s\nin C:\n%s", want, got)
		}
	}
}

// answers is what a guest says to a batch, as text, but for the text of failures.
func answers(t *testing.T, i *wasm.Instance, b *abi.Batch) string {
	t.Helper()
	r := result(t, i, b)
	var text bytes.Buffer
	for r.Next() {
		code, _, failed := r.Failure()
		fmt.Fprintf(&text, "done %d, failed %v with %d\n", r.Done(), failed, code)
		var w abi.StateWrite
		for r.NextState(&w) {
			fmt.Fprintf(&text, "  %+v\n", w)
		}
		var op abi.Op
		for r.NextOp(&op) {
			fmt.Fprintf(&text, "  %+v\n", op)
		}
	}
	return text.String()
}
