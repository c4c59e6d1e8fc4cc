package wasm

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/weir-run/weir/functions"
)

// Limits bound what the instances of a module may use. Zero values mean the defaults.
type Limits struct {
	Memory       int64 // linear memory of an instance in bytes, rounded down to pages of 64 KiB; 64 MiB
	ModuleMemory int64 // linear memory of all instances; 16 times Memory
	Fuel         int64 // of one Call, see FuelFor; FuelFor(1 s)
	Depth        int   // call depth: small frames, larger ones count more; 16 384
	LogBytes     int64 // log text per second and instance; 64 KiB

	belt    time.Duration // of one Call, by the wall clock; from Fuel
	draft   bool          // the code is interpreted
	lowered bool          // Depth is the interpreter's, and was larger
}

const (
	defaultMemory   = 64 << 20
	defaultInstance = 16 // instances of a module that reach their limit at the same time
	defaultFuel     = unitsPerSecond
	// defaultDepth keeps wazero's own stack, which is on the Go heap and in no limit of memory, at 42 MB even for the largest
	// frames, where wazero itself would let it grow to 84 MB.
	defaultDepth    = 16 << 10
	defaultLogBytes = 64 << 10
	// maxMemory is all that a 32-bit memory can address.
	maxMemory = 4 << 30
)

func (l Limits) withDefaults() Limits {
	if l.Memory == 0 {
		l.Memory = defaultMemory
	}
	l.Memory = min(l.Memory, maxMemory) / wasmPage * wasmPage
	if l.ModuleMemory == 0 {
		l.ModuleMemory = defaultInstance * l.Memory
	}
	if l.Fuel == 0 {
		l.Fuel = defaultFuel
	}
	if l.Depth == 0 {
		l.Depth = defaultDepth
	}
	if l.LogBytes == 0 {
		l.LogBytes = defaultLogBytes
	}
	if l.belt == 0 {
		l.belt = beltFor(l.Fuel)
	}
	return l
}

// interpreterDepth is the call depth of interpreted code. wazero's interpreter stops at 2000 frames with a trap that cannot
// be told from others; a frame takes one unit or more, a small leaf and a host function behind the last one take none.
const interpreterDepth = 1900

// interpreted are the same limits for code that is interpreted.
func (l Limits) interpreted() Limits {
	l.draft, l.lowered = true, l.Depth > interpreterDepth
	l.Depth = min(l.Depth, interpreterDepth)
	return l
}

// tooDeep is how a call ends that exceeds its depth.
func (l *Limits) tooDeep() error {
	if l.lowered {
		return fmt.Errorf("%w: a call depth of %d", ErrInterpreter, l.Depth)
	}
	return ErrDepth
}

// tooLong is how a call ends that the wall clock stops.
func (l *Limits) tooLong() error {
	if l.draft {
		return fmt.Errorf("%w: %v by the wall clock", ErrInterpreter, l.belt)
	}
	return fmt.Errorf("%w: by the wall clock, after %v", ErrFuel, l.belt)
}

// Module is code from which instances are made: compiled, or for weir dev interpreted. It is safe for concurrent use.
type Module struct {
	preparedMeta
	runtime wazero.Runtime
	code    wazero.CompiledModule
	image   *image // nil when the module initialises itself
	limits  Limits
	ledger  ledger
	// superseded tells instances of interpreted code, on other goroutines, that there is compiled code.
	superseded atomic.Bool
}

// Load makes a module ready from the cache, or prepares it again from the bytes that module returns. Loading a
// standard-Go guest from the cache takes about 40 ms, most of it wazero's.
func (e *Engine) Load(ctx context.Context, digest string, module func() ([]byte, error), limits Limits) (*Module, error) {
	if err := checkDigest(digest); err != nil {
		return nil, err
	}
	limits = limits.withDefaults()
	p, err := e.prepare(ctx, digest, module)
	if err != nil {
		return nil, err
	}
	m, err := e.open(ctx, p, limits)
	if err == nil {
		return m, nil
	}
	e.cfg.Log.Warn("cached module does not load, preparing it again", "module", digest, "err", err)
	if err := e.forget(p); err != nil {
		return nil, err
	}
	if p, err = e.prepare(ctx, digest, module); err != nil {
		return nil, err
	}
	return e.open(ctx, p, limits)
}

func (e *Engine) open(ctx context.Context, p *preparedFile, limits Limits) (_ *Module, err error) {
	m := &Module{preparedMeta: p.preparedMeta, limits: limits, ledger: ledger{limit: limits.ModuleMemory}}
	config := runtimeConfig(wazero.NewRuntimeConfigCompiler()).WithCompilationCache(e.cache)
	if limits.draft {
		config = runtimeConfig(wazero.NewRuntimeConfigInterpreter())
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	if err := instantiateHost(ctx, m.runtime); err != nil {
		return nil, err
	}
	if m.code, err = m.runtime.CompileModule(ctx, p.module); err != nil {
		return nil, fmt.Errorf("load module %s: %w", p.Digest, err)
	}
	if p.Standard {
		if m.image, err = newImage(p.image); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Close releases the code. Every instance must be closed before.
func (m *Module) Close() error {
	var errs []error
	if m.code != nil {
		errs = append(errs, m.code.Close(unbounded))
	}
	if m.image != nil {
		errs = append(errs, m.image.close())
	}
	return errors.Join(append(errs, m.runtime.Close(unbounded))...)
}

// Functions are the function types of the module, in the order of their indices in the ABI.
func (m *Module) Functions() []functions.FunctionSpec { return m.Description.Functions }

// Supersede ends calls of interpreted code that are still running, and all later ones, with ErrInterpreter: there is compiled
// code to run them again. A short call may yet come to its end.
func (m *Module) Supersede() { m.superseded.Store(true) }

// NewInstance makes an instance, ready for its first Call. log takes what the guest writes, one line at a time; text holds
// only until it returns, and level is one of log/slog's. The error is ErrMemory when the module's instances have all the
// memory they may have.
func (m *Module) NewInstance(ctx context.Context, log func(level int, text []byte)) (*Instance, error) {
	linear, err := reserve(m.Memory, m.limits.Memory, &m.ledger, m.image)
	if err != nil {
		return nil, err
	}
	i, err := launch(ctx, m.runtime, m.code, linear, m.limits, log)
	if err != nil {
		return nil, err
	}
	if m.limits.draft {
		i.superseded = &m.superseded
	}
	start := i.boot
	if m.Standard {
		start = func() error { return i.resume(&m.preparedMeta) }
	}
	if err := start(); err != nil {
		i.Close()
		return nil, fmt.Errorf("initialise instance: %w", err)
	}
	return i, nil
}
