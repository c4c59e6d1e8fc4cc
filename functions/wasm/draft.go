package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Draft is a module that has passed the deploy pipeline with wazero's interpreter, which takes a fraction of the
// compiler's time: validated, metered, tried and pre-initialised like any other. It is in memory only, some 10 MB for a
// standard-Go guest, and never in the cache: what is there is compiled.
type Draft struct {
	Prepared
	file *preparedFile
}

// errNoDrafts is the answer of a server: figures and limits hold for compiled code.
var errNoDrafts = errors.New("wasm: this engine runs no interpreted code")

// Draft takes a module through the pipeline without compiling it. Refusals are those of Prepare, but for one: when the error
// is ErrInterpreter the interpreter cannot tell, and Prepare can. An engine without Config.Drafts makes none.
func (e *Engine) Draft(ctx context.Context, module []byte) (*Draft, error) {
	if !e.cfg.Drafts {
		return nil, errNoDrafts
	}
	if len(module) > MaxModuleBytes {
		return nil, tooLarge(module)
	}
	select {
	case <-e.draft:
	case <-ctx.Done():
		return nil, fmt.Errorf("interpret module: %w", ctx.Err())
	}
	defer func() { e.draft <- struct{}{} }()
	began, digest, d := time.Now(), Digest(module), &Draft{}
	err := e.inChild(ctx, module, func(dir string) (err error) {
		d.file, err = adoptDraft(dir, digest)
		return err
	}, draftMark)
	if err != nil {
		if r := new(Refusal); errors.As(err, &r) {
			r.shorten()
		}
		return nil, err
	}
	d.Prepared = d.file.Prepared
	e.cfg.Log.Info("module drafted", "module", digest, "bytes", len(module), "standard_go", d.Standard, "took", time.Since(began))
	return d, nil
}

// adoptDraft takes the one result of a child that interprets.
func adoptDraft(dir, digest string) (*preparedFile, error) {
	p, err := readChild(filepath.Join(dir, preparedFileName))
	if err != nil {
		return nil, fmt.Errorf("interpret module: %w", err)
	}
	if p.Digest != digest {
		return nil, fmt.Errorf("interpret module %s: the child prepared %s", digest, p.Digest)
	}
	return p, nil
}

// Interpret makes a draft ready to run, in the interpreter. Its instances answer as those of compiled code do, for the same
// fuel, ten to a hundred times slower; where they cannot, they end with ErrInterpreter.
func (e *Engine) Interpret(ctx context.Context, d *Draft, limits Limits) (*Module, error) {
	if !e.cfg.Drafts {
		return nil, errNoDrafts
	}
	return e.open(ctx, d.file, limits.withDefaults().interpreted())
}

// Has says whether the cache holds a module, so that Load need not prepare it.
func (e *Engine) Has(digest string) bool {
	if checkDigest(digest) != nil {
		return false
	}
	_, err := os.Stat(e.preparedPath(digest))
	return err == nil
}
