package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/runtime/taskmanager"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == wasm.CompilerCommand {
		os.Exit(wasm.RunCompiler(os.Args[2:], os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// guestModule builds a guest of functions/wasm.
func guestModule(t *testing.T, name string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", path, "../../functions/wasm/testdata/"+name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build guest: %v\n%s", err, out)
	}
	return readFile(t, path)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// small are modules without a runtime, which take the compiler no time.
func small(t *testing.T, name string) []byte {
	return readFile(t, filepath.Join("..", "..", "functions", "wasm", "testdata", "guests", name+".wasm"))
}

// cacheOf is a tiered cache of modules, whose run the test calls or not. When compiler is not empty it is a script that
// stands for the compiler; drafts are made as ever.
func cacheOf(t *testing.T, compiler string, modules ...[]byte) (c *moduleCache, warnings *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := wasm.Config{CacheDir: t.TempDir(), Drafts: true, CompileTimeout: 10 * time.Minute} // it takes a minute under the race detector
	if compiler != "" {
		cfg.Compiler = []string{"/bin/sh", "-c", `[ "$3" ] && exec "$0" ` + wasm.CompilerCommand + ` "$@"; ` + compiler, self}
	}
	engine, err := wasm.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	warnings = &bytes.Buffer{}
	c = newModuleCache(engine, true, slog.New(slog.NewTextHandler(warnings, &slog.HandlerOptions{Level: slog.LevelWarn})))
	c.read = func(digest string) ([]byte, error) {
		for _, b := range modules {
			if wasm.Digest(b) == digest {
				return b, nil
			}
		}
		return nil, fmt.Errorf("no module %s", digest)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.close(), engine.Close()); err != nil {
			t.Error(err)
		}
	})
	return c, warnings
}

