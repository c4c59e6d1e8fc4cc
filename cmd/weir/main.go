// Command weir is the whole platform in one binary: the server, the tool that builds and deploys functions, and the one
// that looks into running jobs.
//
// It hides which implementation stands behind each contract (wire.go names them all) and how a process starts, drains
// and ends. Its invariants: nothing but the answer goes to standard output, and the exit code says how it went
// (failure.go). Every verb has a file of its own and works through a shell, never through the process's globals, so that
// tests run it in place. It holds no logic of jobs: those verbs speak to the control API like any other client.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/weir-run/weir/functions/wasm"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == wasm.CompilerCommand {
		os.Exit(wasm.RunCompiler(os.Args[2:], os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once: whoever sends it does not want to wait for the drain.
	context.AfterFunc(ctx, stop)
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	s := &shell{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		environ:  os.Environ(),
		dir:      dir,
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
		wire:     wire,
	}
	os.Exit(s.run(ctx, os.Args[1:]))
}
