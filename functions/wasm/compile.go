package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// CompilerCommand is the argument that makes an executable the compiler child: its main calls RunCompiler with the
// arguments that follow.
const CompilerCommand = "__compile-module"

// compilerMark is in the environment of the child, so that an executable which does not know CompilerCommand, such as a
// test binary, cannot start children of its own without end.
const compilerMark = "WEIR_COMPILER"

// compileSeconds of processor time end a child whose parent was killed, and so cannot end it.
const compileSeconds = 120

// compiled is what the child prints when all went well.
const compiled = "compiled\n"

// runtimeConfig is what every runtime here has in common. Not WithCloseOnContextDone: it costs a goroutine per call.
func runtimeConfig(c wazero.RuntimeConfig) wazero.RuntimeConfig {
	return c.WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false)
}

// RunCompiler is the compiler child: it compiles the module on stdin into wazero's disk cache. args are the directory of
// the cache and the limit of its address space in bytes, 0 for none. It returns the exit code.
func RunCompiler(args []string, stdin io.Reader, stdout io.Writer) int {
	if err := runCompiler(args, stdin); err != nil {
		fmt.Fprintln(stdout, err) // the parent reads it; when it cannot, the exit code is left
		return 1
	}
	fmt.Fprint(stdout, compiled) // the parent notices when it is missing
	return 0
}

func runCompiler(args []string, stdin io.Reader) error {
	if len(args) != 2 {
		return fmt.Errorf("%s takes a directory and a limit, not %d arguments", CompilerCommand, len(args))
	}
	limit, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return fmt.Errorf("limit %q: %w", args[1], err)
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit / 2)
		seconds := uint64(compileSeconds)
		if err := unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: seconds, Max: seconds}); err != nil {
			return fmt.Errorf("limit processor time: %w", err)
		}
		if err := limitAddressSpace(uint64(limit)); err != nil {
			return err
		}
	}
	module, err := io.ReadAll(io.LimitReader(stdin, maxPrepared))
	if err != nil {
		return fmt.Errorf("read module: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(args[0])
	if err != nil {
		return fmt.Errorf("open cache: %w", err)
	}
	rt := wazero.NewRuntimeWithConfig(unbounded, runtimeConfig(wazero.NewRuntimeConfigCompiler()).WithCompilationCache(cache))
	if _, err := rt.CompileModule(experimental.WithCompilationWorkers(unbounded, runtime.GOMAXPROCS(0)), module); err != nil {
		return err
	}
	return errors.Join(rt.Close(unbounded), cache.Close(unbounded))
}

// compile has a child compile a prepared module into the code directory, and returns the name of the file there. The
// child gets an empty directory of its own, so that nothing but its one result is taken.
func (e *Engine) compile(ctx context.Context, module []byte) (string, error) {
	if os.Getenv(compilerMark) != "" {
		return "", fmt.Errorf("compile module: this process is a compiler child that did not dispatch %s", CompilerCommand)
	}
	dir, err := os.MkdirTemp(e.path(tempDir), "compile-")
	if err != nil {
		return "", fmt.Errorf("compile module: %w", err)
	}
	defer os.RemoveAll(dir) // what stays behind is swept when the engine starts
	limited, cancel := context.WithTimeout(ctx, e.cfg.CompileTimeout)
	defer cancel()
	limit := e.cfg.CompileMemory
	if raceEnabled {
		limit = 0 // the race detector reserves terabytes of addresses
	}
	args := append(e.cfg.Compiler[1:len(e.cfg.Compiler):len(e.cfg.Compiler)], dir, strconv.FormatInt(limit, 10))
	cmd := exec.CommandContext(limited, e.cfg.Compiler[0], args...)
	cmd.Env = []string{compilerMark + "=1"}
	cmd.Stdin = bytes.NewReader(module)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal to the server's terminal is not for the child
	cmd.WaitDelay = time.Second                           // for output that a killed child's own children hold open
	stdout, stderr := limitedBuffer{}, limitedBuffer{}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("compile module: %w", ctx.Err())
	case err != nil && limited.Err() != nil:
		return "", &Refusal{Code: CompileTimeout, Detail: fmt.Sprintf("compiling took longer than %v", e.cfg.CompileTimeout), cause: limited.Err()}
	case err != nil:
		return "", &Refusal{Code: CompileFailed, Detail: fmt.Sprintf("%v: %s", err, firstLine(stdout.b, stderr.b)), cause: err}
	case string(stdout.b) != compiled:
		return "", fmt.Errorf("compile module: %s answered %q: it does not dispatch %s", e.cfg.Compiler[0], firstLine(stdout.b, stderr.b), CompilerCommand)
	}
	return e.adopt(dir)
}

// adopt moves the one file of a child's cache into the engine's.
func (e *Engine) adopt(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("compile module: the child left %d files, want 1 (%w)", len(found), err)
	}
	name, err := filepath.Rel(dir, found[0])
	if err != nil {
		return "", fmt.Errorf("compile module: %w", err)
	}
	to := e.path(codeDir, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return "", fmt.Errorf("compile module: %w", err)
	}
	if err := os.Rename(found[0], to); err != nil {
		return "", fmt.Errorf("compile module: %w", err)
	}
	return name, nil
}

func firstLine(outputs ...[]byte) string {
	for _, b := range outputs {
		if line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n"); line != "" {
			return line
		}
	}
	return "no output"
}

// limitedBuffer keeps the first bytes written to it; a child that dies of memory prints every goroutine.
type limitedBuffer struct{ b []byte }

const maxChildOutput = 4 << 10

func (l *limitedBuffer) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), maxChildOutput-len(l.b))]...)
	return len(p), nil
}
