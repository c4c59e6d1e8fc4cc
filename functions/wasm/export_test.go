package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/tetratelabs/wazero"
)

// Meter decodes, plans and rewrites a module, without wazero.
func Meter(b []byte) ([]byte, error) {
	m, refusal := decode(b)
	if refusal != nil {
		return nil, refusal
	}
	plans, refusal := m.plan(pieceCost)
	if refusal != nil {
		return nil, refusal
	}
	return rewrite(m, plans).encode(), nil
}

// CheckMetered holds a module that is not refused here to what rewrite says: wazero takes it metered exactly when it takes
// it as it was read.
func CheckMetered(b []byte) error {
	out, err := Meter(b)
	if err != nil {
		return nil // refused, which is fine
	}
	m, _ := decode(b)
	before, after := validate(m.canonical()), validate(out)
	if (before == nil) != (after == nil) {
		return fmt.Errorf("as it was read: %v; metered: %v\n%x", before, after, b)
	}
	return nil
}

// SameButForCode compares a draft with what the cache holds of the module: all but the compiled code is the same.
func SameButForCode(e *Engine, d *Draft, digest string) error {
	p, err := e.readPrepared(digest)
	if err != nil {
		return err
	}
	if d.file.CodeFile != "" || d.file.CodeSum != "" {
		return fmt.Errorf("the draft has code %s", d.file.CodeFile)
	}
	for at := range p.image {
		if at >= len(d.file.image) || d.file.image[at] != p.image[at] {
			return fmt.Errorf("the image of %d bytes differs from the draft's of %d at %#x", len(p.image), len(d.file.image), at)
		}
	}
	if !bytes.Equal(d.file.module, p.module) || len(d.file.image) != len(p.image) {
		return errors.New("modules or the lengths of images differ")
	}
	meta := p.preparedMeta
	meta.CodeFile, meta.CodeSum = "", ""
	if !reflect.DeepEqual(d.file.preparedMeta, meta) || !reflect.DeepEqual(d.Prepared, meta.Prepared) {
		return fmt.Errorf("compiled: %+v\ndraft: %+v", meta, d.file.preparedMeta)
	}
	return nil
}

// RaceEnabled says that the race detector is built in.
const RaceEnabled = raceEnabled

// validate has wazero check a module, in its interpreter, which is ten times faster to compile.
func validate(b []byte) error {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(wazero.NewRuntimeConfigInterpreter()))
	_, err := rt.CompileModule(ctx, b)
	return errors.Join(err, rt.Close(ctx))
}
