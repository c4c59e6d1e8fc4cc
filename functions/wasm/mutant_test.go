package wasm_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
)

var (
	mutants    = flag.Int("mutants", 1000, "how many mutated modules are tried; 10000 take some minutes")
	mutantSeed = flag.Uint64("mutant-seed", 1, "what they are made from")
)

// sectionOf is one section of a module.
type sectionOf struct {
	id      byte
	content []byte
}

// split takes a module apart; what does not look like a section is lost.
func split(b []byte) (all []sectionOf) {
	for b = b[8:]; len(b) > 1; {
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return all
		}
		all = append(all, sectionOf{b[0], slices.Clone(b[1+w:][:n])})
		b = b[1+w+int(n):]
	}
	return all
}

func join(all []sectionOf) []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range all {
		out = append(out, section(s.id, s.content)...)
	}
	return out
}

// mutator makes modules that are nearly right.
type mutator struct {
	random *rand.Rand
	seeds  [][]byte
}

func (m *mutator) pick(n int) int { return m.random.IntN(max(n, 1)) }

// next is a module with one to four changes, to its bytes or to its parts.
func (m *mutator) next() []byte {
	b := m.seeds[m.pick(len(m.seeds))]
	if m.pick(8) == 0 {
		b = slices.Clone(b)
		for range 1 + m.pick(4) {
			b = m.scratch(b)
		}
		return b
	}
	all := split(b)
	for range 1 + m.pick(3) {
		all = m.restructure(all)
	}
	return join(all)
}

// scratch changes bytes without regard for what they mean.
func (m *mutator) scratch(b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	at := m.pick(len(b))
	n := min(1+m.pick(8), len(b)-at)
	switch m.pick(5) {
	case 0:
		b[at] ^= 1 << m.pick(8)
	case 1:
		b[at] = byte(m.pick(256))
	case 2:
		return slices.Delete(b, at, at+n)
	case 3:
		return slices.Insert(b, at, slices.Clone(b[at:at+n])...)
	case 4: // the numbers that decoders get wrong
		return slices.Insert(b, at, [][]byte{{0xFF, 0xFF, 0xFF, 0xFF, 0x0F}, {0x80, 0x00}, {0x7F}, {0xE3, 0x7F}, {0x80, 0x80, 0x80, 0x80, 0x08}}[m.pick(5)]...)
	}
	return b
}

func (m *mutator) restructure(all []sectionOf) []sectionOf {
	if len(all) == 0 {
		return all
	}
	k := m.pick(len(all))
	switch m.pick(30) {
	case 0:
		return slices.Delete(all, k, k+1)
	case 1:
		return slices.Insert(all, k, all[m.pick(len(all))])
	case 2:
		other := split(m.seeds[m.pick(len(m.seeds))])
		if len(other) > 0 {
			all[k] = other[m.pick(len(other))]
		}
	case 3:
		all[k].content = m.scratch(slices.Clone(all[k].content))
	default:
		for i := range all {
			if all[i].id == codes {
				all[i].content = m.bodies(all[i].content)
			}
		}
	}
	return all
}

// bodies changes the code of one function, and keeps the lengths around it right.
func (m *mutator) bodies(content []byte) []byte {
	count, w := binary.Uvarint(content)
	if w <= 0 {
		return content
	}
	var list [][]byte
	for rest := content[w:]; len(rest) > 0; {
		n, w := binary.Uvarint(rest)
		if w <= 0 || n > uint64(len(rest)-w) {
			return content
		}
		list = append(list, rest[w:][:n])
		rest = rest[w+int(n):]
	}
	if len(list) == 0 {
		return content
	}
	k := m.pick(len(list))
	body := slices.Clone(list[k])
	switch {
	case m.pick(4) == 0 || len(body) < 2:
		body = m.scratch(body)
	case m.pick(3) == 0:
		body = slices.Insert(body, m.pick(len(body)), m.fragment()...)
	case body[0] == 0: // before the first instruction
		body = slices.Insert(body, 1, m.fragment()...)
	default: // behind the last
		body = slices.Insert(body, len(body)-1, m.fragment()...)
	}
	list[k] = body
	out := size(int(count))
	for _, b := range list {
		out = append(append(out, size(len(b))...), b...)
	}
	return out
}

// fragment is a piece of code, most of which leaves the stack as it was.
func (m *mutator) fragment() []byte {
	words := []string{
		"nop", "i32.const 1 drop", "loop void end", "block void br 0 end", "loop void br 0 end", "i32.const 1 if void else end", "return",
		"i32.const 0 i32.const 1 i32.const 65536 memory.fill 0", "i32.const 8 memory.grow 0 drop", "block void i32.const 1 br_table 1 0 0 end",
		"i32.const -1 i32.load 2 0 drop", "unreachable", "call 4", "i32.const 1 call 4 drop", "end", "else", "loop void i32.const 1 br_if 0 end",
		"i32.const 0 call_indirect 3 0", "global.get 0 drop", "local.get 0 drop", "#fd #0c " + times(16, "#00") + "drop", "#fd #80", "#1c #01 #63",
	}
	return asm(words[m.pick(len(words))])
}

