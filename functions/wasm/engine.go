package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/weir-run/weir/functions"
)

// Config is what an Engine needs. Zero values mean the defaults.
type Config struct {
	// CacheDir holds prepared and compiled modules. It is created with mode 0700, and refused when others may write to
	// it: compiled code is guarded by a checksum only. Required.
	CacheDir string
	Log      *slog.Logger // nothing is logged when nil
	// Compiler is the command line of the compiler child; the directory and the limit are appended. The default is this
	// executable with CompilerCommand.
	Compiler       []string
	CompileTimeout time.Duration // of one module; 60 s
	CompileMemory  int64         // address space of the child in bytes; 4 GiB, at least 2 GiB
	// Drafts allows interpreted code, and has the compiler stand back for whatever else runs: weir dev sets it.
	Drafts bool
}

const (
	defaultCompileTimeout = time.Minute // 60 times what a standard-Go guest takes on an idle machine
	defaultCompileMemory  = 4 << 30     // a guest of 3.5 MB takes 100 MB, beside what Go's runtime reserves
	minCompileMemory      = 2 << 30     // at 1 GiB Go's runtime does not start
)

// Directories below CacheDir.
const (
	preparedDir = "prepared"
	codeDir     = "code"
	tempDir     = "temp"
)

// Engine prepares and loads modules. It is safe for concurrent use; modules are prepared one at a time.
type Engine struct {
	cfg   Config
	cache wazero.CompilationCache
	turn  chan struct{} // holds one token: who takes it may prepare
	draft chan struct{} // the same for drafts, which do not wait for a compiler
}

// New opens the cache directory. It fails where wazero has no compiler: its interpreter is ten times slower and more, and
// figures and limits would not hold.
func New(cfg Config) (*Engine, error) {
	if cfg.CacheDir == "" {
		return nil, errors.New("wasm: no cache directory")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.CompileTimeout == 0 {
		cfg.CompileTimeout = defaultCompileTimeout
	}
	if cfg.CompileMemory == 0 {
		cfg.CompileMemory = defaultCompileMemory
	}
	if cfg.CompileMemory < minCompileMemory {
		return nil, fmt.Errorf("wasm: compile memory %d is below %d", cfg.CompileMemory, minCompileMemory)
	}
	if len(cfg.Compiler) == 0 {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("wasm: find the compiler's executable: %w", err)
		}
		cfg.Compiler = []string{exe, CompilerCommand}
	}
	if err := probeCompiler(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, turn: make(chan struct{}, 1), draft: make(chan struct{}, 1)}
	e.turn <- struct{}{}
	e.draft <- struct{}{}
	if err := e.openDirs(); err != nil {
		return nil, err
	}
	var err error
	if e.cache, err = wazero.NewCompilationCacheWithDir(e.path(codeDir)); err != nil {
		return nil, fmt.Errorf("open code cache: %w", err)
	}
	return e, nil
}

// Close releases the compiled code. Every Module must be closed before.
func (e *Engine) Close() error { return e.cache.Close(unbounded) }

// probeCompiler finds out whether wazero can compile here: it panics where it cannot.
func probeCompiler() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("wasm: wazero has no compiler for %s/%s: %v", runtime.GOOS, runtime.GOARCH, r)
		}
	}()
	return wazero.NewRuntimeWithConfig(unbounded, runtimeConfig(wazero.NewRuntimeConfigCompiler())).Close(unbounded)
}

func (e *Engine) path(parts ...string) string {
	return filepath.Join(append([]string{e.cfg.CacheDir}, parts...)...)
}

func (e *Engine) openDirs() error {
	if err := os.RemoveAll(e.path(tempDir)); err != nil {
		return fmt.Errorf("sweep module cache: %w", err)
	}
	for _, dir := range []string{"", preparedDir, codeDir, tempDir} {
		if err := os.MkdirAll(e.path(dir), 0o700); err != nil {
			return fmt.Errorf("open module cache: %w", err)
		}
	}
	for _, dir := range []string{"", preparedDir, codeDir, tempDir} {
		if err := ownDir(e.path(dir)); err != nil {
			return fmt.Errorf("open module cache: %w", err)
		}
	}
	return nil
}

// ownDir refuses a directory that someone else could put code into.
func ownDir(path string) error {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	switch mode := s.Mode & 0o777; {
	case int(s.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, who could write code into it; use a directory of user %d", path, s.Uid, os.Geteuid())
	case mode&0o022 != 0:
		return fmt.Errorf("%s has mode %#o: others could write code into it; want 0700", path, mode)
	}
	return nil
}

// Prepared is a module that may be deployed.
type Prepared struct {
	Digest      string                `json:"digest"` // sha256:hex of the bytes as uploaded
	Description functions.Description `json:"description"`
	Standard    bool                  `json:"standard"` // a standard-Go guest, pre-initialised
	Memory      int64                 `json:"memory"`   // bytes an instance begins with
}

// Digest names a module by its content.
func Digest(module []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(module)) }

// Forget removes a module from the cache. Modules that are loaded go on.
func (e *Engine) Forget(digest string) error {
	if err := checkDigest(digest); err != nil {
		return err
	}
	p, err := e.readPrepared(digest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return e.forget(p)
}

// Prepare takes a module through the whole deploy pipeline and leaves the result in the cache. The error of a module that
// is not run is a *Refusal; others are the machine's. A module that is already in the cache costs a read of it.
func (e *Engine) Prepare(ctx context.Context, module []byte) (*Prepared, error) {
	if len(module) > MaxModuleBytes {
		return nil, tooLarge(module)
	}
	p, err := e.prepare(ctx, Digest(module), func() ([]byte, error) { return module, nil })
	if err != nil {
		return nil, err
	}
	return &p.Prepared, nil
}

func tooLarge(module []byte) error {
	return &Refusal{Code: Limit, Detail: "bytes: " + ofLimit(int64(len(module)), MaxModuleBytes)}
}

// prepare reads a prepared module from the cache, or makes it.
func (e *Engine) prepare(ctx context.Context, digest string, module func() ([]byte, error)) (*preparedFile, error) {
	p, err := e.readPrepared(digest)
	if err == nil {
		return p, nil
	}
	select {
	case <-e.turn:
	case <-ctx.Done():
		return nil, fmt.Errorf("prepare module %s: %w", digest, ctx.Err())
	}
	defer func() { e.turn <- struct{}{} }()
	if p, err = e.readPrepared(digest); err == nil { // someone else prepared it meanwhile
		return p, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		e.cfg.Log.Warn("cached module is damaged, preparing it again", "module", digest, "err", err)
	}
	b, err := module()
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", digest, err)
	}
	if got := Digest(b); got != digest {
		return nil, fmt.Errorf("read module %s: its bytes have the digest %s", digest, got)
	}
	began := time.Now()
	if p, err = e.compile(ctx, digest, b); err != nil {
		if r := new(Refusal); errors.As(err, &r) {
			r.shorten()
		}
		return nil, err
	}
	if err := e.writePrepared(p); err != nil {
		return nil, err
	}
	e.cfg.Log.Info("module prepared", "module", digest, "bytes", len(b), "standard_go", p.Standard, "took", time.Since(began))
	return p, nil
}
