package deploy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// MaxModuleBytes bounds an upload. A standard-Go guest has 2 to 6 MB; what the engine accepts is smaller still.
const MaxModuleBytes = 64 << 20

const (
	digestPrefix = "sha256:"
	moduleSuffix = ".wasm"
	tempPattern  = "upload-*.tmp"
)

// wasmMagic begins every WASM binary.
var wasmMagic = []byte("\x00asm")

// ErrNoModule reports a digest that is not stored. As a checkpoint.ErrNotExist it fails a job that needs the module: a restart
// does not bring it back.
var ErrNoModule = fmt.Errorf("module is not stored: %w", checkpoint.ErrNotExist)

// deployAgain is how a module comes back that is damaged or gone.
const deployAgain = "deploy the same module again, or its next version"

// Prepare validates a module and returns what it says of itself. A *router.Problem is told to the client as it is.
type Prepare func(ctx context.Context, module []byte) (*functions.Description, error)

// Modules stores modules on disk under the digest of their bytes. Every stored module has passed Prepare. A file appears
// under its name only when it is whole and synced, so a crash during an upload leaves nothing but a temporary file, which
// the next OpenModules removes. One process at a time may hold a directory; its methods may be called concurrently.
type Modules struct {
	dir     string
	prepare Prepare

	mu        sync.Mutex // guards described
	described map[string]*functions.Description
}

// Uploaded is the answer to an upload.
type Uploaded struct {
	Digest      string                 `json:"digest" doc:"sha256:hex of the module's bytes"`
	Bytes       int64                  `json:"bytes"`
	Existed     bool                   `json:"existed" doc:"the module was stored already"`
	Description *functions.Description `json:"description"`
}

// OpenModules opens the store in dir, which it makes when it is absent, and removes what unfinished uploads left there.
func OpenModules(dir string, prepare Prepare) (*Modules, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open module store: %w", err)
	}
	temps, err := filepath.Glob(filepath.Join(dir, tempPattern))
	if err != nil {
		return nil, fmt.Errorf("open module store %s: %w", dir, err)
	}
	for _, temp := range temps {
		if err := os.Remove(temp); err != nil {
			return nil, fmt.Errorf("sweep module store: %w", err)
		}
	}
	return &Modules{dir: dir, prepare: prepare, described: map[string]*functions.Description{}}, nil
}

// Put stores what r holds, at most MaxModuleBytes, also over a damaged file of the same module. Errors that the client caused
// are *router.Problem.
func (m *Modules) Put(ctx context.Context, r io.Reader) (Uploaded, error) {
	temp, err := os.CreateTemp(m.dir, tempPattern)
	if err != nil {
		return Uploaded{}, fmt.Errorf("store module: %w", err)
	}
	defer func() {
		// Both fail when the file was renamed and closed, as it should be.
		_ = temp.Close()
		_ = os.Remove(temp.Name())
	}()
	digest, size, err := receive(temp, r)
	if err != nil {
		return Uploaded{}, err
	}
	if _, err := m.Get(digest); err == nil { // what cannot be read is written anew: these are its bytes
		d, err := m.Describe(ctx, digest)
		return Uploaded{Digest: digest, Bytes: size, Existed: true, Description: d}, err
	}
	module, err := os.ReadFile(temp.Name())
	if err != nil {
		return Uploaded{}, fmt.Errorf("read uploaded module: %w", err)
	}
	description, err := m.prepare(ctx, module)
	if err != nil {
		return Uploaded{}, moduleRefused(err)
	}
	if err := temp.Sync(); err != nil {
		return Uploaded{}, fmt.Errorf("sync module %s: %w", digest, err)
	}
	if err := os.Rename(temp.Name(), m.path(digest)); err != nil {
		return Uploaded{}, fmt.Errorf("store module %s: %w", digest, err)
	}
	if err := syncDir(m.dir); err != nil {
		return Uploaded{}, fmt.Errorf("store module %s: %w", digest, err)
	}
	m.remember(digest, description)
	return Uploaded{Digest: digest, Bytes: size, Description: description}, nil
}

