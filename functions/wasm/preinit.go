package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/sdk/abi"
)

const (
	// trialFuel bounds what a module runs while it is deployed. A standard-Go guest with json and fmt initialises itself
	// with 1.1 million units.
	trialFuel = 30_000_000
	// trialMemory bounds the memory of that run.
	trialMemory = 256 << 20
	// trialBelt bounds its time, on a machine that is busy with other things.
	trialBelt = 30 * time.Second
	// maxDescription bounds what weir_describe returns.
	maxDescription = 1 << 20
	// maxDescribed bounds its function types, and the states of each: more than any program has, and few enough to be
	// compared with one another.
	maxDescribed = 1024
)

// trial is what a first run found out about a module.
type trial struct {
	description functions.Description
	image       []byte // of a bakeable module
	globals     []globalValue
	in, out     buffer
}

// trialLimits are those of a first run.
func trialLimits() Limits {
	return Limits{Memory: trialMemory, ModuleMemory: trialMemory, Fuel: trialFuel, belt: trialBelt}.withDefaults()
}

// try runs a metered module: its start function, _initialize, weir_abi, weir_describe, and for a guest that will be
// pre-initialised an empty batch, so that what a guest does only once is part of the image.
func try(ctx context.Context, rt wazero.Runtime, code wazero.CompiledModule, w *metered, limits Limits) (*trial, error) {
	linear, err := reserve(int64(w.m.memory.min)*wasmPage, limits.Memory, &ledger{limit: limits.ModuleMemory}, nil)
	if err != nil {
		return nil, &Refusal{Code: Limit, Where: "memory", Detail: err.Error(), cause: err}
	}
	i, err := launch(ctx, rt, code, linear, limits, nil)
	if err != nil {
		return nil, &Refusal{Code: InitFailed, Where: "instantiation", Detail: err.Error(), cause: err}
	}
	defer i.Close()
	if w.bakeable {
		if r := w.m.fill(i); r != nil {
			return nil, r
		}
	}
	t := &trial{}
	if err := t.run(i, w.bakeable); err != nil {
		return nil, err
	}
	if w.bakeable {
		t.bake(w, i)
	}
	return t, nil
}

func (t *trial) run(i *Instance, warm bool) error {
	if err := i.boot(); err != nil {
		return initFailed("initialisation", err)
	}
	i.begin()
	defer i.finish()
	version, err := i.ask("weir_abi", 0)
	if err != nil {
		return initFailed("weir_abi", err)
	}
	if int32(version) != abi.Version {
		return &Refusal{Code: WrongABI, Where: "weir_abi",
			Detail: fmt.Sprintf("the module speaks version %d, this server speaks %d", int32(version), abi.Version)}
	}
	place, err := i.ask("weir_describe", 0)
	if err != nil {
		return initFailed("weir_describe", err)
	}
	if t.description, err = describe(i, place); err != nil {
		return err
	}
	t.in, t.out = i.in, i.out
	if !warm {
		return nil
	}
	var empty abi.Batch
	empty.Reset(0, 0)
	if _, err := i.Call(empty.Bytes()); err != nil {
		return initFailed("weir_batch", err)
	}
	return nil
}

func initFailed(where string, err error) error {
	detail := err.Error()
	var f *Failure
	if errors.As(err, &f) && f.Stderr != "" {
		detail += "; it wrote: " + f.Stderr
	}
	return &Refusal{Code: InitFailed, Where: where, Detail: detail, cause: err}
}

// describe reads and checks the document that weir_describe left at place.
func describe(i *Instance, place uint64) (d functions.Description, err error) {
	refuse := func(detail string) error {
		return &Refusal{Code: BadDescription, Where: "weir_describe", Detail: detail}
	}
	at, n := uint32(place>>32), uint32(place)
	if n > maxDescription {
		return d, refuse("bytes: " + ofLimit(int64(n), maxDescription))
	}
	text, ok := i.memory.Read(at, n)
	if !ok {
		return d, refuse("the document lies outside of the memory")
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, refuse(err.Error())
	}
	if d.ABI != abi.Version {
		return d, &Refusal{Code: WrongABI, Where: "weir_describe", Detail: fmt.Sprintf("the module speaks version %d, this server speaks %d", d.ABI, abi.Version)}
	}
	if len(d.Functions) == 0 {
		return d, refuse("it names no function")
	}
	if len(d.Functions) > maxDescribed {
		return d, refuse("function types: " + ofLimit(int64(len(d.Functions)), maxDescribed))
	}
	for k, f := range d.Functions {
		if len(f.States) > maxDescribed {
			return d, refuse(fmt.Sprintf("function type %s: states: %s", f.Type, ofLimit(int64(len(f.States)), maxDescribed)))
		}
		if slices.ContainsFunc(d.Functions[:k], func(other functions.FunctionSpec) bool { return other.Type == f.Type }) {
			return d, refuse(fmt.Sprintf("function type %s is named twice", f.Type))
		}
		if f.Type == (functions.TypeName{}) {
			return d, refuse(fmt.Sprintf("function %d has no type", k))
		}
		for s, state := range f.States {
			if state.Name == "" || slices.ContainsFunc(f.States[:s], func(other functions.StateSpec) bool { return other.Name == state.Name }) {
				return d, refuse(fmt.Sprintf("function type %s: state %q is empty or named twice", f.Type, state.Name))
			}
		}
	}
	return d, nil
}
