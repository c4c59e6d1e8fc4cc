package functions

import (
	"fmt"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// jobPaths translates a field of module.yaml to its path in Job, where the two differ; "" means the part around it.
var jobPaths = map[string]string{
	"address":                 "cluster.address",
	"tls":                     "cluster.tls",
	"sasl":                    "cluster.sasl",
	"consumerGroupId":         "group",
	"startupPosition":         "start",
	"deliverySemantic":        "delivery",
	"limits":                  "",
	"autoOffsetResetPosition": "start.reset",
}

// value is a node of the source on its way to become a part of the Job. An absent one has no node; every method then
// gives the fallback, so that defaults stand beside the fields.
type value struct {
	p    *parsing
	node ast.Node
	at   place
	path string // in the Job
	name string // in the source, as errors call it
}

func (v value) called(name string) value {
	v.name = name
	return v
}

func (v value) present() bool { return v.node != nil }

func (v value) problem(fix, format string, args ...any) {
	v.p.found.addAt(v.at, v.path, fix, format, args...)
}

// raw is the text of a scalar as written, references kept.
func (v value) raw() (string, bool) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode:
		return v.node.GetToken().Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.BoolNode:
		v.problem("put it in quotes", "%s is %s, where text is expected", v.name, n.GetToken().Value)
	default:
		v.problem("", "%s is %s, where a single value is expected", v.name, shape(v.node))
	}
	return "", false
}

func shape(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "empty"
	}
	return "a single value"
}

// scalar is the text with its references resolved.
func (v value) scalar() (string, bool) {
	text, ok := v.raw()
	if !ok {
		return "", false
	}
	text, err := expand(text, v.p.lookup)
	if err != nil {
		v.problem("", "%s: %v", v.name, err)
		return "", false
	}
	return text, true
}

func (v value) text(fallback string) string {
	if !v.present() {
		return fallback
	}
	if text, ok := v.scalar(); ok {
		return text
	}
	return fallback
}

// secret is text whose references stay; a literal is taken with a warning.
func (v value) secret() string {
	if !v.present() {
		return ""
	}
	text, ok := v.raw()
	if !ok {
		return ""
	}
	refused := func(string, string) (string, error) { return "", nil }
	if _, err := expand(text, refused); err != nil {
		v.problem("", "%s: %v", v.name, err)
	}
	return text
}

func (v value) integer(fallback int) int {
	return convert(v, fallback, func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number", text)
		}
		return n, nil
	})
}

func (v value) float(fallback float64) float64 {
	return convert(v, fallback, func(text string) (float64, error) {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number", text)
		}
		return n, nil
	})
}

func (v value) duration(fallback time.Duration) time.Duration {
	return convert(v, fallback, parseDuration)
}

func (v value) size(fallback int64) int64 { return convert(v, fallback, parseSize) }

// convert reads a scalar with parse, or reports why it cannot be read.
func convert[T any](v value, fallback T, parse func(string) (T, error)) T {
	if !v.present() {
		return fallback
	}
	text, ok := v.scalar()
	if !ok {
		return fallback
	}
	parsed, err := parse(text)
	if err == nil {
		return parsed
	}
	if written, _ := v.raw(); written != text {
		v.problem("", "%s: the value of %s cannot be read as one", v.name, written) // what a reference holds is never shown
		return fallback
	}
	v.problem("", "%s: %v", v.name, err)
	return fallback
}

// list is the elements of a sequence; an absent or empty value has none.
func (v value) list() []value {
	switch n := v.node.(type) {
	case nil, *ast.NullNode:
		return nil
	case *ast.SequenceNode:
		elements := make([]value, 0, len(n.Values))
		for i, node := range n.Values {
			elements = append(elements, v.p.value(node, fmt.Sprintf("%s[%d]", v.path, i), v.at).called(v.name))
		}
		return elements
	}
	v.problem("write it as [a, b], or one element a line after \"- \"", "%s is %s, where a list is expected", v.name, shape(v.node))
	return nil
}

// texts is a list of scalars.
func (v value) texts() []string {
	var texts []string
	for _, element := range v.list() {
		if text, ok := element.scalar(); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// object is the fields of a mapping; an absent or empty value has none. The caller ends with done.
func (v value) object() *object {
	o := &object{value: v, fields: make(map[string]field)}
	switch n := v.node.(type) {
	case nil, *ast.NullNode:
	case *ast.MappingNode:
		for _, entry := range n.Values {
			o.add(entry)
		}
	case *ast.MappingValueNode:
		o.add(n)
	default:
		v.problem("", "%s is %s, where a mapping is expected", v.name, shape(v.node))
	}
	return o
}

// object is a mapping whose fields are taken by name; what is never asked for is unknown.
type object struct {
	value
	order  []string
	fields map[string]field
	known  []string
}

type field struct {
	at   place // of the key
	node ast.Node
}

func (o *object) add(entry *ast.MappingValueNode) {
	token := entry.Key.GetToken()
	o.order = append(o.order, token.Value)
	o.fields[token.Value] = field{at: o.p.place(token.Position.Line, token.Position.Column), node: entry.Value}
}

// field takes the field with this name; it is absent when it is not written, or empty.
func (o *object) field(name string) value {
	o.known = append(o.known, name)
	path := joinPath(o.path, name)
	written, ok := o.fields[name]
	if !ok {
		return value{p: o.p, at: o.at, path: path, name: name}
	}
	v := o.p.value(written.node, path, written.at).called(name)
	if _, empty := v.node.(*ast.NullNode); empty {
		v.node = nil
	}
	return v
}

// entry takes a field of a mapping whose keys are the user's own; the key is part of the path as it is.
func (o *object) entry(name string) value {
	o.known = append(o.known, name)
	return o.p.value(o.fields[name].node, fmt.Sprintf("%s[%s]", o.path, name), o.fields[name].at).called(name)
}

// required takes the text of a field that must be there.
func (o *object) required(name, fix string) string {
	v := o.field(name)
	if !v.present() {
		v.problem(fix, "%s is missing", name)
	}
	return v.text("")
}

// done reports every field that nobody took.
func (o *object) done() {
	for _, name := range o.order {
		known := false
		for _, k := range o.known {
			known = known || k == name
		}
		if !known {
			o.p.found.addAt(o.fields[name].at, joinPath(o.path, name), didYouMean(name, o.known), "unknown field %q", name)
		}
	}
}

func joinPath(path, name string) string {
	if translated, ok := jobPaths[name]; ok {
		name = translated
	}
	switch {
	case name == "":
		return path
	case path == "":
		return name
	}
	return path + "." + name
}
