package wasm

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// preparedFile is a module in the cache, ready to be instantiated.
//
//	 0 8 bytes "weirprep"            24 u64 image length
//	 8 u32 rewriter version          32 meta (JSON) | module | image
//	12 u32 meta length               ... sha256 of all before
//	16 u64 module length
//
// The name has everything that its content depends on; the file is written aside and renamed, so it is whole or absent.
type preparedFile struct {
	preparedMeta
	module []byte
	image  []byte // empty when the module initialises itself
}

type preparedMeta struct {
	Prepared
	CodeFile string        `json:"codeFile"` // compiled code, below codeDir
	CodeSum  string        `json:"codeSum"`  // its sha256: wazero's own checksum leaves out where functions begin
	In       buffer        `json:"in"`       // of a pre-initialised guest, as its image has them
	Out      buffer        `json:"out"`
	Globals  []globalValue `json:"globals,omitempty"`
}

const (
	preparedMagic  = "weirprep"
	preparedHeader = 32
	// maxPrepared bounds a file of the cache: a rewritten module and its image.
	maxPrepared = 8*MaxModuleBytes + trialMemory
)

// wazeroVersion is the version that is linked in; compiled code is of one version only.
func wazeroVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/tetratelabs/wazero" {
				return dep.Version
			}
		}
	}
	return "unknown"
}

func (e *Engine) preparedPath(digest string) string {
	name := fmt.Sprintf("%s-r%d-wazero-%s-%s-%s", strings.TrimPrefix(digest, "sha256:"), rewriterVersion, wazeroVersion(), runtime.GOOS, runtime.GOARCH)
	return e.path(preparedDir, name)
}

// checkDigest keeps a digest that came from elsewhere from naming another file.
func checkDigest(digest string) error {
	hexDigits, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hexDigits) != 2*sha256.Size || strings.Trim(hexDigits, "0123456789abcdef") != "" {
		return fmt.Errorf("module digest %q is not sha256: and 64 hexadecimal digits", digest)
	}
	return nil
}

// readPrepared fails with fs.ErrNotExist when the module, or its compiled code, is not in the cache.
func (e *Engine) readPrepared(digest string) (*preparedFile, error) {
	if err := checkDigest(digest); err != nil {
		return nil, err
	}
	path := e.preparedPath(digest)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read prepared module: %w", err)
	}
	p, err := parsePrepared(b)
	if err != nil {
		return nil, fmt.Errorf("read prepared module %s: %w", path, err)
	}
	if p.Digest != digest || !filepath.IsLocal(p.CodeFile) {
		return nil, fmt.Errorf("read prepared module %s: it is of another module", path)
	}
	sum, err := sumFile(e.path(codeDir, p.CodeFile))
	if err != nil {
		return nil, fmt.Errorf("read compiled module: %w", err)
	}
	if sum != p.CodeSum {
		return nil, fmt.Errorf("read compiled module %s: %w: its checksum differs", p.CodeFile, errPrepared)
	}
	return p, nil
}

// sumFile is the sha256 of a file, in hexadecimal.
func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

var errPrepared = errors.New("prepared module is damaged")

func parsePrepared(b []byte) (*preparedFile, error) {
	if len(b) < preparedHeader+sha256.Size || string(b[:8]) != preparedMagic || le.Uint32(b[8:]) != rewriterVersion {
		return nil, errPrepared
	}
	content, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if got := sha256.Sum256(content); string(got[:]) != string(sum) {
		return nil, fmt.Errorf("%w: its checksum differs", errPrepared)
	}
	meta, module, image := uint64(le.Uint32(b[12:])), le.Uint64(b[16:]), le.Uint64(b[24:])
	body := content[preparedHeader:]
	n := uint64(len(body))
	if meta > n || module > n || image > n || meta+module+image != n {
		return nil, fmt.Errorf("%w: its lengths differ", errPrepared)
	}
	p := &preparedFile{module: body[meta : meta+module], image: body[meta+module:]}
	if err := json.Unmarshal(body[:meta], &p.preparedMeta); err != nil {
		return nil, fmt.Errorf("%w: %w", errPrepared, err)
	}
	return p, nil
}

func (p *preparedFile) append(b []byte) ([]byte, error) {
	meta, err := json.Marshal(&p.preparedMeta)
	if err != nil {
		return nil, fmt.Errorf("describe prepared module: %w", err)
	}
	b = append(b, preparedMagic...)
	b = le.AppendUint32(b, rewriterVersion)
	b = le.AppendUint32(b, uint32(len(meta)))
	b = le.AppendUint64(b, uint64(len(p.module)))
	b = le.AppendUint64(b, uint64(len(p.image)))
	b = append(append(append(b, meta...), p.module...), p.image...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

func (e *Engine) writePrepared(p *preparedFile) error {
	b, err := p.append(nil)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(e.path(tempDir), "prepared-")
	if err != nil {
		return fmt.Errorf("write prepared module: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), e.preparedPath(p.Digest))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write prepared module: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// forget removes what the cache has of a module that could not be loaded.
func (e *Engine) forget(p *preparedFile) error {
	var errs []error
	for _, path := range []string{e.preparedPath(p.Digest), e.path(codeDir, p.CodeFile)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove damaged module: %w", err))
		}
	}
	return errors.Join(errs...)
}
