package wasm_test

import (
	"testing"

	"github.com/weir-run/weir/functions/wasm"
)

func TestAStandardGoGuestRuns(t *testing.T) {
	e := newEngine(t)
	b := standardGuest(t)
	p, err := e.Prepare(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Standard || p.Description.Functions[0].Type.String() != "test/stdgo" {
		t.Errorf("prepared %+v", p)
	}
	i := instance(t, load(t, e, b, wasm.Limits{}), nil)
	if got := call(t, i, "ehello"); got != "ehello" {
		t.Errorf("echo answered %q", got)
	}
	t.Log(i.Fuel())
	if got := call(t, i, `j{"a":[1,2,{"b":"c"}]}`); got != "map[a:[1 2 map[b:c]]]" {
		t.Errorf("JSON answered %q", got)
	}
	t.Log(i.Fuel())
}
