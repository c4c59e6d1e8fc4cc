package weir

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"
	"time"
	"unsafe"

	"github.com/weir-run/weir/sdk/abi"
)

// Call is one invocation: who is called, with which message, and the effects it asks for. It is valid until the handler
// returns.
type Call struct {
	reader  abi.Cursor
	writer  abi.Writer
	log     func(level int32, line string)
	now     int64
	seed    uint64
	group   uint64
	slots   []slot // one per declared state
	touched []int  // indices of slots that the running invocation touched
	wrote   bool   // an invocation of the group changed a state
	err     error  // of an effect that the running invocation could not take
	replied bool
	seeded  bool
	pcg     *rand.PCG
	rand    *rand.Rand
	digits  [20]byte // of a number in text
	stage   stage
}

// Origin says where a message came from.
type Origin uint8

const (
	FromFunction Origin = abi.KindSend    // another function sent it: Sender says which
	FromIngress  Origin = abi.KindIngress // it is a record of an ingress
	FromRequest  Origin = abi.KindRequest // it is a request, which waits for Reply
)

// Address is a function type, "namespace/name", and a key.
type Address struct{ Type, Key string }

var errReplied = errors.New("the invocation has replied already")

// Function is the called function type, "namespace/name".
func (c *Call) Function() string { return c.function().name }

// Key is the key of the called address: a view, valid until the handler returns.
func (c *Call) Key() string { return view(c.reader.Key()) }

// KeyBytes is Key as bytes; they are read-only.
func (c *Call) KeyBytes() []byte { return c.reader.Key() }

// Now is the platform's time when the batch was made: the same on a replay.
func (c *Call) Now() time.Time { return time.UnixMilli(c.now) }

// EventTime is the time of the record or request from which the message comes.
func (c *Call) EventTime() time.Time { return time.UnixMilli(c.reader.Time()) }

// Rand is a source of random numbers which are the same on a replay. It is valid until the handler returns.
func (c *Call) Rand() *rand.Rand {
	if c.rand == nil {
		c.pcg = rand.NewPCG(0, 0)
		c.rand = rand.New(c.pcg)
	}
	if !c.seeded {
		c.pcg.Seed(c.seed, c.reader.ID())
		c.seeded = true
	}
	return c.rand
}

// Origin says where the message came from.
func (c *Call) Origin() Origin { return Origin(c.reader.Kind()) }

// Sender is the function that sent the message, as views; ok is false when none did.
func (c *Call) Sender() (from Address, ok bool) {
	function, key := c.reader.Sender()
	return Address{view(function), view(key)}, len(function) > 0
}

// Type is the value type that the message names, such as io.statefun.types/long, or empty: a view.
func (c *Call) Type() string { return view(c.reader.Type()) }

// Value is the message's value in bytes, whatever the handler takes: a view.
func (c *Call) Value() []byte { return c.reader.Value() }

// Header is the first header of that name, as a view.
func (c *Call) Header(name string) (value []byte, ok bool) {
	for k, v := range c.Headers() {
		if k == name {
			return v, true
		}
	}
	return nil, false
}

// Headers walks the message's headers in order, as views.
func (c *Call) Headers() iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		rest := c.reader.Ext()
		for {
			tag, v, after, ok := abi.NextExt(rest)
			if !ok {
				return
			}
			if tag == abi.TagHeader {
				if k, value, ok := abi.SplitHeader(v); ok && !yield(view(k), value) {
					return
				}
			}
			rest = after
		}
	}
}

// Send sends a number to the function of that type at key. A message sent is delivered once the invocation has succeeded;
// messages from one address to another keep their order.
func (c *Call) Send(function, key string, n int64) {
	if len(function) > maxName {
		c.fail(errTooLong)
		return
	}
	c.writer.PutInt(abi.Send, 0, function, key, n)
}

// SendString is Send with text.
func (c *Call) SendString(function, key, s string) { c.sendValue(function, key, "", bytesOf(s)) }

