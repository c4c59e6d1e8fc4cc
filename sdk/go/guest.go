package weir

import (
	"errors"

	"github.com/weir-run/weir/sdk/abi"
)

// Guest runs the registered functions on batches, as the host of a module does. A module has one, behind its exports; tests
// make their own. It is used by one goroutine.
type Guest struct {
	log    func(level int32, line string)
	in     []byte
	out    []byte
	reader abi.Reader
	writer abi.Writer
	call   Call
	ready  bool
}

// NewGuest is a guest of all that is registered; log gets what functions write with Log.
func NewGuest(log func(level int32, line string)) *Guest { return &Guest{log: log} }

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
	g.call.prepare(g)
	g.ready = true
}

// Batch runs the batch in the first size bytes of the input buffer and returns the size of the result in the output buffer,
// or abi.GuestFull, GuestVersion, GuestBatch or GuestFunction.
func (g *Guest) Batch(size int) int {
	g.prepare()
	if size < 0 || size > len(g.in) {
		return abi.GuestBatch
	}
	if err := g.reader.Open(g.in[:size]); err != nil {
		var e *abi.Error
		if errors.As(err, &e) && e.Version() {
			return abi.GuestVersion
		}
		return abi.GuestBatch
	}
	c := &g.call
	c.now, c.seed = g.reader.Now(), g.reader.Seed()
	g.writer.Reset(g.out)
	for g.reader.Next() {
		if g.reader.Function() >= len(registered.functions) {
			return abi.GuestFunction
		}
		c.function, c.key = registered.functions[g.reader.Function()], g.reader.Key()
		g.writer.Group()
		if !g.load() {
			return abi.GuestBatch
		}
		g.run()
		if g.writer.Full() {
			return abi.GuestFull
		}
		g.store()
	}
	if g.reader.Err() != nil {
		return abi.GuestBatch
	}
	return g.writer.Finish()
}

// load takes the group's states; false when they are not those that the function declares.
func (g *Guest) load() bool {
	c := &g.call
	c.group++
	for _, index := range c.function.states {
		value, present, ok := g.reader.NextState()
		if !ok {
			return false
		}
		c.slots[index].load(c.group, value, present)
	}
	_, _, more := g.reader.NextState()
	return !more
}

// run calls the function with the group's messages up to the first that fails.
func (g *Guest) run() {
	c := &g.call
	defer func() {
		if cause := recover(); cause != nil {
			g.fail(abi.CodePanic, panicText(cause))
		}
	}()
	for g.reader.NextMessage(&c.message) {
		c.begin()
		err := c.function.call(c)
		if err == nil {
			err = c.err
		}
		if err == nil && c.record.open {
			err = errUnput
		}
		if err != nil {
			code := uint16(abi.CodeError)
			if _, ok := err.(*valueError); ok {
				code = abi.CodeValue
			}
			g.fail(code, err.Error())
			return
		}
		c.commit()
		g.writer.Commit()
		if g.writer.Full() {
			return
		}
	}
}

func (g *Guest) fail(code uint16, text string) {
	g.call.rollback()
	g.writer.Fail(code, text[:min(len(text), maxFailureText)])
}

// store writes the states that committed invocations of the group changed.
func (g *Guest) store() {
	c := &g.call
	for i, index := range c.function.states {
		s := &c.slots[index]
		if s.wrote {
			g.writer.State(i, s.value, !s.exists)
		}
		s.release()
	}
}
