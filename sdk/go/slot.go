package weir

import "strconv"

// maxKeptBuffer is how large a slot's buffer may stay between groups: one huge value must not hold memory for ever.
const maxKeptBuffer = 1 << 20

// slot is one state of the address at hand, as the running invocation sees it, with what it was before that invocation
// touched it: a number, or bytes. Bytes that an invocation sets are in a buffer of their own, so that a rollback costs next
// to nothing and no invocation can reach the bytes it may have to return to.
type slot struct {
	bit     uint64 // of this state in Call.dirty and Call.wrote; 0 when the function at hand cannot use it
	n       int64  // of a number; 0 when absent
	before  int64  // n before
	present bool
	was     bool // present before
	number  bool // it is a Number's
	bad     bool // it is no number, but should be
	index   int  // in registry.states; -1 for the first slot, which no state has
	value   []byte
	kept    []byte // value before
	buffers [2][]byte
	current int // index of the buffer that value is in, unless it still lies in the batch
}

// slot is the state at that index of slots. It panics with the slot when the function cannot use it.
func (c *Call) slot(index int) *slot {
	s := &c.slots[index]
	if s.bit == 0 {
		panic(s)
	}
	return s
}

// misuse says why the function at hand cannot use a slot.
func (c *Call) misuse(s *slot) string {
	switch {
	case s.index < 0:
		return "a state was never declared: make it with Int64, String, Bytes, JSON or State"
	case s.bad:
		return "state " + strconv.Quote(registered.states[s.index].name) + " has " + strconv.Itoa(len(s.value)) + " bytes: it is no int64"
	}
	return c.function.name + " does not name state " + strconv.Quote(registered.states[s.index].name) + " in Handle"
}

// load takes the next state of the batch: any but a Number that is present, which groups takes itself.
func (c *Call) load(s *slot) {
	at, size, present := c.reader.NextState()
	s.n, s.present, s.value = 0, present, nil
	if present {
		s.value = c.reader.Bytes(at, size)
		if s.number {
			s.bad, s.bit = true, 0
			c.index = none // so that the next group gets its bit back
		}
	}
}

// touch keeps what the state is for the case that the running invocation fails.
func (c *Call) touch(s *slot) {
	if c.dirty&s.bit == 0 {
		c.dirty |= s.bit
		s.before, s.kept, s.was = s.n, s.value, s.present
		s.current = 1 - s.current
	}
}

// remove makes a state absent.
func (c *Call) remove(index int) {
	s := c.slot(index)
	c.touch(s)
	s.n, s.present = 0, false
}

// bytes is the value to be parsed. It copies one that the invocation could have to return to, unless its reader only views it.
func (c *Call) bytes(s *slot, views bool) []byte {
	if views || c.dirty&s.bit != 0 {
		return s.value
	}
	spare := &s.buffers[1-s.current]
	*spare = append((*spare)[:0], s.value...)
	return *spare
}

// rollback undoes what the running invocation did.
func (s *slot) rollback() {
	s.n, s.present = s.before, s.was
	if !s.number {
		s.value = s.kept
		s.current = 1 - s.current
	}
}

// release forgets large buffers after a group that wrote.
func (s *slot) release() {
	for i := range s.buffers {
		if cap(s.buffers[i]) > maxKeptBuffer {
			s.buffers[i] = nil
		}
	}
}
