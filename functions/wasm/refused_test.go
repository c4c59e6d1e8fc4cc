package wasm_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
)

func TestModulesAreRefused(t *testing.T) {
	e := drafting(t)
	for _, c := range []struct {
		file  string
		code  wasm.Code
		where string
	}{
		{"table-grow", wasm.ForbiddenInstruction, "function 5, byte 164"},
		{"unknown-import", wasm.ForbiddenImport, "import env.system"},
		{"import-type", wasm.ForbiddenImport, "import weir.log"},
		{"import-memory", wasm.ForbiddenImport, "byte 11"},
		{"start-loop", wasm.InitFailed, "initialisation"},
		{"start-trap", wasm.InitFailed, "initialisation"},
		{"old-abi", wasm.WrongABI, "weir_abi"},
		{"no-batch", wasm.MissingExport, "export weir_batch"},
		{"batch-type", wasm.MissingExport, "export weir_batch"},
		{"no-memory", wasm.MissingExport, "export memory"},
		{"reserved-export", wasm.ForbiddenExport, "export __weir_fuel"},
		{"threads", wasm.ForbiddenInstruction, "function 5, byte 155"},
		{"shared-memory", wasm.ForbiddenInstruction, "byte 36"},
		{"tail-call", wasm.ForbiddenInstruction, "function 5, byte 153"},
		{"exceptions", wasm.ForbiddenInstruction, "byte 43"},
		{"large-table", wasm.Limit, "table 0"},
		{"two-tables", wasm.Limit, "byte 35"},
		{"large-memory", wasm.Limit, "memory"},
		{"describe-outside", wasm.BadDescription, "weir_describe"},
		{"describe-garbage", wasm.BadDescription, "weir_describe"},
		{"duplicate-function", wasm.BadDescription, "weir_describe"},
		{"malformed-function", wasm.BadDescription, "weir_describe"},
		{"in-outside", wasm.InitFailed, "initialisation"},
		{"fuel-global", wasm.Malformed, "function 5, byte 161"},
	} {
		t.Run(c.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "refused", c.file+".wasm"))
			if err != nil {
				t.Fatal(err)
			}
			refused(t, e, b, c.code, c.where)
		})
	}
}

func refused(t *testing.T, e *wasm.Engine, b []byte, code wasm.Code, where string) {
	t.Helper()
	var details []string
	for tier, err := range verdicts(t, e, b) {
		var r *wasm.Refusal
		if !errors.As(err, &r) {
			t.Fatalf("%s: %v", tier, err)
		}
		if r.Code != code || r.Where != where || r.Detail == "" {
			t.Errorf("%s: refused as %q at %q: %s; want %q at %q", tier, r.Code, r.Where, r.Detail, code, where)
		}
		details = append(details, r.Detail)
	}
	if details[0] != details[len(details)-1] {
		t.Errorf("compiler and interpreter differ: %q", details)
	}
}

// verdicts are what the compiler and the interpreter say of a module that neither should take. The race detector makes the
// interpreter so slow that it stops by the clock what it should stop by fuel: with it, only the compiler is asked.
func verdicts(t *testing.T, e *wasm.Engine, b []byte) map[string]error {
	_, compiled := e.Prepare(t.Context(), b)
	said := map[string]error{"compiler": compiled}
	if !wasm.RaceEnabled {
		_, said["interpreter"] = e.Draft(t.Context(), b)
	}
	return said
}

func TestWhatIsNoModuleIsRefused(t *testing.T) {
	e := drafting(t)
	refused(t, e, nil, wasm.NotWASM, "")
	refused(t, e, []byte("#!/bin/sh\n"), wasm.NotWASM, "")
	refused(t, e, []byte("\x00asm\x0d\x00\x01\x00"), wasm.NotWASM, "byte 4")
	refused(t, e, make([]byte, wasm.MaxModuleBytes+1), wasm.Limit, "")
}

func TestATruncatedModuleIsRefusedWhereverItEnds(t *testing.T) {
	e := newEngine(t)
	b := guest(t, "control")
	for n := range b {
		_, err := e.Prepare(t.Context(), b[:n])
		if r := new(wasm.Refusal); !errors.As(err, &r) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestNestingBombsAreRefusedBeforeAnythingWalksThem(t *testing.T) {
	e := drafting(t)
	nested := func(n int) []byte {
		return append(bytes.Repeat([]byte{0x02, 0x40}, n), bytes.Repeat([]byte{0x0B}, n+1)...)
	}
	refused(t, e, hostileGuest(answer).raw(void, "", nested(50_000)).bytes(), wasm.Limit, "function 5, byte 8166")
	refused(t, e, hostileGuest(answer).raw(void, "", bytes.Repeat([]byte{0x0B}, 300<<10)).bytes(), wasm.Limit, "byte 165")
}

func TestAModuleCannotBePreparedTwiceAtTheSameTimeForEver(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the caller went away"))
	if _, err := newEngine(t).Prepare(ctx, guest(t, "hostile")); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestARefusalReadsAsASentence(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "refused", "unknown-import.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = newEngine(t).Prepare(t.Context(), b)
	want := "module refused: forbidden-import: import env.system: the platform offers no such function to guests"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestARefusalSaysWhatToDoBehindTheGuestsStack(t *testing.T) {
	r := wasm.Refusal{Code: wasm.InitFailed, Where: "initialisation", Detail: "guest trapped; it wrote: panic: x\n\ngoroutine 1 [running]:\n"}
	want := "init-failed: initialisation: guest trapped; it wrote: panic: x\n\ngoroutine 1 [running]:\nkeep what runs before the first message small"
	if r.Reason() != want {
		t.Errorf("got %s\nwant %s", r.Reason(), want)
	}
}
