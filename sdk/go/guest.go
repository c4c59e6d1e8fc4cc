package weir

import (
	"errors"

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
	g.call.slots = make([]slot, len(registered.states))
	for i := range g.call.slots {
		g.call.slots[i].number = registered.states[i].number
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
	c.now, c.seed = c.reader.Now(), c.reader.Seed()
	c.writer.Reset(g.out)
	code := 0
	for again := true; again; {
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
			c.abandon(abi.CodePanic, panicText(cause))
			c.store()
			again = true
		}
	}()
	for c.reader.Next() {
		index := c.reader.Function()
		if index >= len(registered.functions) {
			return abi.GuestFunction, false
		}
		f := registered.functions[index]
		if c.reader.States() != len(f.states) {
			return abi.GuestBatch, false
		}
		c.group++
		c.writer.Group()
		for c.reader.NextMessage() {
			c.replied, c.seeded, c.stage.open = false, false, false
			var err error
			if f.raw != nil {
				err = f.raw(c, c.reader.Value())
			} else {
				err = f.call(c)
			}
			if err != nil || c.err != nil || c.stage.open {
				c.refuse(err)
				break
			}
			if len(c.touched) > 0 {
				c.commit()
			}
			c.writer.Commit()
			if c.writer.Full() {
				return abi.GuestFull, false
			}
			if c.reader.Messages() == 0 { // spares a call
				break
			}
		}
		if c.wrote {
			c.store()
		}
		if c.writer.Full() {
			return abi.GuestFull, false
		}
	}
	return 0, false
}

// refuse ends the invocation with the error of its handler, or else with that of an effect.
func (c *Call) refuse(err error) {
	if err == nil {
		err = c.err
	}
	if err == nil {
		err = errUnput
	}
	code := uint16(abi.CodeError)
	if _, ok := err.(*valueError); ok {
		code = abi.CodeValue
	}
	c.abandon(code, err.Error())
}

func (c *Call) abandon(code uint16, text string) {
	for _, index := range c.touched {
		c.slots[index].abandon()
	}
	c.touched, c.err = c.touched[:0], nil
	c.writer.Fail(code, text[:min(len(text), maxFailureText)])
}

func (c *Call) commit() {
	for _, index := range c.touched {
		c.slots[index].commit()
	}
	c.touched = c.touched[:0]
	c.wrote = true
}

// store writes the states that committed invocations of the group changed.
func (c *Call) store() {
	for i, index := range c.function().states {
		s := &c.slots[index]
		switch {
		case s.group != c.group || !s.wrote:
		case s.number && s.exists:
			c.writer.StateInt(i, s.n)
		default:
			c.writer.State(i, s.value, !s.exists)
			s.release()
		}
	}
	c.wrote = false
}
