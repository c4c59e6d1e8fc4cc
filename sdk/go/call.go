package weir

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
	"unsafe"

	"github.com/weir-run/weir/sdk/abi"
)

// Call is one invocation: who is called, with which message, and the effects it asks for. It is valid until the handler
// returns.
type Call struct {
	pass     abi.Pass
	slots    []slot // one per declared state, from 1
	replied  uint64 // turn that replied last
	seeded   uint64 // turn that used rand last
	function *function
	handle   func(*Call, []byte) error // that of function
	states   []int                     // indices in slots of function's states, in the order of the ABI
	cells    []*abi.Cell               // of those slots
	err      error                     // of an effect that the running invocation could not take
	log      func(level int32, line string)
	pcg      *rand.PCG
	rand     *rand.Rand
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
func (c *Call) Function() string { return c.function.name }

// Key is the key of the called address: a view, valid until the handler returns.
func (c *Call) Key() string { return c.pass.Key() }

// KeyBytes is Key as bytes; they are read-only.
func (c *Call) KeyBytes() []byte { return bytesOf(c.pass.Key()) }

// Now is the platform's time when the batch was made: the same on a replay.
func (c *Call) Now() time.Time { return time.UnixMilli(c.pass.Now()) }

// EventTime is the time of the record or request from which the message comes.
func (c *Call) EventTime() time.Time { return time.UnixMilli(c.pass.Time()) }

// Rand is a source of random numbers which are the same on a replay. It is valid until the handler returns.
func (c *Call) Rand() *rand.Rand {
	if c.rand == nil {
		c.pcg = rand.NewPCG(0, 0)
		c.rand = rand.New(c.pcg)
	}
	if c.seeded != c.pass.Turn() {
		c.pcg.Seed(c.pass.Seed(), c.pass.ID())
		c.seeded = c.pass.Turn()
	}
	return c.rand
}

// Origin says where the message came from.
func (c *Call) Origin() Origin { return Origin(c.pass.Kind()) }

// Sender is the function that sent the message, as views; ok is false when none did.
func (c *Call) Sender() (from Address, ok bool) {
	function, key := c.pass.Sender()
	return Address{view(function), view(key)}, len(function) > 0
}

// Type is the value type that the message names, such as io.statefun.types/long, or empty: a view.
func (c *Call) Type() string { return view(c.pass.Type()) }

// Value is the message's value in bytes, whatever the handler takes: a view.
func (c *Call) Value() []byte { return c.pass.Value() }

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
		rest := c.pass.Ext()
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
	c.pass.PutInt(abi.PutSend, function, key, n)
}

// SendString is Send with text.
func (c *Call) SendString(function, key, s string) {
	c.pass.PutText(abi.PutSend, function, key, s)
}

// SendBytes is Send with bytes, which it copies.
func (c *Call) SendBytes(function, key string, value []byte) {
	c.pass.Put(abi.PutSend, function, key, value)
}

// SendJSON is Send with v as JSON. A v that JSON cannot hold fails the invocation.
func (c *Call) SendJSON(function, key string, v any) {
	if text, ok := c.json(v); ok {
		c.pass.Put(abi.PutSend, function, key, text)
	}
}

// SendTyped is SendBytes with the name of the value's type, for functions written with StateFun's SDKs.
func (c *Call) SendTyped(function, key, valueType string, value []byte) {
	if len(function) > abi.MaxName || len(valueType) > abi.MaxName {
		c.fail(errTooLong)
		return
	}
	c.pass.Op(&abi.Op{Kind: abi.Send, Target: bytesOf(function), Key: bytesOf(key), Value: value, Type: bytesOf(valueType)})
}

// Reply answers the request with a number, once its effects are durable. Without a request nobody hears it. A second reply is
// an error, which also fails the invocation.
func (c *Call) Reply(n int64) error {
	if c.replied == c.pass.Turn() {
		return c.failReplied()
	}
	c.replied = c.pass.Turn()
	c.pass.PutInt(abi.PutReply, "", "", n)
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
	if c.replied == c.pass.Turn() {
		return c.failReplied()
	}
	c.replied = c.pass.Turn()
	c.pass.Put(abi.PutReply, "", "", value)
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
	c.pass.Refuse()
}

// fault is what is odd about the running invocation, nil when only the result is full.
func (c *Call) fault() error {
	switch c.pass.Fault() {
	case abi.TooLong:
		return errTooLong
	case abi.Unput:
		return errUnput
	case abi.PutTwice:
		return errPut
	}
	return c.err
}

func (c *Call) json(v any) ([]byte, bool) {
	text, err := json.Marshal(v)
	if err != nil {
		c.fail(err)
	}
	return text, err == nil
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf is the bytes of s, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
