package weir

import (
	"strings"
	"testing"
)

func TestARegistryRefusesWhatContradictsItself(t *testing.T) {
	nothing := func(*Call, []byte) error { return nil }
	for _, bad := range []struct {
		want string
		do   func(r *registry)
	}{
		{"want namespace/name", func(r *registry) { r.handle("counter", nothing, nil) }},
		{"want namespace/name", func(r *registry) { r.handle("a/"+strings.Repeat("x", 256), nothing, nil) }},
		{"character ' ' is not allowed", func(r *registry) { r.handle("a/b c", nothing, nil) }},
		{"registered already", func(r *registry) { r.handle("a/b", nothing, nil); r.handle("a/b", nothing, nil) }},
		{`two states called "n"`, func(r *registry) {
			r.states = []declared{{"n", "int64", false}, {"n", "json", false}}
			r.handle("a/b", nothing, nil)
			r.resolve()
		}},
		{`no function "a/c" is registered`, func(r *registry) {
			r.handle("a/b", nothing, nil)
			r.ingresses = []ingress{{"t", []string{"a/b", "a/c"}}}
			r.resolve()
		}},
	} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, bad.want) {
					t.Errorf("panic %q, want %q", text, bad.want)
				}
			}()
			bad.do(&registry{})
		}()
	}
}

func TestAFunctionThatNamesNoStatesGetsAllOfThem(t *testing.T) {
	r := &registry{states: []declared{{"a", "int64", false}, {"quote\"\n", "json", false}}}
	r.handle("x/all", nil, nil)
	r.handle("x/none", nil, []Declared{Stateless})
	r.resolve()
	r.resolve()
	want := `{"abi":1,"sdk":"go/0.1","functions":[` +
		`{"type":"x/all","states":[{"name":"a","type":"int64"},{"name":"quote\"\u000a","type":"json"}],"ingress":[]},` +
		`{"type":"x/none","states":[],"ingress":[]}],"ingresses":[],"egresses":[]}`
	if got := string(r.describe()); got != want {
		t.Errorf("description\n%s\nwant\n%s", got, want)
	}
}
