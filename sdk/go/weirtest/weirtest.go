// Package weirtest runs a module's functions natively in go test: what init registered with package weir, called with the
// same bytes as on the platform, each invocation's effects applied or dropped as there.
//
//	h := weirtest.New(t)
//	got := h.Invoke("example/counter", "ann", int64(3))
//	if got.Int64() != 3 || h.Egress("counts")[0].String() != "3" { ... }
//
// It hides the batch behind each call, the state between calls, and the delivery of messages between functions. Its
// invariant is the platform's: a failed invocation changes nothing, messages of one address to another keep their order. It
// does not retry a failed invocation, and it is not a sandbox: limits of memory and time hold only on the platform. A Harness
// is used by one goroutine.
package weirtest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/weir-run/weir/sdk/abi"
	weir "github.com/weir-run/weir/sdk/go"
)

// Epoch is the time at which a harness starts.
var Epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// maxDeliveries bounds what one call may set off: functions that send to each other for ever must not hang a test.
const maxDeliveries = 20_000

// bufferBytes is the size at which the output buffer starts; it doubles as on the platform.
const bufferBytes = 64 << 10

// Harness is a job of the module's functions: their state, and what has left them.
type Harness struct {
	t         testing.TB
	guest     *weir.Guest
	functions []description
	state     map[place][]byte
	queue     []message
	now       time.Time
	seed      uint64
	ids       uint64
	held      map[string]bool
	output    int
	batch     abi.Batch
	records   []Record
	sent      []Sent
	failures  []Failure
	logs      []string
}

