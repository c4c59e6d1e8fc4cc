package wasm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/functions/wasm"
)

// drafting is an engine that also runs interpreted code, on the cache that the tests share.
func drafting(t testing.TB) *wasm.Engine { return open(t, draftConfig()) }

func draftConfig() wasm.Config {
	return wasm.Config{CacheDir: scratch + "/cache", CompileTimeout: compileTimeout, Drafts: true}
}

func interpret(t testing.TB, e *wasm.Engine, b []byte, limits wasm.Limits) *wasm.Module {
	t.Helper()
	d, err := e.Draft(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.Interpret(t.Context(), d, limits)
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, m)
}

// outcome is all that can be seen of one call.
type outcome struct {
	out, failure string
	fuel         int64
}

// attempt hands batches to a fresh instance, each at the same time with the same seed, until one fails.
func attempt(t *testing.T, m *wasm.Module, batches ...[]byte) (all []outcome) {
	t.Helper()
	i := instance(t, m, func(int, []byte) {})
	for _, in := range batches {
		i.SetTime(1_700_000_000_123, 42)
		out, err := i.Call(in)
		all = append(all, outcome{out: string(out), failure: fmt.Sprint(err), fuel: i.Fuel()})
		if err != nil {
			return all
		}
	}
	return all
}

func TestADraftAnswersAsCompiledCodeDoesForTheSameFuel(t *testing.T) {
	e := drafting(t)
	ops := [][]byte{[]byte("ehello"), []byte(`j[1,{"x":null}]`), []byte("r"), []byte("c"), []byte("n"), []byte("fab"), []byte("p")}
	random := rand.New(rand.NewPCG(3, 4))
	var batches [][]byte
	for n := range 60 {
		in := anyBatch(random)
		if n%10 == 9 {
			damage(random, in)
		}
		batches = append(batches, in)
	}
	for _, c := range []struct {
		name   string
		module []byte
		calls  [][]byte
	}{
		{"standard Go", standardGuest(t), ops},
		{"the Go SDK", build(t, "counter"), [][]byte{counterBatch(1).Bytes(), counterBatch(64).Bytes(), counterBatch(64).Bytes()}},
		{"every step of the Go SDK", build(t, "twin"), batches},
	} {
		t.Run(c.name, func(t *testing.T) {
			compiled, draft := load(t, e, c.module, wasm.Limits{}), interpret(t, e, c.module, wasm.Limits{})
			want, got := attempt(t, compiled, c.calls...), attempt(t, draft, c.calls...)
			if len(got) != len(want) {
				t.Fatalf("a draft answered %d calls, compiled code %d", len(got), len(want))
			}
			for n := range want {
				if got[n] != want[n] {
					t.Errorf("call %d: a draft answered %+v, compiled code %+v", n, got[n], want[n])
				}
			}
		})
	}
}

