package weir

import (
	"strconv"
	"unsafe"
)

// Value is one named state of a key, declared once as a package variable. Its methods are called within a handler, with the
// handler's Call. Values of other keys are out of reach: send their address a message.
type Value[T any] struct {
	index  int // in registry.states
	name   string
	codec  Codec[T]
	views  bool // the codec parses values in place
	number bool // T is int64 in the common form, which slots hold as a number: a codec costs a module as much as the rest
}

// Codec turns a state's value into bytes and back.
type Codec[T any] interface {
	// Name is the type as the platform shows and checks it: a change of name between versions refuses the upgrade.
	Name() string
	// Append appends v in bytes; an error fails the invocation.
	Append(b []byte, v T) ([]byte, error)
	// Parse reads what Append wrote. It may change b, and may keep views of it until the handler returns.
	Parse(b []byte) (T, error)
}

// Int64 declares a state that holds a number; it is 0 while absent.
func Int64(name string) *Value[int64] { return State[int64](name, intCodec{}) }

// String declares a state that holds text. Get allocates: where that matters, use Bytes.
func String(name string) *Value[string] { return State[string](name, stringCodec{}) }

// Bytes declares a state that holds bytes. What Get returns is the invocation's own copy, valid until the handler returns: it
// may be changed and appended to, and only Set stores it.
func Bytes(name string) *Value[[]byte] { return State[[]byte](name, bytesCodec{}) }

// JSON declares a state that holds a T as JSON text.
func JSON[T any](name string) *Value[T] { return State[T](name, jsonCodec[T]{}) }

// State declares a state with a codec of its own.
func State[T any](name string, codec Codec[T]) *Value[T] {
	if name == "" {
		panic("weir: a state needs a name")
	}
	_, number := any(codec).(intCodec)
	registered.states = append(registered.states, declared{name, codec.Name(), number})
	return &Value[T]{len(registered.states) - 1, name, codec, !copies(codec), number}
}

// Get is the value as this invocation sees it, with what it has set; T's zero value when absent.
func (v *Value[T]) Get(c *Call) T {
	s := &c.slots[v.index]
	if s.group != c.group {
		c.load(s, v.index)
	}
	if v.number {
		return *(*T)(unsafe.Pointer(&s.n))
	}
	b, present := s.get(v.views)
	if !present {
		var zero T
		return zero
	}
	x, err := v.codec.Parse(b)
	if err != nil {
		panic("state " + strconv.Quote(v.name) + ": " + err.Error())
	}
	return x
}

// Set stores x when the invocation succeeds.
func (v *Value[T]) Set(c *Call, x T) {
	s := &c.slots[v.index]
	if s.group != c.group {
		c.load(s, v.index)
	}
	if v.number {
		if !s.touched {
			s.touched, s.before = true, s.n
			c.touched = append(c.touched, v.index)
		}
		s.n, s.leaves = *(*int64)(unsafe.Pointer(&x)), false
		return
	}
	b, err := v.codec.Append(s.buffer(), x)
	if err != nil {
		panic("state " + strconv.Quote(v.name) + ": " + err.Error())
	}
	v.touch(c, s)
	s.set(b, true)
}

// Delete makes the state absent when the invocation succeeds.
func (v *Value[T]) Delete(c *Call) {
	s := c.slot(v.index)
	v.touch(c, s)
	s.n = 0
	s.set(s.buffer(), false)
}

func (v *Value[T]) touch(c *Call, s *slot) {
	if !s.touched {
		s.touched, s.before = true, s.n
		c.touched = append(c.touched, v.index)
	}
}

// Exists says whether the state is present as this invocation sees it.
func (v *Value[T]) Exists(c *Call) bool { return c.slot(v.index).present() }

// Name is the name under which the state was declared.
func (v *Value[T]) Name() string { return v.name }

// Parse reads one of the state's values in bytes, as package weirtest finds them.
func (v *Value[T]) Parse(b []byte) (T, error) { return v.codec.Parse(b) }

// Append appends a value in bytes, as package weirtest stores them.
func (v *Value[T]) Append(b []byte, x T) ([]byte, error) { return v.codec.Append(b, x) }

func (v *Value[T]) position() int { return v.index }

// maxKeptBuffer is how large a slot's buffer may stay between groups: one huge value must not hold memory for ever.
const maxKeptBuffer = 1 << 20

// slot is one state of the address at hand. It holds the value before the running invocation and, when the invocation
// touched it, the one after: a number, or bytes each in a buffer of its own that swaps roles at commit. So a rollback costs
// next to nothing, and no invocation can reach the bytes it may have to return to.
type slot struct {
	group   uint64 // for which it was loaded
	n       int64  // as the running invocation sees it; 0 when absent
	before  int64  // n before the running invocation touched it
	number  bool
	exists  bool
	touched bool // by the running invocation
	leaves  bool // the running invocation deletes it
	wrote   bool // by a committed invocation of the group
	value   []byte
	next    []byte
	buffers [2][]byte
	spare   int // index of the buffer that value is not in
}

// get is the value as the running invocation sees it. It copies one that could be returned to, unless its reader only views
// it.
func (s *slot) get(views bool) ([]byte, bool) {
	switch {
	case s.touched:
		return s.next, !s.leaves
	case !s.exists || views:
		return s.value, s.exists
	}
	b := append(s.buffer(), s.value...)
	s.buffers[s.spare] = b
	return b, true
}

func (s *slot) present() bool {
	if s.touched {
		return !s.leaves
	}
	return s.exists
}

func (s *slot) buffer() []byte { return s.buffers[s.spare][:0] }

func (s *slot) set(b []byte, present bool) {
	s.next, s.leaves = b, !present
	s.buffers[s.spare] = b
}

func (s *slot) commit() {
	s.exists, s.touched, s.wrote = !s.leaves, false, true
	if !s.number {
		s.swap()
	}
}

func (s *slot) swap() {
	s.value = s.next
	s.spare = 1 - s.spare
}

func (s *slot) abandon() { s.touched, s.n = false, s.before }

// release forgets large buffers after a group that wrote.
func (s *slot) release() {
	for i := range s.buffers {
		if cap(s.buffers[i]) > maxKeptBuffer {
			s.buffers[i] = nil
		}
	}
}
