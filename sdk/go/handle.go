package weir

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/weir-run/weir/sdk/abi"
)

// sdkName tells the platform who wrote the module.
const sdkName = "go/0.1"

// registered is what this module's init functions declared. It is the one variable they can reach: nothing of a c-shared
// module runs but init.
var registered registry

type registry struct {
	functions []*function
	states    []declared
	ingresses []ingress
	egresses  []string
}

type function struct {
	name   string
	handle func(c *Call, value []byte) error
	chosen bool  // the handler named its states
	states []int // indices into registry.states, in the order of the ABI
}

type declared struct {
	name, codec string
	number      bool // int64 in the common form, which slots hold as a number
}

type ingress struct {
	topic     string
	functions []string
}

// Declared is a state as Handle takes it: any *Value, or Stateless.
type Declared interface{ position() int }

// Stateless, given to Handle alone, says that a function uses no state, in a module that declares some.
var Stateless Declared = stateless{}

type stateless struct{}

func (stateless) position() int { return -1 }

// Handle registers fn as the function type name, "namespace/name". It is called from init and panics on a name that is
// malformed or taken.
//
// A function that names no states may use every state that the module declares, which suits a module with one function:
// all of them travel with each of its batches, and an absent one costs about as much as a lookup. In a module with several
// functions name the states each uses, or Stateless. Touching another state panics, and so fails the invocation.
func Handle[T any](name string, fn func(*Call, T) error, states ...Declared) {
	// Small enough to be inlined where T is known, so that the linker drops package json unless a message needs it.
	var other handler = jsonHandler[T](fn)
	switch any(fn).(type) {
	case func(*Call, int64) error, func(*Call, string) error, func(*Call, []byte) error:
		other = nil
	}
	register(name, fn, other, states)
}

// handler takes a message in bytes.
type handler interface {
	handle(c *Call, value []byte) error
}

func register(name string, fn any, other handler, states []Declared) {
	var handle func(*Call, []byte) error
	switch fn := fn.(type) {
	case func(*Call, int64) error:
		handle = adaptInt(fn)
	case func(*Call, string) error:
		handle = adaptString(fn)
	case func(*Call, []byte) error:
		handle = fn
	default:
		handle = other.handle
	}
	registered.handle(name, handle, states)
}

// adaptInt is not inlined, because the copy of its function would then make calls that are inlined here.
//
//go:noinline
func adaptInt(handle func(*Call, int64) error) func(*Call, []byte) error {
	return func(c *Call, value []byte) error {
		n, ok := parseDecimal(value)
		if !ok || !c.pass.Untyped() {
			var err error
			if n, err = parseInt(c.pass.Type(), value); err != nil {
				return err
			}
		}
		return handle(c, n)
	}
}

//go:noinline
func adaptString(handle func(*Call, string) error) func(*Call, []byte) error {
	return func(c *Call, value []byte) error {
		text, err := parseString(c.pass.Type(), value)
		if err != nil {
			return err
		}
		return handle(c, string(text))
	}
}

// jsonHandler is the handler of a message in JSON.
type jsonHandler[T any] func(*Call, T) error

func (fn jsonHandler[T]) handle(c *Call, value []byte) error {
	var v T
	if err := json.Unmarshal(value, &v); err != nil {
		return &valueError{err.Error()}
	}
	return fn(c, v)
}

func (r *registry) handle(name string, handle func(*Call, []byte) error, states []Declared) {
	if fault := checkTypeName(name); fault != "" {
		panic("weir: Handle(" + quoted(name) + "): " + fault)
	}
	f := &function{name: name, handle: handle, chosen: len(states) > 0}
	for _, s := range states {
		if p := s.position(); p >= 0 {
			f.states = append(f.states, p)
		}
	}
	for _, other := range r.functions {
		if other.name == name {
			panic("weir: Handle(" + quoted(name) + "): the function is registered already")
		}
	}
	r.functions = append(r.functions, f)
}

// Ingress names a topic whose records go to the given functions when no module.yaml says otherwise.
func Ingress(topic string, functions ...string) {
	if topic == "" || len(functions) == 0 {
		panic("weir: Ingress(" + quoted(topic) + "): want a topic and the functions that get its records")
	}
	registered.ingresses = append(registered.ingresses, ingress{topic, functions})
}

// Egresses names the egresses that the module's functions write to; each has a topic of its name when no module.yaml says
// otherwise.
func Egresses(ids ...string) { registered.egresses = append(registered.egresses, ids...) }

// resolve gives functions that named no states all of them, once every init has run, and panics on what contradicts itself.
func (r *registry) resolve() {
	for _, f := range r.functions {
		if !f.chosen {
			f.states = f.states[:0]
			for i := range r.states {
				f.states = append(f.states, i)
			}
		}
		for i, a := range f.states {
			for _, b := range f.states[:i] {
				if r.states[a].name == r.states[b].name {
					panic("weir: " + f.name + " uses two states called " + quoted(r.states[a].name) +
						"; rename one, or name each function's states in Handle")
				}
			}
		}
	}
	for _, in := range r.ingresses {
		for _, name := range in.functions {
			if !r.has(name) {
				panic("weir: Ingress(" + quoted(in.topic) + "): no function " + quoted(name) + " is registered")
			}
		}
	}
}

func (r *registry) has(name string) bool {
	for _, f := range r.functions {
		if f.name == name {
			return true
		}
	}
	return false
}

// describe is the JSON document of weir_describe, in the form of functions.Description.
func (r *registry) describe() []byte {
	b := append([]byte(`{"abi":`), strconv.Itoa(abi.Version)...)
	b = append(b, `,"sdk":"`+sdkName+`","functions":[`...)
	for i, f := range r.functions {
		b = comma(b, i)
		b = appendQuoted(append(b, `{"type":`...), f.name)
		b = append(b, `,"states":[`...)
		for j, s := range f.states {
			b = appendQuoted(append(comma(b, j), `{"name":`...), r.states[s].name)
			b = append(appendQuoted(append(b, `,"type":`...), r.states[s].codec), '}')
		}
		b = append(b, `],"ingress":[`...)
		n := 0
		for _, in := range r.ingresses {
			for _, name := range in.functions {
				if name == f.name {
					b = appendQuoted(comma(b, n), in.topic)
					n++
				}
			}
		}
		b = append(b, `]}`...)
	}
	b = append(b, `],"ingresses":[`...)
	for i, topic := range r.topics() {
		b = appendQuoted(comma(b, i), topic)
	}
	b = append(b, `],"egresses":[`...)
	for i, id := range r.egresses {
		b = appendQuoted(comma(b, i), id)
	}
	return append(b, `]}`...)
}

// topics is every ingress topic once.
func (r *registry) topics() []string {
	var topics []string
	for i, in := range r.ingresses {
		seen := false
		for _, before := range r.ingresses[:i] {
			seen = seen || before.topic == in.topic
		}
		if !seen {
			topics = append(topics, in.topic)
		}
	}
	return topics
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

// checkTypeName says what is wrong with a function type's name, by the rules of functions.ParseTypeName.
func checkTypeName(s string) string {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok || namespace == "" || name == "" || len(namespace) > 255 || len(name) > 255 {
		return "want namespace/name, each of 1 to 255 letters, digits, '.', '_' and '-'"
	}
	for _, c := range []byte(namespace + name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			q := quoted([]byte{c})
			unquoted := q[1 : len(q)-1]
			return "character " + "'" + unquoted + "'" + " is not allowed; use letters, digits, '.', '_' and '-'"
		}
	}
	return ""
}