func TestADraftHasTheImageOfCompiledCode(t *testing.T) {
	e := drafting(t)
	for name, b := range map[string][]byte{"standard Go": standardGuest(t), "small": guest(t, "hostile")} {
		d, err := e.Draft(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Prepare(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if err := wasm.SameButForCode(e, d, p.Digest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACallThatIsTooDeepForTheInterpreterSaysSo(t *testing.T) {
	e, b := drafting(t), standardGuest(t)
	nested := []byte("j" + strings.Repeat("[", 500) + strings.Repeat("]", 500))
	if _, err := instance(t, load(t, e, b, wasm.Limits{}), nil).Call(nested); err != nil {
		t.Fatalf("compiled code: %v", err)
	}
	draft := interpret(t, e, b, wasm.Limits{})
	for _, in := range [][]byte{nested, []byte("d")} {
		i := instance(t, draft, nil)
		if _, err := i.Call(in); !errors.Is(err, wasm.ErrInterpreter) || errors.Is(err, wasm.ErrDepth) {
			t.Errorf("%.10q: got %v", in, err)
		}
		if _, err := i.Call([]byte("e")); !errors.Is(err, wasm.ErrDead) {
			t.Errorf("the instance answered %v after it", err)
		}
	}
	shallow := instance(t, interpret(t, e, b, wasm.Limits{Depth: 100}), nil)
	if _, err := shallow.Call([]byte("d")); !errors.Is(err, wasm.ErrDepth) {
		t.Errorf("a depth that the interpreter has: %v", err)
	}
}

func TestALongCallEndsWhenThereIsCompiledCode(t *testing.T) {
	m := interpret(t, drafting(t), guest(t, "hostile"), wasm.Limits{Fuel: hostileFuel})
	long, short := instance(t, m, nil), instance(t, m, nil)
	m.Supersede()
	if _, err := long.Call([]byte("l")); !errors.Is(err, wasm.ErrInterpreter) || !strings.Contains(err.Error(), "compiled code is there") {
		t.Errorf("got %v", err)
	}
	if got := call(t, short, "ehello"); got != "ehello" {
		t.Errorf("a short call answered %q", got)
	}
}

func TestNoDraftIsInTheCache(t *testing.T) {
	cfg := draftConfig()
	cfg.CacheDir = t.TempDir()
	e, b := open(t, cfg), guest(t, "hostile")
	if got := attempt(t, interpret(t, e, b, wasm.Limits{}), []byte("ehello")); got[0].out != "ehello" {
		t.Errorf("it answered %+v", got)
	}
	if left := files(t, cfg.CacheDir); len(left) > 0 || e.Has(wasm.Digest(b)) {
		t.Errorf("it left %q", left)
	}
	if _, err := e.Prepare(t.Context(), b); err != nil || !e.Has(wasm.Digest(b)) || e.Has("sha256:../x") {
		t.Errorf("compiled behind the draft: %v, in the cache: %v", err, e.Has(wasm.Digest(b)))
	}
}

func TestAServerRunsNoInterpretedCode(t *testing.T) {
	d, err := drafting(t).Draft(t.Context(), guest(t, "hostile"))
	if err != nil {
		t.Fatal(err)
	}
	server := newEngine(t)
	if _, err := server.Draft(t.Context(), guest(t, "hostile")); err == nil {
		t.Error("it drafted a module")
	}
	if _, err := server.Interpret(t.Context(), d, wasm.Limits{}); err == nil {
		t.Error("it took a draft")
	}
}

// stalled is an engine whose compiler never ends, with a pipe that it opens when it begins; drafts are made as ever.
func stalled(t *testing.T) (e *wasm.Engine, began string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	began = pipe(t)
	cfg := draftConfig()
	cfg.CacheDir = t.TempDir()
	cfg.Compiler = []string{"/bin/sh", "-c", `[ "$3" ] && exec "$0" ` + wasm.CompilerCommand + ` "$@"; : >` + began + `; exec sleep 600`, self}
	return open(t, cfg), began
}

// pipe is the path of a pipe: who opens an end waits for the other.
func pipe(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/pipe"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestADraftDoesNotWaitForACompiler(t *testing.T) {
	e, began := stalled(t)
	ctx, cancel := context.WithCancel(t.Context())
	compiled := make(chan error)
	go func() {
		_, err := e.Prepare(ctx, guest(t, "control"))
		compiled <- err
	}()
	if _, err := os.ReadFile(began); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"hostile", "control"} {
		if _, err := e.Draft(t.Context(), guest(t, name)); err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-compiled; !errors.Is(err, context.Canceled) {
		t.Errorf("the compiler ended with %v", err)
	}
}

func TestACallerWhoLeavesStopsADraft(t *testing.T) {
	cfg, began := draftConfig(), pipe(t)
	cfg.CacheDir, cfg.Compiler = t.TempDir(), []string{"/bin/sh", "-c", ": >" + began + "; exec sleep 600"}
	e := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	drafted := make(chan error)
	go func() {
		_, err := e.Draft(ctx, guest(t, "hostile"))
		drafted <- err
	}()
	if _, err := os.ReadFile(began); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-drafted; !errors.Is(err, context.Canceled) || errors.As(err, new(*wasm.Refusal)) {
		t.Errorf("got %v", err)
	}
	if left := files(t, cfg.CacheDir); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
}

func TestADraftOfAnotherModuleIsNotTaken(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir() + "/other.wasm"
	if err := os.WriteFile(other, guest(t, "control"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := draftConfig()
	cfg.CacheDir = t.TempDir()
	cfg.Compiler = []string{"/bin/sh", "-c", `cat >/dev/null; exec "$0" ` + wasm.CompilerCommand + ` "$@" <` + other, self}
	if _, err := open(t, cfg).Draft(t.Context(), guest(t, "hostile")); err == nil || !strings.Contains(err.Error(), "the child prepared") {
		t.Errorf("got %v", err)
	}
}

func TestAStartThatIsTooDeepForTheInterpreterIsLeftToTheCompiler(t *testing.T) {
	e := drafting(t)
	m := hostileGuest(answer).fn(convert, "", "local.get 0 i32.eqz if void i32.const 0 return end local.get 0 i32.const 1 i32.sub call 5")
	m.fn(void, "", "i32.const 5000 call 5 drop").export("_initialize", 0, first+1)
	if _, err := e.Draft(t.Context(), m.bytes()); !errors.Is(err, wasm.ErrInterpreter) {
		t.Errorf("a draft: %v", err)
	}
	if got := attempt(t, load(t, e, m.bytes(), wasm.Limits{}), bytes.Repeat([]byte("x"), 8)); got[0].failure != "<nil>" {
		t.Errorf("compiled: %+v", got)
	}
}