type description struct {
	Type   string `json:"type"`
	States []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"states"`
	Ingress []string `json:"ingress"`
}

// place is where one state value lives.
type place struct{ function, key, state string }

type message struct {
	function, key string
	abi           abi.Message
	root          *Outcome // of the call that it is, or nil
}

// Record is one record that went to an egress.
type Record struct {
	Egress, Topic, Key string
	Headers            []Header
	Tombstone          bool
	Value
}

// Header is one header of a record.
type Header struct{ Name, Value string }

// Sent is one message that a function sent.
type Sent struct {
	From     weir.Address
	Function string
	Key      string
	Type     string
	Value
}

// Failure is one invocation that failed.
type Failure struct {
	Function, Key string
	Code          uint16 // abi.CodeError, abi.CodePanic, abi.CodeValue
	Text          string
}

func (f *Failure) Error() string { return f.Function + "/" + f.Key + ": " + f.Text }

// New starts a harness without state. It ends t when the module contradicts itself.
func New(t testing.TB) *Harness {
	t.Helper()
	h := &Harness{t: t, state: map[place][]byte{}, held: map[string]bool{}, now: Epoch, seed: 1, output: bufferBytes}
	h.guest = weir.NewGuest(func(_ int32, line string) {
		h.logs = append(h.logs, line)
		t.Log("weir: " + line)
	})
	var all struct{ Functions []description }
	if err := json.Unmarshal(h.guest.Describe(), &all); err != nil {
		t.Fatalf("weirtest: description: %v", err)
	}
	h.functions = all.Functions
	return h
}

// Now is the harness's time, for functions both Now and EventTime.
func (h *Harness) Now() time.Time { return h.now }

// Advance moves the harness's time on.
func (h *Harness) Advance(d time.Duration) { h.now = h.now.Add(d) }

// SetTime sets the harness's time, to the millisecond.
func (h *Harness) SetTime(now time.Time) { h.now = now }

// Seed sets what random numbers start from; 1 at first.
func (h *Harness) Seed(seed uint64) { h.seed = seed }

// Hold keeps messages for these functions from being delivered: they show in Sent only. Messages for functions of other
// modules are held anyway.
func (h *Harness) Hold(functions ...string) {
	for _, f := range functions {
		h.held[f] = true
	}
}

// Invoke calls a function as an HTTP request does, and then everything that its messages set off.
func (h *Harness) Invoke(function, key string, value any, headers ...Header) *Outcome {
	h.t.Helper()
	return h.call(function, key, abi.KindRequest, "", value, headers)
}

// InvokeTyped is Invoke with a value type name, such as io.statefun.types/long.
func (h *Harness) InvokeTyped(function, key, valueType string, value any, headers ...Header) *Outcome {
	h.t.Helper()
	return h.call(function, key, abi.KindRequest, valueType, value, headers)
}

// Deliver hands a record of topic to every function that names the topic with weir.Ingress, and then everything that
// their messages set off. The outcome is that of the last such function. Topics of module.yaml are not known here.
func (h *Harness) Deliver(topic, key string, value any, headers ...Header) *Outcome {
	h.t.Helper()
	var out *Outcome
	for _, f := range h.functions {
		for _, name := range f.Ingress {
			if name == topic {
				out = h.call(f.Type, key, abi.KindIngress, "", value, headers)
			}
		}
	}
	if out == nil {
		h.t.Fatalf("weirtest: no function has topic %q as ingress: add weir.Ingress(%q, \"namespace/name\") in init; topics of module.yaml are not known here", topic, topic)
	}
	return out
}

func (h *Harness) call(function, key string, kind uint8, valueType string, value any, headers []Header) *Outcome {
	h.t.Helper()
	if h.index(function) < 0 {
		h.t.Fatalf("weirtest: no function %q is registered", function)
	}
	var ext []byte
	for _, header := range headers {
		ext = abi.AppendHeader(ext, header.Name, header.Value)
	}
	out := &Outcome{}
	h.queue = append(h.queue, message{function, key, abi.Message{
		Kind: kind, Time: h.now.UnixMilli(), Type: []byte(valueType), Value: h.encode(value), Ext: ext,
	}, out})
	for n := 0; len(h.queue) > 0; n++ {
		if n == maxDeliveries {
			h.t.Fatalf("weirtest: %d invocations after one call of %s: functions send to each other without end", n, function)
		}
		m := h.queue[0]
		h.queue = h.queue[1:]
		h.invoke(&m)
	}
	return out
}

// encode is value as it travels: numbers in decimal, text and bytes as they are, the rest as JSON.
func (h *Harness) encode(value any) []byte {
	h.t.Helper()
	switch v := value.(type) {
	case nil:
		return nil
	case int64:
		return strconv.AppendInt(nil, v, 10)
	case int:
		return strconv.AppendInt(nil, int64(v), 10)
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	text, err := json.Marshal(value)
	if err != nil {
		h.t.Fatalf("weirtest: value: %v", err)
	}
	return text
}

func (h *Harness) index(function string) int {
	for i, f := range h.functions {
		if f.Type == function {
			return i
		}
	}
	return -1
}

// Egress is what went to an egress so far, in order.
func (h *Harness) Egress(id string) []Record {
	var records []Record
	for _, r := range h.records {
		if r.Egress == id {
			records = append(records, r)
		}
	}
	return records
}

// Sent is what functions sent to a function so far, in order, delivered or held.
func (h *Harness) Sent(function string) []Sent {
	var sent []Sent
	for _, s := range h.sent {
		if s.Function == function {
			sent = append(sent, s)
		}
	}
	return sent
}

// Failures is every invocation that failed so far, in order.
func (h *Harness) Failures() []Failure { return h.failures }

// Logs is every line that functions logged so far.
func (h *Harness) Logs() []string { return h.logs }

// Bytes is a state of an address as it is stored; ok is false when it is absent.
func (h *Harness) Bytes(function, key, state string) (value []byte, ok bool) {
	value, ok = h.state[place{function, key, state}]
	return value, ok
}

// State is a state as package weir declares it: a weir.Number or *weir.Value.
type State[T any] interface {
	Name() string
	Parse(b []byte) (T, error)
	Append(b []byte, x T) ([]byte, error)
}

// Get is a state of an address; ok is false when it is absent.
func Get[T any](h *Harness, state State[T], function, key string) (value T, ok bool) {
	h.t.Helper()
	b, ok := h.Bytes(function, key, state.Name())
	if !ok {
		return value, false
	}
	value, err := state.Parse(append([]byte(nil), b...))
	if err != nil {
		h.t.Fatalf("weirtest: state %s of %s/%s: %v", state.Name(), function, key, err)
	}
	return value, true
}

// Set gives an address a state to start from.
func Set[T any](h *Harness, state State[T], function, key string, value T) {
	h.t.Helper()
	b, err := state.Append(nil, value)
	if err != nil {
		h.t.Fatalf("weirtest: state %s of %s/%s: %v", state.Name(), function, key, err)
	}
	h.state[place{function, key, state.Name()}] = b
}

// Value is bytes with the forms in which tests compare them.
type Value struct {
	Bytes []byte
}

// String is the value as text.
func (v Value) String() string { return string(v.Bytes) }

// Int64 is the value as a number; it panics when it is none.
func (v Value) Int64() int64 {
	n, err := strconv.ParseInt(string(v.Bytes), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("weirtest: value %q is no number", v.Bytes))
	}
	return n
}

// JSON reads the value into p; it panics when it does not fit.
func (v Value) JSON(p any) {
	if err := json.Unmarshal(v.Bytes, p); err != nil {
		panic(fmt.Sprintf("weirtest: value %q: %v", v.Bytes, err))
	}
}

// Outcome is how one call went. Its Value is the reply, empty without one.
type Outcome struct {
	Replied bool
	Failure *Failure // nil when the invocation succeeded
	Value
}

// Err is the failure as an error, or nil.
func (o *Outcome) Err() error {
	if o.Failure == nil {
		return nil
	}
	return o.Failure
}