// smallSeeds are the modules of testdata and the hostile ones that are small.
func smallSeeds(t *testing.T) (all [][]byte) {
	t.Helper()
	for _, dir := range []string{"guests", "refused"} {
		paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.wasm"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("seeds: %d, %v", len(paths), err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
	}
	for _, group := range [][]hostile{endlessLoops(), floods(), recursions(), traps(), lies()} {
		for _, c := range group {
			if b := c.m.bytes(); len(b) < 4096 {
				all = append(all, b)
			}
		}
	}
	return all
}

// maxMutantBytes is what preparing a small mutant may allocate in all.
const maxMutantBytes = 512 << 20

// TestMutantsAreRefusedOrStopped takes mutated modules through the pipeline of the compiler child, in this process, and calls
// those that pass: whatever they are, there is no panic, and no limit is passed.
func TestMutantsAreRefusedOrStopped(t *testing.T) {
	e := newEngine(t)
	m := &mutator{random: rand.New(rand.NewPCG(*mutantSeed, 0)), seeds: smallSeeds(t)}
	verdicts := map[string]int{}
	for n := range *mutants {
		b := m.next()
		v, err := prepareHere(t, b)
		if err == nil {
			err = wasm.CheckMetered(b)
		}
		if err == nil && v == "done" {
			v, err = callMutant(t, e, b)
		}
		if err != nil {
			t.Fatalf("mutant %d of seed %d: %v\n%x", n, *mutantSeed, err, b)
		}
		verdicts[v]++
	}
	t.Logf("%v", verdicts)
	if *mutants >= 1000 && (len(verdicts) < 8 || verdicts["answered"]+verdicts["stopped"] < *mutants/50) {
		t.Errorf("the mutants explore little: %v", verdicts)
	}
}

// prepareHere runs the compiler child in this process: done, or the code of the refusal.
func prepareHere(t *testing.T, b []byte) (v string, err error) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var out bytes.Buffer
	code := wasm.RunCompiler([]string{t.TempDir(), "0"}, bytes.NewReader(b), &out)
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > maxMutantBytes {
		return "", fmt.Errorf("preparing it took %d bytes", spent)
	}
	var verdict struct {
		Done    bool
		Refusal *wasm.Refusal
	}
	if err := json.Unmarshal(out.Bytes(), &verdict); err != nil {
		return "", fmt.Errorf("verdict %s: %w", out.Bytes(), err)
	}
	switch {
	case verdict.Done && code == 0:
		return "done", nil
	case verdict.Refusal != nil && verdict.Refusal.Detail != "" && code == 1:
		return string(verdict.Refusal.Code), nil
	}
	return "", fmt.Errorf("code %d, verdict %s", code, out.Bytes())
}

func callMutant(t *testing.T, e *wasm.Engine, b []byte) (string, error) {
	t.Helper()
	m, err := e.Load(t.Context(), wasm.Digest(b), func() ([]byte, error) { return b, nil }, wasm.Limits{Fuel: hostileFuel, Memory: 16 << 20})
	if err != nil {
		return "", err
	}
	defer m.Close()
	i, err := m.NewInstance(t.Context(), func(int, []byte) {})
	if err != nil {
		return "not instantiated", nil // it begins with more than the limit, or runs longer than in its trial
	}
	defer i.Close()
	for range 2 {
		_, err = i.Call([]byte("hello"))
		if i.Fuel() > hostileFuel+slice+tooLarge {
			return "", fmt.Errorf("it spent %d units", i.Fuel())
		}
		if err != nil {
			if f := new(wasm.Failure); !errors.As(err, &f) {
				return "", err
			}
			return "stopped", nil
		}
	}
	return "answered", nil
}

// TestMutatedGoGuestsAreReadWithoutPanic has no wazero in it: compiling one takes seconds.
func TestMutatedGoGuestsAreReadWithoutPanic(t *testing.T) {
	m := &mutator{random: rand.New(rand.NewPCG(*mutantSeed, 1)), seeds: [][]byte{build(t, "counter")}}
	for n := range *mutants / 20 {
		b := m.next()
		if _, err := wasm.Meter(b); err != nil {
			if r := new(wasm.Refusal); !errors.As(err, &r) || r.Detail == "" {
				t.Fatalf("mutant %d of seed %d: %v", n, *mutantSeed, err)
			}
		}
	}
}