// loadedIn loads a module as an attempt does.
func loadedIn(t *testing.T, c *moduleCache, b []byte) *usedModule {
	t.Helper()
	m, err := c.load(t.Context(), &functions.Module{Digest: wasm.Digest(b), Memory: 64 << 20, Time: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return m.(*usedModule)
}

func instanceIn(t *testing.T, m *usedModule) taskmanager.Invoker {
	t.Helper()
	i, err := m.NewInvoker(func(int, []byte) {})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// answers are what an instance says to a batch, and what that cost.
func answers(t *testing.T, i taskmanager.Invoker, in string) string {
	t.Helper()
	out, err := i.Call([]byte(in), 1_700_000_000_123, 42)
	if err != nil {
		t.Fatalf("call %.20q: %v", in, err)
	}
	return fmt.Sprintf("%s for %d", out, i.(interface{ Fuel() int64 }).Fuel())
}

func TestAnInterpretedInstanceIsReplacedBetweenTwoBatches(t *testing.T) {
	b := guestModule(t, "stdgo")
	c, warnings := cacheOf(t, "", b)
	if d, err := c.prepare(t.Context(), b); err != nil || d.Functions[0].Type.String() != "test/stdgo" {
		t.Fatalf("%+v, %v", d, err)
	}
	m := loadedIn(t, c, b)
	defer m.Close()
	first, other := instanceIn(t, m), instanceIn(t, m)
	if len(c.drafts) > 0 || c.engine.Has(wasm.Digest(b)) {
		t.Errorf("%d drafts are kept; compiled: %v", len(c.drafts), c.engine.Has(wasm.Digest(b)))
	}
	want := []string{answers(t, first, "n"), answers(t, first, "ehello"), answers(t, first, `j{"a":[1]}`)}
	if err := c.compile(t.Context(), m.loaded); err != nil {
		t.Fatal(err)
	}
	if !first.(*tieredInvoker).interpreted || m.loaded.interpreted.module == nil {
		t.Error("an instance was replaced without a batch")
	}
	// A fresh instance counts its calls from the beginning.
	got := []string{answers(t, first, "n"), answers(t, first, "ehello"), answers(t, first, `j{"a":[1]}`)}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || first.(*tieredInvoker).interpreted {
		t.Errorf("compiled code answered\n%q, interpreted code\n%q", got, want)
	}
	if _, err := other.(*tieredInvoker).instance.Call([]byte("l")); !errors.Is(err, wasm.ErrInterpreter) || !strings.Contains(err.Error(), "is there") {
		t.Errorf("a long call was left to the interpreter: %v", err)
	}
	other.Close() // without a batch
	if m.loaded.interpreted.module != nil || !c.sweep() || c.sweep() {
		t.Error("interpreted code is kept, and nothing runs on it")
	}
	third := instanceIn(t, m)
	if got := answers(t, third, "n"); got != want[0] || third.(*tieredInvoker).interpreted {
		t.Errorf("an instance made later answered %q", got)
	}
	first.Close()
	third.Close()
	if warnings.Len() > 0 {
		t.Error(warnings)
	}
}

func TestACallThatTheInterpreterCannotEndRunsOnCompiledCode(t *testing.T) {
	b := guestModule(t, "stdgo")
	c, _ := cacheOf(t, "", b)
	m := loadedIn(t, c, b)
	defer m.Close()
	i, deep := instanceIn(t, m), instanceIn(t, m)
	const levels = 500
	if got := answers(t, i, "j"+strings.Repeat("[", levels)+strings.Repeat("]", levels)); !strings.HasPrefix(got, "[[[[") {
		t.Errorf("it answered %.40q", got)
	}
	if _, err := deep.Call([]byte("d"), 0, 0); !errors.Is(err, wasm.ErrDepth) {
		t.Errorf("a recursion without end: %v", err)
	}
	i.Close()
	deep.Close()
}

func TestAModuleThatTheCompilerRefusesGoesOnInterpreted(t *testing.T) {
	b := small(t, "hostile")
	c, warnings := cacheOf(t, `cat >/dev/null; echo '{"refusal":{"Code":"compile","Detail":"the code is too large"}}'; exit 1`, b)
	m := loadedIn(t, c, b)
	defer m.Close()
	i := instanceIn(t, m)
	for range 2 {
		if err := c.compile(t.Context(), m.loaded); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("compiled: %v", err)
		}
		if got := answers(t, i, "ehello"); !strings.HasPrefix(got, "ehello for") {
			t.Errorf("it answered %q", got)
		}
	}
	if text := warnings.String(); strings.Count(text, "goes on interpreted") != 1 || !strings.Contains(text, "the code is too large") {
		t.Errorf("it was told: %s", text)
	}
	if l, _ := c.next(t.Context()); l != nil {
		t.Error("it would be compiled again")
	}
	_, err := i.Call([]byte("r"), 0, 0) // a recursion without end
	if !errors.Is(err, wasm.ErrInterpreter) || !strings.Contains(err.Error(), "the code is too large") {
		t.Errorf("a call too deep: %v", err)
	}
	i.Close()
}

func TestAModuleInTheCacheIsNotInterpreted(t *testing.T) {
	b := small(t, "hostile")
	c, _ := cacheOf(t, "", b)
	if _, err := c.engine.Prepare(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, err := c.prepare(t.Context(), b); err != nil || len(c.drafts) > 0 {
		t.Errorf("%d drafts, %v", len(c.drafts), err)
	}
	m := loadedIn(t, c, b)
	defer m.Close()
	i := instanceIn(t, m)
	if _, plain := i.(*invoker); !plain || m.loaded.interpreted != nil {
		t.Errorf("it is a %T", i)
	}
	i.Close()
}

func TestDraftsThatNobodyRunsAreFew(t *testing.T) {
	var modules [][]byte
	for n := range keptDrafts + 2 { // a custom section makes another module of it
		modules = append(modules, append(small(t, "hostile"), 0, 3, 1, 'x', byte(n)))
	}
	c, _ := cacheOf(t, "", modules...)
	for _, b := range modules {
		if _, err := c.prepare(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if c.takeDraft(wasm.Digest(modules[1])) != nil || c.takeDraft(wasm.Digest(modules[2])) == nil || len(c.drafts) != keptDrafts-1 {
		t.Errorf("%d drafts are kept", len(c.drafts))
	}
	for _, b := range modules[:2] { // one without a draft is drafted again
		m := loadedIn(t, c, b)
		i := instanceIn(t, m)
		answers(t, i, "ehello")
		i.Close()
		m.Close()
	}
	if len(c.loaded) > 0 {
		t.Errorf("%d modules without a user are kept interpreted", len(c.loaded))
	}
}

// waiting is a compiler that writes its process id into a pipe and does nothing more.
func waiting(t *testing.T) (script, began string) {
	t.Helper()
	began = filepath.Join(t.TempDir(), "began")
	if err := unix.Mkfifo(began, 0o600); err != nil {
		t.Fatal(err)
	}
	return "echo $$ >" + began + "; exec sleep 600", began
}

// compilerIn waits until a compiler has begun, and returns its process id.
func compilerIn(t *testing.T, began string) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(string(readFile(t, began))))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func gone(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("compiler %d is still there: %v", pid, err)
	}
}

func TestACompilerEndsWhenNobodyUsesItsModule(t *testing.T) {
	old, saved := small(t, "hostile"), small(t, "control")
	script, began := waiting(t)
	c, warnings := cacheOf(t, script, old, saved)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.run(ctx) }()
	before := loadedIn(t, c, old)
	first := compilerIn(t, began)
	after := loadedIn(t, c, saved) // as an upgrade does: both are used for a moment
	before.Close()
	second := compilerIn(t, began)
	gone(t, first)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	gone(t, second)
	i := instanceIn(t, after) // what runs interpreted goes on while jobs drain
	if _, err := i.Call([]byte("00000000"), 0, 0); err != nil {
		t.Error(err)
	}
	i.Close()
	after.Close()
	if len(c.loaded) > 0 || warnings.Len() > 0 {
		t.Errorf("%d modules are loaded; warnings: %s", len(c.loaded), warnings)
	}
}

// decided is a log that tells when a module is compiled, or is not going to be: under the race detector the compiler may
// run out of its time.
type decided struct {
	slog.Handler
	modules chan struct{}
}

func (d *decided) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "module runs compiled") || strings.HasPrefix(r.Message, "module cannot be compiled") {
		d.modules <- struct{}{}
	}
	return nil
}