// receive copies r to w while it computes the digest, and refuses what is no module or too large.
func receive(w io.Writer, r io.Reader) (digest string, size int64, err error) {
	head := make([]byte, len(wasmMagic))
	n, err := io.ReadFull(r, head)
	switch {
	case n == 0 && errors.Is(err, io.EOF):
		return "", 0, newProblem(http.StatusUnprocessableEntity, "module-empty", "the upload is empty",
			"send the bytes of a WASM module as the body")
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return "", 0, interrupted(err)
	case !bytes.Equal(head, wasmMagic):
		return "", 0, newProblem(http.StatusUnprocessableEntity, "module-not-wasm", "the upload is not a WASM module",
			fmt.Sprintf("it begins with %q; a module begins with %q", head[:n], wasmMagic))
	}
	hash := sha256.New()
	rest := io.LimitReader(r, MaxModuleBytes-int64(n)+1)
	size, err = io.Copy(io.MultiWriter(w, hash), io.MultiReader(bytes.NewReader(head), rest))
	if err != nil {
		return "", 0, interrupted(err)
	}
	if size > MaxModuleBytes {
		return "", 0, newProblem(http.StatusRequestEntityTooLarge, "module-too-large", "the module is too large",
			fmt.Sprintf("the limit is %d bytes", MaxModuleBytes))
	}
	return digestPrefix + hex.EncodeToString(hash.Sum(nil)), size, nil
}

// interrupted tells a failing disk from a client that went away or stalled.
func interrupted(err error) error {
	var disk *fs.PathError
	if errors.As(err, &disk) {
		return fmt.Errorf("store module: %w", err)
	}
	return newProblem(http.StatusBadRequest, "upload-interrupted", "the upload ended early", err.Error())
}

// moduleRefused passes problems on, and makes one of every other refusal.
func moduleRefused(err error) error {
	var p *router.Problem
	if errors.As(err, &p) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return newProblem(http.StatusUnprocessableEntity, "module-refused", "the module is refused", err.Error())
}

// Has says whether the module is stored.
func (m *Modules) Has(digest string) bool {
	if !validDigest(digest) {
		return false
	}
	_, err := os.Stat(m.path(digest))
	return err == nil
}

// Get returns the module's bytes after it has checked them against the digest: ErrNoModule when it is not stored,
// checkpoint.ErrDamaged when the file holds other bytes.
func (m *Modules) Get(digest string) ([]byte, error) {
	if !validDigest(digest) {
		return nil, fmt.Errorf("module %q: %w", digest, ErrNoModule)
	}
	module, err := os.ReadFile(m.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("module %s: %w; %s", digest, ErrNoModule, deployAgain)
	}
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", digest, err)
	}
	sum := sha256.Sum256(module)
	if got := digestPrefix + hex.EncodeToString(sum[:]); got != digest {
		return nil, fmt.Errorf("module file %s is %w: its digest is %s; %s", m.path(digest), checkpoint.ErrDamaged, got, deployAgain)
	}
	return module, nil
}

// Describe returns what a stored module says of itself.
func (m *Modules) Describe(ctx context.Context, digest string) (*functions.Description, error) {
	m.mu.Lock()
	d := m.described[digest]
	m.mu.Unlock()
	if d != nil {
		return d, nil
	}
	module, err := m.Get(digest)
	if err != nil {
		return nil, err
	}
	if d, err = m.prepare(ctx, module); err != nil {
		return nil, moduleRefused(err)
	}
	m.remember(digest, d)
	return d, nil
}

func (m *Modules) remember(digest string, d *functions.Description) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.described[digest] = d
}

// Sweep removes modules that keep does not hold and that were stored before the given time; a deployment whose job is not
// yet written must not lose its modules, so callers leave it an hour.
func (m *Modules) Sweep(keep map[string]bool, before time.Time) error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return fmt.Errorf("sweep module store: %w", err)
	}
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), moduleSuffix)
		digest := digestPrefix + name
		if !ok || keep[digest] {
			continue
		}
		stat, err := entry.Info()
		if err != nil || stat.ModTime().After(before) {
			continue // removed meanwhile, or too young
		}
		if err := os.Remove(m.path(digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep module store: %w", err)
		}
		m.mu.Lock()
		delete(m.described, digest)
		m.mu.Unlock()
	}
	return nil
}

func (m *Modules) path(digest string) string {
	return filepath.Join(m.dir, strings.TrimPrefix(digest, digestPrefix)+moduleSuffix)
}

// validDigest guards the file system: only 64 lower-case hex digits become a file name.
func validDigest(digest string) bool {
	h, ok := strings.CutPrefix(digest, digestPrefix)
	if !ok || len(h) != sha256.Size*2 {
		return false
	}
	return strings.Trim(h, "0123456789abcdef") == ""
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close() // the sync's error is the one that counts
		return err
	}
	return d.Close()
}
