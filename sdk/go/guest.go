package weir

import (
	"errors"
	"math/bits"

	"github.com/weir-run/weir/sdk/abi"
)

// Guest runs the registered functions on batches, as the host of a module does. A module has one, behind its exports; tests
// make their own. It is used by one goroutine.
type Guest struct {
	in    []byte
	out   []byte
	call  Call
	ready bool
}

// NewGuest is a guest of all that is registered; log gets what functions write with Log.
func NewGuest(log func(level int32, line string)) *Guest {
	return &Guest{call: Call{log: log, index: none}}
}

// Describe is what the module says of itself: JSON in the form of functions.Description. It panics on a module that
// contradicts itself.
func (g *Guest) Describe() []byte {
	g.prepare()
	return registered.describe()
}

// In is the input buffer, of at least size bytes, valid until the next call of In.
func (g *Guest) In(size int) []byte {
	g.in = enlarge(g.in, size)
	return g.in
}

// Out is the output buffer, of at least size bytes, valid until the next call of Out.
func (g *Guest) Out(size int) []byte {
	g.out = enlarge(g.out, size)
	return g.out
}

func enlarge(b []byte, size int) []byte {
	if size > len(b) {
		return make([]byte, size)
	}
	return b
}

// prepare waits with what needs every init to have run.
func (g *Guest) prepare() {
	if g.ready {
		return
	}
	registered.resolve()
	g.call.slots = make([]slot, 1+len(registered.states))
	g.call.slots[0].index = none
	for i := range registered.states {
		g.call.slots[1+i].index, g.call.slots[1+i].number = i, registered.states[i].number
	}
	g.ready = true
}

// Batch runs the batch in the first size bytes of the input buffer and returns the size of the result in the output buffer,
// or abi.GuestFull, GuestVersion, GuestBatch or GuestFunction.
func (g *Guest) Batch(size int) int {
	g.prepare()
	if size < 0 || size > len(g.in) {
		return abi.GuestBatch
	}
	c := &g.call
	if err := c.reader.Open(g.in[:size]); err != nil {
		var e *abi.Error
		if errors.As(err, &e) && e.Version() {
			return abi.GuestVersion
		}
		return abi.GuestBatch
	}
	c.writer.Reset(g.out)
	c.dirty, c.wrote, c.err = 0, 0, nil
	code, again := c.run()
	for again {
		code, again = c.run()
	}
	switch {
	case code != 0:
		return code
	case c.reader.Err() != nil:
		return abi.GuestBatch
	}
	return c.writer.Finish()
}

// run takes group after group to the end of the batch, or up to the first panic, after which it is to be run again: in a
// module one recovering function per batch is much cheaper than one per message. code is not 0 when the batch ends there.
func (c *Call) run() (code int, again bool) {
	defer func() {
		if cause := recover(); cause != nil {
			if s, ok := cause.(*slot); ok {
				cause = c.misuse(s)
			}
			c.abandon(abi.CodePanic, panicText(cause))
			for ; c.wrote != 0; c.wrote &= c.wrote - 1 {
				c.store(bits.TrailingZeros64(c.wrote))
			}
			again = true
		}
	}()
	return c.groups(), false
}

// groups is run's loop, apart from it because variables of a function that recovers live in memory.
func (c *Call) groups() int {
	r, w := &c.reader, &c.writer
	for r.Next() {
		if r.Function() != c.index && !c.enter(r.Function()) {
			return abi.GuestFunction
		}
		if r.States() != len(c.states) {
			return abi.GuestBatch
		}
		for _, index := range c.states {
			s := &c.slots[index]
			if s.number {
				if n, ok := r.NextWord(); ok {
					s.n, s.present = n, true
					continue
				}
			}
			c.load(s)
		}
		w.Group()
		raw := c.raw
		for r.Messages() > 0 {
			if !r.NextMessage() {
				return abi.GuestBatch
			}
			c.replied, c.seeded = false, false
			var err error
			if raw != nil {
				err = raw(c, r.Value())
			} else {
				err = c.call(c)
			}
			if err != nil || !w.Take() {
				if !c.settle(err) {
					return abi.GuestFull
				}
				break
			}
			c.wrote |= c.dirty
			c.dirty = 0
		}
		for wrote := c.wrote; wrote != 0; wrote &= wrote - 1 {
			i := bits.TrailingZeros64(wrote)
			if s := &c.slots[c.states[i]]; s.number && s.present {
				w.StateInt(i, s.n)
			} else {
				c.store(i)
			}
		}
		c.wrote = 0
	}
	return 0
}

// none is no index.
const none = -1

// enter makes a function the one at hand: its states get their bits. ok is false when there is no such function.
func (c *Call) enter(index int) (ok bool) {
	if index >= len(registered.functions) {
		return false
	}
	for _, i := range c.states {
		c.slots[i].bit, c.slots[i].bad = 0, false
	}
	f := registered.functions[index]
	c.index, c.function, c.raw, c.call, c.states = index, f, f.raw, f.call, c.states[:0]
	for i, state := range f.states {
		c.states = append(c.states, 1+state)
		c.slots[1+state].bit = 1 << i
	}
	return true
}

// settle ends an invocation whose handler failed or whose effects are odd; ok is false when the result is full.
func (c *Call) settle(err error) (ok bool) {
	if err == nil {
		err = c.fault()
	}
	if err == nil {
		return false
	}
	code := uint16(abi.CodeError)
	if _, ok := err.(*valueError); ok {
		code = abi.CodeValue
	}
	c.abandon(code, err.Error())
	return true
}

// abandon undoes the running invocation.
func (c *Call) abandon(code uint16, text string) {
	for _, i := range c.states {
		if s := &c.slots[i]; c.dirty&s.bit != 0 {
			s.rollback()
		}
	}
	c.dirty, c.err = 0, nil
	c.writer.Fail(code, text[:min(len(text), maxFailureText)])
}

// store writes a state that committed invocations of the group changed.
func (c *Call) store(i int) {
	s := &c.slots[c.states[i]]
	if s.number && s.present {
		c.writer.StateInt(i, s.n)
		return
	}
	c.writer.State(i, s.value, !s.present)
	s.release()
}
