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
	reader   abi.Cursor
	writer   abi.Writer
	slots    []slot // one per declared state, from 1
	dirty    uint64 // bits of the states that the running invocation touched
	wrote    uint64 // and of those that invocations of the group changed
	index    int    // of function
	function *function
	raw      func(*Call, []byte) error // that of function
	call     func(*Call) error         // that of function
	states   []int                     // indices in slots of its states, in the order of the ABI
	replied  bool
	seeded   bool
	err      error // of an effect that the running invocation could not take
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
func (c *Call) Key() string { return c.reader.KeyText() }

// KeyBytes is Key as bytes; they are read-only.
func (c *Call) KeyBytes() []byte { return c.reader.Key() }

// Now is the platform's time when the batch was made: the same on a replay.
func (c *Call) Now() time.Time { return time.UnixMilli(c.reader.Now()) }

// EventTime is the time of the record or request from which the message comes.
func (c *Call) EventTime() time.Time { return time.UnixMilli(c.reader.Time()) }

// Rand is a source of random numbers which are the same on a replay. It is valid until the handler returns.
func (c *Call) Rand() *rand.Rand {
	if c.rand == nil {
		c.pcg = rand.NewPCG(0, 0)
		c.rand = rand.New(c.pcg)
	}
	if !c.seeded {
		c.pcg.Seed(c.reader.Seed(), c.reader.ID())
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
	c.writer.PutInt(abi.PutSend, function, key, n)
}

// SendString is Send with text.
func (c *Call) SendString(function, key, s string) {
	c.writer.PutText(abi.PutSend, function, key, s)
}

// SendBytes is Send with bytes, which it copies.
func (c *Call) SendBytes(function, key string, value []byte) {
	c.writer.Put(abi.PutSend, function, key, value)
}

// SendJSON is Send with v as JSON. A v that JSON cannot hold fails the invocation.
func (c *Call) SendJSON(function, key string, v any) {
	if text, ok := c.json(v); ok {
		c.writer.Put(abi.PutSend, function, key, text)
	}
}

// SendTyped is SendBytes with the name of the value's type, for functions written with StateFun's SDKs.
func (c *Call) SendTyped(function, key, valueType string, value []byte) {
	if len(function) > abi.MaxName || len(valueType) > abi.MaxName {
		c.fail(errTooLong)
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
	c.writer.PutInt(abi.PutReply, "", "", n)
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
	c.writer.Put(abi.PutReply, "", "", value)
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
	c.writer.Refuse()
}

// fault is what is odd about the running invocation, nil when only the result is full.
func (c *Call) fault() error {
	switch c.writer.Fault() {
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
