package wasm_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-run/weir/functions/wasm"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == wasm.CompilerCommand {
		os.Exit(wasm.RunCompiler(os.Args[2:], os.Stdin, os.Stdout))
	}
	os.Exit(run(m))
}

// scratch is a directory for guests and code that all tests of the package share, because compiling takes seconds.
var scratch string

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-wasm-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch = dir
	return m.Run()
}

// standardGuest builds the guest in testdata/stdgo.
func standardGuest(t testing.TB) []byte { return build(t, "stdgo") }

// build compiles a guest, named by its place in testdata, with the standard Go toolchain, once for all tests.
func build(t testing.TB, name string) []byte {
	t.Helper()
	path := filepath.Join(scratch, filepath.Base(name)+".wasm")
	if b, err := os.ReadFile(path); err == nil {
		return b
	}
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", path, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build guest: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// compileTimeout is for a busy machine and the race detector, under which compiling takes a minute.
const compileTimeout = 10 * time.Minute

// newEngine opens an engine on the code cache that the tests share.
func newEngine(t testing.TB) *wasm.Engine {
	t.Helper()
	e, err := wasm.New(wasm.Config{CacheDir: filepath.Join(scratch, "cache"), CompileTimeout: compileTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func load(t testing.TB, e *wasm.Engine, b []byte, limits wasm.Limits) *wasm.Module {
	t.Helper()
	m, err := e.Load(t.Context(), wasm.Digest(b), func() ([]byte, error) { return b, nil }, limits)
	if err != nil {
		t.Fatal(err)
	}
	return closing(t, m)
}

// closing closes a module with its test.
func closing(t testing.TB, m *wasm.Module) *wasm.Module {
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func instance(t testing.TB, m *wasm.Module, log func(int, []byte)) *wasm.Instance {
	t.Helper()
	i, err := m.NewInstance(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

func call(t testing.TB, i *wasm.Instance, in string) string {
	t.Helper()
	out, err := i.Call([]byte(in))
	if err != nil {
		t.Fatalf("call %.20q: %v", in, err)
	}
	return string(out)
}
