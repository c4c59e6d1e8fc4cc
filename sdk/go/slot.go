package weir

import (
	"strconv"

	"github.com/weir-run/weir/sdk/abi"
)

// maxKeptBuffer is how large a slot's buffer may stay between groups: one huge value must not hold memory for ever.
const maxKeptBuffer = 1 << 20

// slot is one state of the address at hand, as the running invocation sees it, with what it was before that invocation
// touched it: a number, or bytes. Bytes that an invocation sets are in a buffer of their own, so that a rollback costs next
// to nothing and no invocation can reach the bytes it may have to return to.
type slot struct {
	abi.Cell        // Turn is the invocation that last touched the state
	before   before // the invocation with that turn
	usable   bool   // by the function at hand
	bad      bool   // it is no number, but should be
	index    int    // in registry.states; -1 for the first slot, which no state has
	value    []byte
	kept     []byte // value before
	buffers  [2][]byte
	current  int // index of the buffer that value is in, unless it still lies in the batch
}

// before is a Cell before an invocation.
type before struct {
	n       int64
	turn    uint64
	present bool
}

// slot is the state at that index of slots. It panics with the slot when the function cannot use it.
func (c *Call) slot(index int) *slot {
	s := &c.slots[index]
	if !s.usable {
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
		return "state " + quoted(registered.states[s.index].name) + " has " + strconv.Itoa(len(s.value)) + " bytes: it is no int64"
	}
	return c.function.name + " does not name state " + quoted(registered.states[s.index].name) + " in Handle"
}

// load takes the next state of the batch.
func (s *slot) load(p *abi.Pass) {
	at, size, present := p.NextState()
	s.N, s.Present, s.value = 0, present, nil
	switch {
	case s.Number && size == 8:
		s.N = p.Word(at)
	case present:
		s.value = p.Bytes(at, size)
		if s.Number {
			s.usable, s.bad = false, true
			p.Unuse() // so that the next group enters the function anew
		}
	}
}

// touch keeps what the state is for the case that the running invocation fails.
func (c *Call) touch(s *slot) {
	if turn := c.pass.Turn(); s.Turn != turn {
		s.before, s.kept, s.Turn = before{s.N, s.Turn, s.Present}, s.value, turn
		s.current = 1 - s.current
	}
}

// remove makes a state absent.
func (c *Call) remove(index int) {
	s := c.slot(index)
	c.touch(s)
	s.N, s.Present = 0, false
}

// bytes is the value to be parsed. It copies one that the invocation could have to return to, unless its reader only views it.
func (c *Call) bytes(s *slot, views bool) []byte {
	if views || s.Turn == c.pass.Turn() {
		return s.value
	}
	spare := &s.buffers[1-s.current]
	*spare = append((*spare)[:0], s.value...)
	return *spare
}

// rollback undoes what the running invocation did.
func (s *slot) rollback() {
	s.N, s.Turn, s.Present = s.before.n, s.before.turn, s.before.present
	if !s.Number {
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
