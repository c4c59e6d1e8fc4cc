package wasm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
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

// verdict is what the child prints, as JSON: done, a refusal, or another error.
type verdict struct {
	Done    bool     `json:"done,omitempty"`
	Refusal *Refusal `json:"refusal,omitempty"`
	Cause   string   `json:"cause,omitempty"` // which of the errors of Call stopped the module
	Err     string   `json:"err,omitempty"`
}

// preparedFileName is where the child leaves the prepared module, in the directory of its cache.
const preparedFileName = "prepared"

const (
	// maxCode bounds the compiled code of a module; a standard-Go guest of 3.5 MB has 12 MB.
	maxCode = 512 << 20
	// maxVerdict bounds what the child prints; one that dies of memory prints every goroutine.
	maxVerdict = 16 << 10
)

// runtimeConfig is what every runtime here has in common. Not WithCloseOnContextDone: it costs a goroutine per call.
func runtimeConfig(c wazero.RuntimeConfig) wazero.RuntimeConfig {
	return c.WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false)
}

// draftMark is the argument of the child that interprets the module and compiles nothing.
const draftMark = "draft"

// RunCompiler is the compiler child: it takes the module on stdin through the whole pipeline. args are a directory for the
// results, the limit of its address space in bytes, 0 for none, and for a draft its mark. It returns the exit code.
func RunCompiler(args []string, stdin io.Reader, stdout io.Writer) int {
	v, code := verdict{Done: true}, 0
	if err := runCompiler(args, stdin); err != nil {
		v, code = verdictOn(err), 1
	}
	if err := json.NewEncoder(stdout).Encode(v); err != nil {
		return 1 // the parent notices that the verdict is missing
	}
	return code
}

func verdictOn(err error) verdict {
	v := verdict{}
	if !errors.As(err, &v.Refusal) {
		return verdict{Err: err.Error()}
	}
	v.Refusal.shorten()
	for _, kind := range failureKinds {
		if errors.Is(v.Refusal.cause, kind) {
			v.Cause = kind.Error()
		}
	}
	return v
}

// err is the error of the verdict in the parent.
func (v *verdict) err() error {
	if v.Refusal == nil {
		return fmt.Errorf("compile module: %s", v.Err)
	}
	for _, kind := range failureKinds {
		if v.Cause == kind.Error() {
			v.Refusal.cause = kind
		}
	}
	return v.Refusal
}

func runCompiler(args []string, stdin io.Reader) (err error) {
	draft := len(args) == 3 && args[2] == draftMark
	if len(args) != 2 && !draft {
		return fmt.Errorf("%s takes a directory, a limit and %q or nothing, not %q", CompilerCommand, draftMark, args)
	}
	limit, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return fmt.Errorf("limit %q: %w", args[1], err)
	}
	if limit > 0 {
		if err := limitCompiler(limit); err != nil {
			return err
		}
	}
	module, err := io.ReadAll(io.LimitReader(stdin, MaxModuleBytes+1))
	if err != nil {
		return fmt.Errorf("read module: %w", err)
	}
	var cache wazero.CompilationCache
	if !draft {
		if cache, err = wazero.NewCompilationCacheWithDir(args[0]); err != nil {
			return fmt.Errorf("open cache: %w", err)
		}
		defer func() { err = errors.Join(err, cache.Close(unbounded)) }()
	}
	p, err := build(unbounded, cache, module)
	if err != nil {
		return err
	}
	b, err := p.append(nil)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(args[0], preparedFileName), b, 0o600)
}

// compilerGC is how much garbage a child makes before it collects, in percent of what it holds.
const compilerGC = 400

// limitCompiler bounds what the process may use, whatever a module does to the code that reads it.
func limitCompiler(bytes int64) error {
	debug.SetMemoryLimit(bytes / 2)
	debug.SetGCPercent(compilerGC) // a process of a second's life had better not collect; its memory is limited
	for _, l := range []struct {
		what     string
		resource int
		max      uint64
	}{
		{"processor time", unix.RLIMIT_CPU, compileSeconds},
		{"files", unix.RLIMIT_FSIZE, maxCode},
		{"core files", unix.RLIMIT_CORE, 0},
	} {
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.max, Max: l.max}); err != nil {
			return fmt.Errorf("limit %s: %w", l.what, err)
		}
	}
	return limitAddressSpace(uint64(bytes))
}

// compile has a child prepare a module.
func (e *Engine) compile(ctx context.Context, digest string, module []byte) (p *preparedFile, err error) {
	err = e.inChild(ctx, module, func(dir string) error {
		p, err = e.adopt(dir, digest)
		return err
	})
	return p, err
}

