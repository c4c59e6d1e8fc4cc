package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof"
	labels "runtime/pprof"
	"strings"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// listenProfile serves Go's profiles on an address of this machine; for others they would be a way to slow it down, and to
// read its memory.
func listenProfile(address string, log *slog.Logger) (*deploy.Server, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return deploy.Listen(address, false, mux, log)
}

// profiled makes modules whose calls profiles tell apart: by function, beside the job that the goroutines of its tasks are
// labelled with.
func profiled(load func(context.Context, *functions.Module) (taskmanager.Module, error)) func(context.Context, *functions.Module) (taskmanager.Module, error) {
	return func(ctx context.Context, m *functions.Module) (taskmanager.Module, error) {
		module, err := load(ctx, m)
		if err != nil {
			return nil, err
		}
		var names []string
		for i := range m.Description.Functions {
			names = append(names, m.Description.Functions[i].Type.String())
		}
		// A call runs a batch of messages for any function of its module.
		within := labels.WithLabels(ctx, labels.Labels("function", strings.Join(names, ",")))
		return &profiledModule{Module: module, outside: context.WithoutCancel(ctx), within: context.WithoutCancel(within)}, nil
	}
}

// profiledModule holds contexts for their labels alone, which is the form that runtime/pprof takes them in.
type profiledModule struct {
	taskmanager.Module
	outside, within context.Context
}

func (p *profiledModule) NewInvoker(log func(level int, text []byte)) (taskmanager.Invoker, error) {
	made, err := p.Module.NewInvoker(log)
	if err != nil {
		return nil, err
	}
	return &profiledInvoker{Invoker: made, module: p}, nil
}

type profiledInvoker struct {
	taskmanager.Invoker
	module *profiledModule
}

func (p *profiledInvoker) Call(in []byte, now int64, seed uint64) ([]byte, error) {
	labels.SetGoroutineLabels(p.module.within)
	defer labels.SetGoroutineLabels(p.module.outside)
	return p.Invoker.Call(in, now, seed)
}

// Fuel is that of the instance, which telemetry asks for.
func (p *profiledInvoker) Fuel() int64 {
	if m, ok := p.Invoker.(interface{ Fuel() int64 }); ok {
		return m.Fuel()
	}
	return 0
}
