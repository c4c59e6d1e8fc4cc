package wasm

import (
	"context"
	"errors"
	"fmt"

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

// validate has wazero check a module, in its interpreter, which is ten times faster to compile.
func validate(b []byte) error {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(wazero.NewRuntimeConfigInterpreter()))
	_, err := rt.CompileModule(ctx, b)
	return errors.Join(err, rt.Close(ctx))
}