// inChild has a child take a module through the pipeline, and hands the directory of its results to adopt. The child gets
// an empty directory of its own, so that nothing but its results is taken.
func (e *Engine) inChild(ctx context.Context, module []byte, adopt func(dir string) error, options ...string) error {
	if os.Getenv(compilerMark) != "" {
		return fmt.Errorf("compile module: this process is a compiler child that did not dispatch %s", CompilerCommand)
	}
	if _, refusal := decode(module); refusal != nil { // most damaged files need no child
		return refusal
	}
	dir, err := os.MkdirTemp(e.path(tempDir), "compile-")
	if err != nil {
		return fmt.Errorf("compile module: %w", err)
	}
	defer os.RemoveAll(dir) // what stays behind is swept when the engine starts
	limited, cancel := context.WithTimeout(ctx, e.cfg.CompileTimeout)
	defer cancel()
	cmd := e.child(limited, dir, options)
	cmd.Stdin = bytes.NewReader(module)
	stdout, stderr := limitedBuffer{}, limitedBuffer{}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = e.runChild(cmd, len(options) == 0)
	v := verdict{}
	heard := json.Unmarshal(stdout.b, &v) == nil && (v.Done == (err == nil)) && (v.Done || v.Refusal != nil || v.Err != "")
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("compile module: %w", ctx.Err())
	case err != nil && limited.Err() != nil:
		return &Refusal{Code: CompileTimeout, Detail: fmt.Sprintf("compiling took longer than %v", e.cfg.CompileTimeout), cause: limited.Err()}
	case heard && !v.Done:
		return v.err()
	case err != nil:
		return &Refusal{Code: CompileFailed, Detail: fmt.Sprintf("%v: %s", err, firstLine(stdout.b, stderr.b)), cause: err}
	case !heard:
		return fmt.Errorf("compile module: %s answered %q: it does not dispatch %s", e.cfg.Compiler[0], firstLine(stdout.b, stderr.b), CompilerCommand)
	}
	return adopt(dir)
}

// child is the command of a child whose results go into dir.
func (e *Engine) child(ctx context.Context, dir string, options []string) *exec.Cmd {
	limit := e.cfg.CompileMemory
	if raceEnabled {
		limit = 0 // the race detector reserves terabytes of addresses
	}
	args := append(e.cfg.Compiler[1:len(e.cfg.Compiler):len(e.cfg.Compiler)], dir, strconv.FormatInt(limit, 10))
	cmd := exec.CommandContext(ctx, e.cfg.Compiler[0], append(args, options...)...)
	cmd.Env = []string{compilerMark + "=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal to the server's terminal is not for the child
	cmd.WaitDelay = time.Second                           // for output that a killed child's own children hold open
	return cmd
}

// patientNice is the nice value of a compiler that nobody waits for: beside another process it gets a quarter of a core, which
// is behind what a person waits for, and still in time when the machine is busy for long.
const patientNice = 5

// runChild runs a child to its end. With drafts nobody waits for a compiler, and what a person waits for goes first.
func (e *Engine) runChild(cmd *exec.Cmd, compiles bool) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	if e.cfg.Drafts && compiles {
		// Of all threads; it fails when the child has ended, and is a matter of speed only.
		_ = unix.Setpriority(unix.PRIO_PGRP, cmd.Process.Pid, patientNice)
	}
	return cmd.Wait()
}

// adopt takes the results of a child: it moves the compiled code into the engine's directory.
func (e *Engine) adopt(dir, digest string) (*preparedFile, error) {
	found, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("compile module: the child left %d files, want 1 (%w)", len(found), err)
	}
	p, err := readChild(filepath.Join(dir, preparedFileName))
	if err != nil {
		return nil, fmt.Errorf("compile module: %w", err)
	}
	if p.Digest != digest {
		return nil, fmt.Errorf("compile module %s: the child prepared %s", digest, p.Digest)
	}
	if p.CodeFile, err = filepath.Rel(dir, found[0]); err != nil {
		return nil, fmt.Errorf("compile module: %w", err)
	}
	if p.CodeSum, err = sumFile(found[0]); err != nil {
		return nil, fmt.Errorf("compile module: %w", err)
	}
	to := e.path(codeDir, p.CodeFile)
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.Rename(found[0], to)); err != nil {
		return nil, fmt.Errorf("compile module: %w", err)
	}
	return p, nil
}

func readChild(path string) (*preparedFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxPrepared))
	if err != nil {
		return nil, err
	}
	return parsePrepared(b)
}

func firstLine(outputs ...[]byte) string {
	for _, b := range outputs {
		if line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n"); line != "" {
			return line
		}
	}
	return "no output"
}

// limitedBuffer keeps the first bytes written to it.
type limitedBuffer struct{ b []byte }

func (l *limitedBuffer) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), maxVerdict-len(l.b))]...)
	return len(p), nil
}
