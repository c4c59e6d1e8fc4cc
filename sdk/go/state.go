package weir

// Value is one named state of a key, declared once as a package variable. Its methods are called within a handler, with the
// handler's Call. Values of other keys are out of reach: send their address a message.
type Value[T any] struct {
	slot  int // index in Call.slots, from 1: that of a Value which was never declared is 0
	name  string
	codec Codec[T]
	views bool // the codec parses values in place
}

// Number is the state of a number, with the methods that a *Value[int64] has: Get and Set are small enough for the compiler
// to put them in place of their calls.
type Number struct {
	slot int // as in Value
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
func Int64(name string) Number { return Number{declare(name, intCodec{}.Name(), true)} }

// String declares a state that holds text. Get allocates: where that matters, use Bytes.
func String(name string) *Value[string] { return State[string](name, stringCodec{}) }

// Bytes declares a state that holds bytes. What Get returns is the invocation's own copy, valid until the handler returns: it
// may be changed and appended to, and only Set stores it.
func Bytes(name string) *Value[[]byte] { return State[[]byte](name, bytesCodec{}) }

// JSON declares a state that holds a T as JSON text.
func JSON[T any](name string) *Value[T] { return State[T](name, jsonCodec[T]{}) }

// State declares a state with a codec of its own.
func State[T any](name string, codec Codec[T]) *Value[T] {
	return &Value[T]{declare(name, codec.Name(), false), name, codec, !copies(codec)}
}

// declare returns the index of the state's slot.
func declare(name, codec string, number bool) int {
	if name == "" {
		panic("weir: a state needs a name")
	}
	registered.states = append(registered.states, declared{name, codec, number})
	return len(registered.states)
}

// Get is the number as this invocation sees it, with what it has set; 0 when absent.
func (v Number) Get(c *Call) int64 {
	s := &c.slots[v.slot]
	if !s.usable {
		panic(s)
	}
	return s.N
}

// Set stores n when the invocation succeeds.
func (v Number) Set(c *Call, n int64) {
	s := &c.slots[v.slot]
	if !s.usable {
		panic(s)
	}
	if turn := c.pass.Turn(); s.Turn != turn {
		s.before, s.Turn = before{s.N, s.Turn, s.Present}, turn
	}
	s.N, s.Present = n, true
}

// Delete makes the number absent when the invocation succeeds.
func (v Number) Delete(c *Call) { c.remove(v.slot) }

// Exists says whether the number is present as this invocation sees it.
func (v Number) Exists(c *Call) bool { return c.slot(v.slot).Present }

// Name is the name under which the state was declared.
func (v Number) Name() string {
	if v.slot == 0 {
		return ""
	}
	return registered.states[v.position()].name
}

// Parse reads the number out of bytes, as package weirtest finds them.
func (v Number) Parse(b []byte) (int64, error) { return intCodec{}.Parse(b) }

// Append appends the number in bytes, as package weirtest stores them.
func (v Number) Append(b []byte, n int64) ([]byte, error) { return intCodec{}.Append(b, n) }

func (v Number) position() int { return v.slot - 1 }

// Get is the value as this invocation sees it, with what it has set; T's zero value when absent.
func (v *Value[T]) Get(c *Call) T {
	s := c.slot(v.slot)
	if !s.Present {
		var zero T
		return zero
	}
	x, err := v.codec.Parse(c.bytes(s, v.views))
	if err != nil {
		panic("state " + quoted(v.name) + ": " + err.Error())
	}
	return x
}

// Set stores x when the invocation succeeds.
func (v *Value[T]) Set(c *Call, x T) {
	s := c.slot(v.slot)
	c.touch(s)
	b, err := v.codec.Append(s.buffers[s.current][:0], x)
	if err != nil {
		panic("state " + quoted(v.name) + ": " + err.Error())
	}
	s.value, s.buffers[s.current], s.Present = b, b, true
}

// Delete makes the state absent when the invocation succeeds.
func (v *Value[T]) Delete(c *Call) { c.remove(v.slot) }

// Exists says whether the state is present as this invocation sees it.
func (v *Value[T]) Exists(c *Call) bool { return c.slot(v.slot).Present }

// Name is the name under which the state was declared.
func (v *Value[T]) Name() string { return v.name }

// Parse reads one of the state's values in bytes, as package weirtest finds them.
func (v *Value[T]) Parse(b []byte) (T, error) { return v.codec.Parse(b) }

// Append appends a value in bytes, as package weirtest stores them.
func (v *Value[T]) Append(b []byte, x T) ([]byte, error) { return v.codec.Append(b, x) }

func (v *Value[T]) position() int { return v.slot - 1 }
