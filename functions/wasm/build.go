package wasm

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// build is the pipeline from uploaded bytes to a module that may run. It belongs into the compiler child: wazero is the first
// code that a stranger's bytes reach beyond this package's own decoder, and the guest runs for the first time. cache takes
// the compiled code; without one the interpreter does all, and its result is of use to the interpreter only. The error of a
// module that is not run is a *Refusal.
func build(ctx context.Context, cache wazero.CompilationCache, b []byte) (_ *preparedFile, err error) {
	m, refusal := decode(b)
	if refusal != nil {
		return nil, refusal
	}
	plans, refusal := m.plan(pieceCost)
	if refusal != nil {
		return nil, refusal
	}
	w := rewrite(m, plans)
	p := &preparedFile{module: w.encode()}
	limits := trialLimits()
	config := runtimeConfig(wazero.NewRuntimeConfigCompiler())
	if cache == nil {
		limits = limits.interpreted()
		config = runtimeConfig(wazero.NewRuntimeConfigInterpreter())
	} else {
		config = config.WithCompilationCache(cache)
	}
	rt := wazero.NewRuntimeWithConfig(ctx, config)
	defer func() { err = errors.Join(err, rt.Close(unbounded)) }()
	if err := instantiateHost(ctx, rt); err != nil {
		return nil, err
	}
	code, err := rt.CompileModule(experimental.WithCompilationWorkers(ctx, runtime.GOMAXPROCS(0)), p.module)
	if err != nil {
		return nil, &Refusal{Code: Invalid, Detail: err.Error(), cause: err}
	}
	t, err := try(ctx, rt, code, w, limits)
	if err != nil {
		return nil, err
	}
	p.image, p.Globals, p.In, p.Out = t.image, t.globals, t.in, t.out
	p.Prepared = Prepared{Digest: Digest(b), Description: t.description, Standard: w.bakeable, Memory: int64(m.memory.min) * wasmPage}
	if p.Standard {
		p.Memory = int64(len(t.image))
	}
	return p, nil
}

// bakeable says whether memory and globals are all that a standard-Go guest changes while it initialises itself. Go
// writes no passive segments, and no instruction that changes a table.
func (m *module) bakeable() bool {
	if !m.standard || m.passive || m.reshapes {
		return false
	}
	for _, g := range m.globals {
		if g.mutable && g.typ != typeI32 && g.typ != typeI64 && g.typ != typeF32 && g.typ != typeF64 {
			return false
		}
	}
	return true
}

// fill writes the data segments of a bakeable module.
func (m *module) fill(i *Instance) *Refusal {
	for k, s := range m.segments {
		if !i.memory.Write(s.at, s.data) {
			return &Refusal{Code: InitFailed, Where: "instantiation", Detail: fmt.Sprintf("data segment %d lies outside of the memory", k)}
		}
	}
	return nil
}

// globalValue is a global of a guest after its first run, in the encoding of wazero.
type globalValue struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// bake takes memory and globals of an instance that has run.
func (t *trial) bake(w *metered, i *Instance) {
	memory, _ := i.memory.Read(0, i.memory.Size()) // all of it: cannot fail
	t.image = append([]byte(nil), memory...)
	for k, g := range w.m.globals {
		if g.mutable {
			name := globalName(k)
			t.globals = append(t.globals, globalValue{name, i.guest.ExportedGlobal(name).Get()})
		}
	}
	t.in, t.out = i.in, i.out
}
