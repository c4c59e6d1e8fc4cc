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

// metered runs a module as the engine does, but compiled in this process.
func newMetered(t *testing.T, b []byte, limits Limits) *Instance {
	t.Helper()
	ctx := context.Background()
	m, refusal := decode(b)
	if refusal != nil {
		t.Fatal(refusal)
	}
	plans, refusal := m.plan()
	if refusal != nil {
		t.Fatal(refusal)
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
	code, err := rt.CompileModule(ctx, rewrite(m, plans).encode(variant{}))
	if err != nil {
		t.Fatalf("metered module: %v", err)
	}
	limits = limits.withDefaults()
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
	want, got := newStock(t, b), newMetered(t, b, Limits{Depth: 1 << 17})
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		in := binary.LittleEndian.AppendUint64(nil, random.Uint64()>>random.IntN(64))
		compareCall(t, want, got, in)
	}
}

func compareCall(t *testing.T, want *stock, got *Instance, in []byte) {
	t.Helper()
	a, ok := want.call(in)
	b, err := got.Call(in)
	if ok != (err == nil) || ok && string(a) != string(b) {
		t.Fatalf("batch %x: the original answers %x (%v), metered it answers %x (%v)", in, a, ok, b, err)
	}
	if depth := got.depth.Get(); ok && int(int32(depth)) != got.limits.Depth {
		t.Fatalf("batch %x: the call kept %d of the depth", in, got.limits.Depth-int(int32(depth)))
	}
}

// TestRandomProgramsAnswerAsTheOriginal makes modules from seeds: nested blocks, loops, conditions, branches to every label
// that is open, calls, and returns.
func TestRandomProgramsAnswerAsTheOriginal(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			b := randomModule(seed)
			want, got := newStock(t, b), newMetered(t, b, Limits{Depth: 1 << 17})
			for n := range uint64(5) {
				in := binary.LittleEndian.AppendUint64(nil, (seed+n)*0x9E3779B97F4A7C15)
				compareCall(t, want, got, in)
				if got.Fuel() < steps(want) {
					t.Errorf("the call spent %d units for %d statements", got.Fuel(), steps(want))
				}
			}
		})
	}
}

// steps is how many statements the last call of a random module ran; it counts them itself.
func steps(s *stock) int64 {
	n, _ := s.guest.Memory().ReadUint32Le(outAt + 8)
	return int64(n)
}

// Places in the memory of a random module.
const (
	inAt  = 1 << 16
	outAt = 2 << 16
)

// program writes one random function of two i32 parameters and an i32 result. Locals: 0 and 1 parameters, 2 a value.
type program struct {
	random *rand.Rand
	code   []byte
	open   int // labels of blocks that are open; the function's own is one more
	loops  int
	calls  []uint32 // functions that may be called
	budget int
}

// Indices of a random module's globals and function types.
const (
	globalSteps  = 0
	globalTrace  = 1
	typeProduce  = 0
	typeDescribe = 1
	typeConvert  = 2
	typeBinary   = 3
)

func (p *program) emit(b ...byte) { p.code = append(p.code, b...) }

func (p *program) number(v int64) { p.code = appendSigned(append(p.code, opI32Const), v) }

// count adds one to the statements run, and ends the function when there were too many: every program ends.
func (p *program) count() {
	p.emit(opGlobalGet, globalSteps, opI32Const, 1, opI32Add, opGlobalSet, globalSteps)
	p.emit(opGlobalGet, globalSteps)
	p.number(20_000)
	p.emit(0x4A, opIf, 0x40, opLocalGet, 2, opReturn, opEnd) // i32.gt_s
}

func (p *program) expression() {
	p.emit(opLocalGet, byte(p.random.IntN(3)))
	for range p.random.IntN(3) {
		p.emit(opLocalGet, byte(p.random.IntN(3)))
		p.emit([]byte{opI32Add, opI32Sub, 0x6C, 0x71, 0x73, 0x77}[p.random.IntN(6)]) // mul, and, xor, rotl
		p.number(p.random.Int64N(1000))
		p.emit(opI32Add)
	}
}

func (p *program) statements() {
	for n := p.random.IntN(5); n >= 0 && p.budget > 0; n-- {
		p.budget--
		p.count()
		p.statement()
	}
}

func (p *program) statement() {
	switch p.random.IntN(10) {
	case 0, 1:
		p.expression()
		p.emit(opLocalSet, byte(p.random.IntN(3)))
	case 2:
		p.emit(opGlobalGet, globalTrace)
		p.number(31)
		p.emit(0x6C)
		p.expression()
		p.emit(opI32Add, opGlobalSet, globalTrace)
	case 3:
		p.inside(func() { p.emit(opBlock, 0x40) }, false)
	case 4:
		p.inside(func() { p.emit(opLoop, 0x40) }, false)
	case 5:
		p.inside(func() { p.expression(); p.emit(opIf, 0x40) }, p.random.IntN(2) == 0)
	case 6:
		if p.open > 0 {
			p.expression()
			p.emit(opBrIf, byte(p.random.IntN(p.open)))
		}
	case 7:
		p.leave()
	case 8:
		if len(p.calls) > 0 {
			p.expression()
			p.expression()
			p.code = appendIndexed(p.code, opCall, uint64(p.calls[p.random.IntN(len(p.calls))]))
			p.emit(opLocalSet, 2)
		}
	case 9:
		p.bulk()
	}
}

