package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// stock runs a module as it was uploaded, by wazero's compiler, without any of this package's metering: the obvious twin.
type stock struct {
	t     *testing.T
	guest api.Module
}

func newStock(t *testing.T, b []byte) *stock {
	t.Helper()
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(wazero.NewRuntimeConfigCompiler()))
	t.Cleanup(func() {
		if err := rt.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	host := rt.NewHostModuleBuilder(hostModule)
	for _, f := range weirFuncs {
		none := api.GoModuleFunc(func(context.Context, api.Module, []uint64) {})
		host.NewFunctionBuilder().WithGoModuleFunction(none, valueTypes(f.typ.params), valueTypes(f.typ.results)).Export(f.name)
	}
	if _, err := host.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	guest, err := rt.InstantiateWithConfig(ctx, b, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	return &stock{t: t, guest: guest}
}

// call hands a batch over as Call does; ok is false when the guest trapped.
func (s *stock) call(in []byte) (out []byte, ok bool) {
	s.t.Helper()
	ctx := context.Background()
	ask := func(name string, arg uint64) (uint64, error) {
		r, err := s.guest.ExportedFunction(name).Call(ctx, arg)
		if err != nil {
			return 0, err
		}
		return r[0], nil
	}
	at, err := ask("weir_in", bufferBytes)
	if err != nil {
		s.t.Fatal(err)
	}
	s.guest.Memory().Write(uint32(at), in)
	n, err := ask("weir_batch", uint64(len(in)))
	if err != nil {
		return nil, false
	}
	if at, err = ask("weir_out", bufferBytes); err != nil {
		s.t.Fatal(err)
	}
	out, ok = s.guest.Memory().Read(uint32(at), uint32(n))
	return out, ok
}

// newMetered runs a module as the engine does, but compiled in this process, and with pieces that are full at this cost.
// With full 0 every instruction is charged by itself and nothing checks: Fuel is what was executed, exactly.
func newMetered(t *testing.T, b []byte, full uint32) *Instance {
	t.Helper()
	ctx := context.Background()
	m, refusal := decode(b)
	if refusal != nil {
		t.Fatal(refusal)
	}
	plans, refusal := m.plan(full)
	if refusal != nil {
		t.Fatal(refusal)
	}
	for _, p := range plans {
		for k := range p.pieces {
			p.pieces[k].checked = p.pieces[k].checked && full > 0
		}
	}
	rt := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(wazero.NewRuntimeConfigCompiler()))
	t.Cleanup(func() {
		if err := rt.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	if err := instantiateHost(ctx, rt); err != nil {
		t.Fatal(err)
	}
	code, err := rt.CompileModule(ctx, rewrite(m, plans).encode())
	if err != nil {
		t.Fatalf("metered module: %v", err)
	}
	limits := Limits{Depth: 1 << 17, Fuel: 1 << 40}.withDefaults()
	linear, err := reserve(int64(m.memory.min)*wasmPage, limits.Memory, &ledger{limit: limits.ModuleMemory}, nil)
	if err != nil {
		t.Fatal(err)
	}
	i, err := launch(ctx, rt, code, linear, limits, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.boot(); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestAMeteredModuleAnswersAsTheOriginal(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "guests", "control.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	twins := newTwins(t, b)
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		twins.compare(t, binary.LittleEndian.AppendUint64(nil, random.Uint64()>>random.IntN(64)))
	}
}

// smallPiece is the cost of pieces that are cut often.
const smallPiece = 8

// twins are the same module as uploaded, charged instruction by instruction, and metered in small and in usual pieces.
type twins struct {
	stock   *stock
	exact   *Instance
	metered []*Instance
}

func newTwins(t *testing.T, b []byte) *twins {
	t.Helper()
	return &twins{newStock(t, b), newMetered(t, b, 0), []*Instance{newMetered(t, b, smallPiece), newMetered(t, b, pieceCost)}}
}

// compare holds that answers are equal, and that every instruction executed was paid for. The programs keep a trace from
// call to call, so each runs every batch once.
func (w *twins) compare(t *testing.T, in []byte) {
	t.Helper()
	want, ok := w.stock.call(in)
	for _, i := range append([]*Instance{w.exact}, w.metered...) {
		got, err := i.Call(in)
		if ok != (err == nil) || string(want) != string(got) {
			t.Fatalf("batch %x: the original answers %x (%v), metered it answers %x (%v)", in, want, ok, got, err)
		}
		if kept := i.limits.Depth - int(int32(i.depth.Get())); kept != 0 {
			t.Fatalf("batch %x: the call kept %d of the depth", in, kept)
		}
		if i.Fuel() < w.exact.Fuel() {
			t.Fatalf("batch %x: %d units paid for %d executed", in, i.Fuel(), w.exact.Fuel())
		}
	}
}

// TestRandomProgramsAnswerAsTheOriginal makes modules from seeds: nested blocks, loops, conditions, branches to every label
// that is open, calls, and returns.
func TestRandomProgramsAnswerAsTheOriginal(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newTwins(t, randomModule(seed))
			for n := range uint64(5) {
				w.compare(t, binary.LittleEndian.AppendUint64(nil, (seed+n)*0x9E3779B97F4A7C15))
			}
		})
	}
}

// TestNoArmIsPaidByTheOther has ways past a cut, at every distance from it: whichever runs, its own pieces are paid.
func TestNoArmIsPaidByTheOther(t *testing.T) {
	for name, write := range map[string]func(p *program, arm func()){
		"if and else": func(p *program, arm func()) {
			p.emit(opLocalGet, 0, opIf, 0x40)
			arm()
			p.emit(opElse)
			arm()
			p.emit(opEnd)
		},
		"behind a block that a branch left": func(p *program, arm func()) {
			p.emit(opBlock, 0x40, opLocalGet, 0, opEqz, opBrIf, 0)
			arm()
			p.emit(opEnd)
			arm()
		},
		"behind a loop": func(p *program, arm func()) {
			p.emit(opBlock, 0x40, opLoop, 0x40, opLocalGet, 0, opEqz, opBrIf, 1)
			arm()
			p.emit(opEnd, opEnd)
			arm()
		},
		"behind a branch that is always taken": func(p *program, arm func()) {
			p.emit(opBlock, 0x40, opBr, 0, opEnd)
			arm()
		},
	} {
		t.Run(name, func(t *testing.T) {
			for before := range smallPiece {
				for length := range smallPiece {
					p := &program{}
					p.work(before)
					write(p, func() { p.work(smallPiece + length) })
					p.emit(opLocalGet, 2, opEnd)
					w := newTwins(t, programModule([][]byte{p.code}))
					for _, first := range []byte{0, 1} {
						w.compare(t, []byte{first, 0, 0, 0, 0, 0, 0, 0})
					}
				}
			}
		})
	}
}

// TestAnotherRewriterHasAnotherVersion holds what the rewriter writes: the cache keeps it under the version.
func TestAnotherRewriterHasAnotherVersion(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "guests", "control.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := Meter(b)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]string{3: "sha256:0925b866b84c23faf57294f2b73bf5950761eb95dcc6869e4007dcccc323dec7"}
	if got := Digest(out); want[rewriterVersion] != got {
		t.Errorf("version %d writes %s: give it a new version, and put this digest here", rewriterVersion, got)
	}
}

// seeds are the modules of testdata and some random ones.
func seeds(f *testing.F) {
	for _, dir := range []string{"guests", "refused"} {
		paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.wasm"))
		if err != nil || len(paths) == 0 {
			f.Fatalf("seeds: %d, %v", len(paths), err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	for seed := range uint64(3) {
		f.Add(randomModule(seed))
	}
}

func FuzzDecode(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, refusal := decode(b)
		if refusal != nil {
			return
		}
		if _, refusal := m.plan(pieceCost); refusal != nil && refusal.Detail == "" {
			t.Error("a refusal without detail")
		}
	})
}

// FuzzRewrite holds that wazero takes a metered module exactly when it takes the module as it was read.
func FuzzRewrite(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := CheckMetered(b); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzPrepared(f *testing.F) {
	p := &preparedFile{module: []byte("module"), image: []byte("image")}
	p.Digest = Digest(nil)
	whole, err := p.append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePrepared(b)
		if err != nil {
			return
		}
		again, err := p.append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := parsePrepared(again); err != nil || string(q.module) != string(p.module) || string(q.image) != string(p.image) {
			t.Errorf("%v, written again: %v", p, errors.Join(err))
		}
	})
}
