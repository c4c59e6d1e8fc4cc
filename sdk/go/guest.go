package weir

import (
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
	return &Guest{call: Call{log: log}}
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
	g.call.slots[0].index = -1
	for i := range registered.states {
		g.call.slots[1+i].index, g.call.slots[1+i].Number = i, registered.states[i].number
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
	if err := c.pass.Open(g.in[:size], g.out); err != nil {
		if e, ok := err.(*abi.Error); ok && e.Version() {
			return abi.GuestVersion
		}
		return abi.GuestBatch
	}
	c.err = nil
	code, again := c.run()
	for again {
		code, again = c.run()
	}
	switch {
	case code != 0:
		return code
	case c.pass.Err() != nil:
		return abi.GuestBatch
	}
	return c.pass.Finish()
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
			c.store(0)
			again = true
		}
	}()
	return c.groups(), false
}

// groups is run's loop, apart from it because variables of a function that recovers live in memory.
func (c *Call) groups() int {
	p := &c.pass
	for {
		n := p.Group()
		if n < 0 {
			if n == abi.GroupEnd {
				return 0
			}
			var code int
			if n, code = c.enter(); code != 0 {
				return code
			}
		}
		if n < len(c.states) {
			c.load(n)
		}
		handle := c.handle
		if handle == nil { // never; but said once here, it need not be checked for each message
			return abi.GuestFunction
		}
		for p.Message() {
			if err := handle(c, p.Value()); err != nil {
				c.refuse(err)
				break
			}
		}
		if !p.Settled() {
			if code := c.settle(); code != 0 {
				return code
			}
		}
	}
}

// enter makes the function of the group the one at hand, and its states usable. code is not 0 when there is no such function.
func (c *Call) enter() (n, code int) {
	index := c.pass.Function()
	if index >= len(registered.functions) {
		return 0, abi.GuestFunction
	}
	for _, i := range c.states {
		c.slots[i].usable, c.slots[i].bad = false, false
	}
	f := registered.functions[index]
	c.function, c.handle, c.states, c.cells = f, f.handle, c.states[:0], c.cells[:0]
	for _, state := range f.states {
		s := &c.slots[1+state]
		s.usable = true
		c.states, c.cells = append(c.states, 1+state), append(c.cells, &s.Cell)
	}
	n, ok := c.pass.Use(c.cells)
	if !ok {
		return 0, abi.GuestBatch
	}
	return n, 0
}

// settle ends a group that Message did not. code is not 0 when the batch ends there.
func (c *Call) settle() (code int) {
	p := &c.pass
	switch {
	case p.Err() != nil:
		return abi.GuestBatch
	case p.Odd():
		err := c.fault()
		if err == nil {
			return abi.GuestFull
		}
		c.refuse(err)
	}
	c.store(p.Stored())
	return 0
}

// refuse ends an invocation that failed.
func (c *Call) refuse(err error) {
	code := uint16(abi.CodeError)
	if _, ok := err.(*valueError); ok {
		code = abi.CodeValue
	}
	c.abandon(code, err.Error())
}

// abandon undoes the running invocation.
func (c *Call) abandon(code uint16, text string) {
	for _, i := range c.states {
		if s := &c.slots[i]; s.Turn == c.pass.Turn() {
			s.rollback()
		}
	}
	c.err = nil
	c.pass.Fail(code, text[:min(len(text), maxFailureText)])
}

// load takes the states from index from on.
func (c *Call) load(from int) {
	for _, i := range c.states[from:] {
		c.slots[i].load(&c.pass)
	}
}

// store writes those of the states from index from on that committed invocations of the group touched.
func (c *Call) store(from int) {
	for i := from; i < len(c.states); i++ {
		s := &c.slots[c.states[i]]
		switch {
		case s.Turn < c.pass.First():
		case s.Number && s.Present:
			c.pass.StateInt(i, s.N)
		default:
			c.pass.State(i, s.value, !s.Present)
			s.release()
		}
	}
}
