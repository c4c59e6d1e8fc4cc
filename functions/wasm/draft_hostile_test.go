//go:build !race

// The race detector makes the interpreter so slow that it stops by the clock what it should stop by fuel.

package wasm_test

import (
	"strings"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
)

func TestHostileModulesAreStoppedInTheInterpreterWhereCompiledCodeIs(t *testing.T) {
	e := drafting(t)
	for _, group := range [][]hostile{endlessLoops(), floods(), recursions(), traps(), lies()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				limits, b := wasm.Limits{Fuel: hostileFuel}, c.m.bytes()
				want := attempt(t, load(t, e, b, limits), []byte("hello"))
				got := attempt(t, interpret(t, e, b, limits), []byte("hello"))
				if strings.Contains(c.name, "recursi") && strings.HasPrefix(got[0].failure, "interpreter's limit reached") {
					return // it cannot tell
				}
				if got[0] != want[0] {
					t.Errorf("a draft answered %+v, compiled code %+v", got, want)
				}
			})
		}
	}
}