// SendBytes is Send with bytes, which it copies.
func (c *Call) SendBytes(function, key string, value []byte) { c.sendValue(function, key, "", value) }

// SendJSON is Send with v as JSON. A v that JSON cannot hold fails the invocation.
func (c *Call) SendJSON(function, key string, v any) {
	if text, ok := c.json(v); ok {
		c.sendValue(function, key, "", text)
	}
}

// SendTyped is SendBytes with the name of the value's type, for functions written with StateFun's SDKs.
func (c *Call) SendTyped(function, key, valueType string, value []byte) {
	c.sendValue(function, key, valueType, value)
}

func (c *Call) sendValue(function, key, valueType string, value []byte) {
	if len(function) > maxName || len(valueType) > maxName {
		c.fail(errTooLong)
		return
	}
	if valueType == "" {
		c.writer.Put(abi.Send, 0, function, key, value)
		return
	}
	c.writer.Op(&abi.Op{Kind: abi.Send, Target: bytesOf(function), Key: bytesOf(key), Value: value, Type: bytesOf(valueType)})
}

// Reply answers the request with a number, once its effects are durable. Without a request nobody hears it. A second reply is
// an error, which also fails the invocation.
func (c *Call) Reply(n int64) error {
	if c.replied {
		return c.failReplied()
	}
	c.replied = true
	c.writer.PutInt(abi.Reply, abi.NoKey, "", "", n)
	return nil
}

// ReplyString is Reply with text.
func (c *Call) ReplyString(s string) error { return c.replyValue(bytesOf(s)) }

// ReplyBytes is Reply with bytes, which it copies.
func (c *Call) ReplyBytes(value []byte) error { return c.replyValue(value) }

// ReplyJSON is Reply with v as JSON.
func (c *Call) ReplyJSON(v any) error {
	text, ok := c.json(v)
	if !ok {
		return c.err
	}
	return c.replyValue(text)
}

func (c *Call) replyValue(value []byte) error {
	if c.replied {
		return c.failReplied()
	}
	c.replied = true
	c.writer.Put(abi.Reply, abi.NoKey, "", "", value)
	return nil
}

func (c *Call) failReplied() error {
	c.fail(errReplied)
	return errReplied
}

// Log writes a line to the job's log (weir logs). It is no effect: a failed invocation has logged too, a replayed one twice.
func (c *Call) Log(line string) { c.log(abi.LogInfo, line) }

// Logf is Log with a format of package fmt.
func (c *Call) Logf(format string, args ...any) {
	c.log(abi.LogInfo, fmt.Sprintf(format, args...))
}

// fail makes the invocation fail, whatever its handler returns.
func (c *Call) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *Call) json(v any) ([]byte, bool) {
	text, err := json.Marshal(v)
	if err != nil {
		c.fail(err)
	}
	return text, err == nil
}

// slot is the state with that index, loaded for the group at hand.
func (c *Call) slot(index int) *slot {
	s := &c.slots[index]
	if s.group != c.group {
		c.load(s, index)
	}
	return s
}

// load takes a state from the batch when the group first touches it. It panics when the function does not use the state, or
// cannot: both fail the invocation.
func (c *Call) load(s *slot, index int) {
	f := c.function()
	i := f.places[index]
	if i < 0 {
		panic(f.name + " does not name state " + strconv.Quote(registered.states[index].name) + " in Handle")
	}
	value, present := c.reader.State(i)
	s.touched, s.wrote, s.exists = false, false, present
	switch {
	case !s.number:
		s.value = value
	case len(value) == 8:
		s.n = int64(binary.LittleEndian.Uint64(value))
	case present:
		panic("a state of " + strconv.Itoa(len(value)) + " bytes is no int64")
	default:
		s.n = 0
	}
	s.group = c.group
}

// function is the one that the group at hand calls.
func (c *Call) function() *function { return registered.functions[c.reader.Function()] }

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is the bytes of s, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
