package wasm_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/sdk/abi"
)

// TestAModuleAnswersAsItsTwinInGo compares a module whose innermost steps are in assembly (sdk/abi/pass_wasm.s) with one
// that has them in Go, on batches of any shape, whole and damaged.
func TestAModuleAnswersAsItsTwinInGo(t *testing.T) {
	e := newEngine(t)
	ours := &fresh{t: t, m: load(t, e, build(t, "twin"), wasm.Limits{})}
	twin := &fresh{t: t, m: load(t, e, buildInGo(t, "twin"), wasm.Limits{})}
	random := rand.New(rand.NewPCG(1, 2))
	whole, failed := 0, 0
	for n := range 400 {
		in := anyBatch(random)
		if n%4 == 3 {
			damage(random, in)
		}
		out, text := ours.call(in)
		outTwin, textTwin := twin.call(in)
		if !bytes.Equal(out, outTwin) || text != textTwin {
			t.Fatalf("batch %d: %x\n%x %s\nand its twin\n%x %s", n, in, out, text, outTwin, textTwin)
		}
		if text == "" {
			whole++
		} else {
			failed++
		}
	}
	if whole < 280 || failed < 20 {
		t.Errorf("%d batches were answered and %d refused: too few to tell", whole, failed)
	}
}

// buildInGo is build without assembly.
func buildInGo(t *testing.T, name string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.Command("go", "build", "-tags=purego", "-buildmode=c-shared", "-o", path, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build guest: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// fresh calls a module in an instance of its own.
type fresh struct {
	t *testing.T
	m *wasm.Module
}

func (r *fresh) call(in []byte) (out []byte, failure string) {
	i, err := r.m.NewInstance(r.t.Context(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	defer i.Close()
	for range 2 { // the second finds what the first left behind
		if out, err = i.Call(in); err != nil {
			return out, err.Error()
		}
		out = slices.Clone(out)
	}
	return out, ""
}

// anyBatch is a batch of a few groups for the functions of testdata/twin.
func anyBatch(random *rand.Rand) []byte {
	states := []int{2, 3, 0}
	some := func(most int) []byte {
		b := make([]byte, random.IntN(most+1))
		for i := range b {
			b[i] = "0123456789d-"[random.IntN(12)]
		}
		return b
	}
	var b abi.Batch
	b.Reset(1, random.Uint64())
	f := 0
	for range random.IntN(8) {
		if random.IntN(3) == 0 { // steps are quick where one group follows another of its function
			f = random.IntN(len(states))
		}
		b.Group(uint16(f), append(some(20), 'k'))
		for range states[f] {
			switch value := binary.LittleEndian.AppendUint64(nil, random.Uint64N(1<<40)); random.IntN(8) {
			case 0:
				b.State(nil, false)
			case 1:
				b.State(some(20), true)
			default:
				b.State(value, true)
			}
		}
		for range 1 + random.IntN(4) {
			m := abi.Message{Kind: abi.KindIngress, Value: some(30)}
			if random.IntN(3) == 0 {
				m.Type, m.SenderType, m.SenderKey, m.Ext = some(9), some(9), some(9), some(9)
			}
			b.Message(&m)
		}
	}
	return b.Bytes()
}

// damage changes one byte, most often one of a header.
func damage(random *rand.Rand, in []byte) {
	at := random.IntN(len(in))
	if random.IntN(4) > 0 {
		at &^= 3
	}
	in[at] = byte(random.Uint32())
}