func (d *decided) Enabled(context.Context, slog.Level) bool { return true }

func TestDevKeepsStateFromInterpretedToCompiledCodeAndOverAReload(t *testing.T) {
	dir, b := t.TempDir(), guestModule(t, "counter")
	write(t, dir, "module.yaml", strings.NewReplacer("example/counter", "test/counter", "cp source.txt", "cp source").Replace(devDocument))
	write(t, dir, "source", string(b))
	log := &decided{Handler: slog.DiscardHandler, modules: make(chan struct{}, 8)}
	s := shellIn(dir, func(w wiring) (*node, error) {
		w.Log = slog.New(log)
		return wire(w)
	})
	dev := begin(t, s, "stdout", "dev", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0", "--kafka", "127.0.0.1:0")
	api := dev.until(t, `^  api +(http://127\.0\.0\.1:\d+) `)[1]
	counts := func(want string) {
		t.Helper()
		response, err := http.Post(api+"/in/test/counter/ann", "application/json", strings.NewReader("1"))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || string(body) != want {
			t.Errorf("it answered %s %q, %v; want %s", response.Status, body, err, want)
		}
	}
	dev.until(t, `^  deployed`)
	counts("1")
	<-log.modules
	counts("2")
	write(t, dir, "source", string(append(b, 0, 2, 1, 'x'))) // a custom section: the same code in another module
	dev.until(t, `^  reloaded  test/counter in .*, state kept$`)
	counts("3")
	<-log.modules
	counts("4")
	if code := dev.end(); code != exitDone {
		t.Errorf("exit %d: %s", code, dev.stderr)
	}
}