// bulk fills or copies a few bytes that nobody reads.
func (p *program) bulk() {
	p.number(64)
	p.number(p.random.Int64N(64))
	p.number(p.random.Int64N(64))
	if p.random.IntN(2) == 0 {
		p.emit(opMisc, miscMemoryFill, 0)
	} else {
		p.emit(opMisc, miscMemoryCopy, 0, 0)
	}
}

func (p *program) inside(begin func(), otherwise bool) {
	if p.open > 12 {
		return
	}
	begin()
	p.open++
	p.statements()
	if otherwise {
		p.emit(opElse)
		p.statements()
	}
	p.open--
	p.emit(opEnd)
}

// leave branches for sure, inside a condition: by br or br_table to any label, or out of the function.
func (p *program) leave() {
	p.expression()
	p.emit(opIf, 0x40)
	switch kind := p.random.IntN(4); {
	case kind == 0:
		p.expression()
		p.emit(opReturn)
	case kind == 1:
		p.expression()
		p.emit(opBr, byte(p.open+1)) // the function's own label
	case kind == 2:
		p.emit(opBr, byte(p.random.IntN(p.open+1)))
	default:
		p.expression()
		p.emit(opBrTable, 3)
		for range 4 {
			p.emit(byte(p.random.IntN(p.open + 1)))
		}
	}
	p.emit(opEnd)
}

// randomModule is a guest with five random functions, each of which may call those before it and itself.
func randomModule(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 7))
	const fixed = 5
	m := &module{start: -1, hasMemory: true, memory: limitsPair{min: 3}}
	m.types = []funcType{{results: []byte(i32)}, {results: []byte(i64)}, {params: []byte(i32), results: []byte(i32)},
		{params: []byte(i32 + i32), results: []byte(i32)}}
	m.funcs = []uint32{typeProduce, typeDescribe, typeConvert, typeConvert, typeConvert}
	constant := func(v int64) []byte { return append(appendSigned([]byte{opI32Const}, v), opEnd) }
	bodies := [][]byte{constant(1), {opI64Const, 0, opEnd}, constant(inAt), constant(outAt)}
	var calls []uint32
	var programs [][]byte
	for n := range uint32(5) {
		p := &program{random: random, budget: 60, calls: append(calls, fixed+n)}
		p.statements()
		p.emit(opLocalGet, 2, opEnd)
		programs = append(programs, p.code)
		calls = append(calls, fixed+n)
		m.funcs = append(m.funcs, typeBinary)
	}
	batch := &program{}
	batch.emit(opI32Const, 0, opGlobalSet, globalSteps)
	batch.number(outAt)
	for _, at := range []int64{inAt, inAt + 4} {
		batch.number(at)
		batch.emit(0x28, 2, 0) // i32.load
	}
	batch.code = appendIndexed(batch.code, opCall, fixed+4)
	batch.emit(0x36, 2, 0) // i32.store
	for k, g := range []byte{globalTrace, globalSteps} {
		batch.number(outAt + 4 + 4*int64(k))
		batch.emit(opGlobalGet, g, 0x36, 2, 0)
	}
	batch.number(12)
	batch.emit(opEnd)
	bodies = append(append(bodies, batch.code), programs...)
	for k := range 2 {
		m.globals = append(m.globals, global{typ: typeI32, mutable: true, init: constant(int64(k))})
	}
	m.exports = []export{{"memory", kindMemory, 0}}
	for k, e := range guestExports[:fixed] {
		m.exports = append(m.exports, export{e.name, kindFunc, uint32(k)})
	}
	return m.plain(bodies, fixed)
}

// plain writes a module without metering. Functions from locals on have one i32 local.
func (m *module) plain(bodies [][]byte, locals int) []byte {
	w := &metered{m: m, types: m.types}
	out := append([]byte(nil), header...)
	out = appendSection(out, secType, w.typeSection())
	out = appendSection(out, secFunction, m.functionSection())
	out = appendSection(out, secMemory, m.memorySectionBytes(nil))
	g := appendUint(nil, uint64(len(m.globals)))
	for _, v := range m.globals {
		g = append(append(g, v.typ, 1), v.init...)
	}
	out = appendSection(out, secGlobal, g)
	e := appendUint(nil, uint64(len(m.exports)))
	for _, v := range m.exports {
		e = appendUint(append(appendName(e, v.name), v.kind), uint64(v.index))
	}
	out = appendSection(out, secExport, e)
	c := appendUint(nil, uint64(len(bodies)))
	for k, b := range bodies {
		declared := []byte{0}
		if k >= locals {
			declared = []byte{1, 1, typeI32}
		}
		c = append(appendUint(c, uint64(len(declared)+len(b))), declared...)
		c = append(c, b...)
	}
	return appendSection(out, secCode, c)
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
		if _, refusal := m.plan(); refusal != nil && refusal.Detail == "" {
			t.Error("a refusal without detail")
		}
	})
}

// FuzzRewrite holds that what wazero takes, it takes metered too.
func FuzzRewrite(f *testing.F) {
	seeds(f)
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, b []byte) {
		m, refusal := decode(b)
		if refusal != nil {
			return
		}
		plans, refusal := m.plan()
		if refusal != nil || validate(ctx, b) != nil {
			return
		}
		out := rewrite(m, plans).encode(variant{exportGlobals: true})
		if err := validate(ctx, out); err != nil {
			t.Fatalf("metered, it is no longer valid: %v\n%x", err, out)
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
