package abi_test

import (
	"encoding/binary"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/sdk/abi"
)

type group struct {
	Function int       `json:"function"`
	Key      text      `json:"key"`
	States   []state   `json:"states"`
	Messages []message `json:"messages"`
}

type message struct {
	Kind       uint8  `json:"kind"`
	Time       int64  `json:"time"`
	ID         uint64 `json:"id"`
	Type       text   `json:"type,omitempty"`
	SenderType text   `json:"senderType,omitempty"`
	SenderKey  text   `json:"senderKey,omitempty"`
	Value      text   `json:"value"`
	Ext        text   `json:"extensions,omitempty"`
}

type op struct {
	Kind    abi.OpKind `json:"kind"`
	Message int        `json:"message"`
	Target  text       `json:"target,omitempty"`
	Key     text       `json:"key"`
	Value   text       `json:"value"`
	NoKey   bool       `json:"noKey,omitempty"`
	NoValue bool       `json:"noValue,omitempty"`
	Topic   text       `json:"topic,omitempty"`
	Type    text       `json:"type,omitempty"`
	Ext     text       `json:"extensions,omitempty"`
	Delay   int64      `json:"delay,omitempty"`
}

type stateWrite struct {
	Index  int  `json:"index"`
	Delete bool `json:"delete,omitempty"`
	Value  text `json:"value"`
}

func (m *message) abi() *abi.Message {
	return &abi.Message{Kind: m.Kind, Time: m.Time, ID: m.ID, Type: m.Type, SenderType: m.SenderType, SenderKey: m.SenderKey, Value: m.Value, Ext: m.Ext}
}

func (o *op) abi() *abi.Op {
	return &abi.Op{Kind: o.Kind, Message: o.Message, Target: o.Target, Key: o.Key, Value: o.Value, NoKey: o.NoKey, NoValue: o.NoValue,
		Topic: o.Topic, Type: o.Type, Ext: o.Ext, Delay: o.Delay}
}

type state struct {
	Present bool `json:"present"`
	Value   text `json:"value,omitempty"`
}

// outcome is a group result as plain values.
type outcome struct {
	Done   int          `json:"done"`
	Code   uint16       `json:"code,omitempty"`
	Text   string       `json:"text,omitempty"`
	Ops    []op         `json:"ops,omitempty"`
	States []stateWrite `json:"states,omitempty"`
}

// text is bytes that a vector shows as a string.
type text []byte

func encode(now int64, seed uint64, groups []group) ([]byte, []int) {
	var b abi.Batch
	b.Reset(now, seed)
	for _, g := range groups {
		b.Group(uint16(g.Function), g.Key)
		for _, s := range g.States {
			b.State(s.Value, s.Present)
		}
		for _, m := range g.Messages {
			b.Message(m.abi())
		}
	}
	return b.Bytes(), b.Counts()
}

func read(in []byte) (now int64, seed uint64, groups []group, err error) {
	var r abi.Reader
	if err := r.Open(in); err != nil {
		return 0, 0, nil, err
	}
	for r.Next() {
		g := group{Function: r.Function(), Key: r.Key}
		for i := range r.States() {
			v, present := r.State(i)
			g.States = append(g.States, state{present, v})
		}
		for r.NextMessage() {
			function, key := r.Sender()
			g.Messages = append(g.Messages, message{r.Kind(), r.Time(), r.ID(), r.Type(), function, key, r.Value, r.Ext()})
		}
		groups = append(groups, g)
	}
	return r.Now(), r.Seed(), groups, r.Err()
}

func write(out []byte, outcomes []outcome) int {
	var w abi.Writer
	w.Reset(out)
	for _, o := range outcomes {
		w.Group()
		ops := o.Ops
		for i := range o.Done {
			for len(ops) > 0 && ops[0].Message == i {
				w.Op(ops[0].abi())
				ops = ops[1:]
			}
			w.Commit()
		}
		if o.Code != 0 {
			w.Op(&abi.Op{Kind: abi.Send, Target: []byte("a/dropped")})
			w.Fail(o.Code, o.Text)
		}
		for _, s := range o.States {
			w.State(s.Index, s.Value, s.Delete)
		}
	}
	return w.Finish()
}

func open(out []byte, counts []int) ([]outcome, error) {
	var r abi.Result
	if err := r.Open(out, len(counts), counts); err != nil {
		return nil, err
	}
	var outcomes []outcome
	for r.Next() {
		o := outcome{Done: r.Done()}
		code, reason, failed := r.Failure()
		if failed {
			o.Code, o.Text = code, string(reason)
		}
		var s abi.StateWrite
		for r.NextState(&s) {
			o.States = append(o.States, stateWrite{s.Index, s.Delete, s.Value})
		}
		var p abi.Op
		for r.NextOp(&p) {
			o.Ops = append(o.Ops, op{p.Kind, p.Message, p.Target, p.Key, p.Value, p.NoKey, p.NoValue, p.Topic, p.Type, p.Ext, p.Delay})
		}
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

func TestABatchReadsBackEqual(t *testing.T) {
	want := batches()["several groups"]
	in, counts := encode(want.Now, want.Seed, want.Groups)
	if !reflect.DeepEqual(counts, []int{2, 1, 1}) {
		t.Errorf("counts %v", counts)
	}
	now, seed, groups, err := read(in)
	if err != nil || now != want.Now || seed != want.Seed {
		t.Fatalf("read: now %d, seed %d, %v", now, seed, err)
	}
	if got, want := show(groups), show(want.Groups); got != want {
		t.Errorf("groups\n%s\nwant\n%s", got, want)
	}
}

func TestAGroupLongerThanItsMessagesIsDamaged(t *testing.T) {
	in, _ := encode(1, 2, []group{{Key: []byte("k"), Messages: []message{{Value: []byte("v")}}}})
	in = append(in, make([]byte, 8)...)
	for _, at := range []int{24, 32} { // the lengths of the batch and of its group
		in[at] += 8
	}
	if _, _, _, err := read(in); err == nil || !strings.Contains(err.Error(), "wrong length") {
		t.Errorf("8 bytes behind the last message: %v", err)
	}
}

func TestAResultReadsBackEqual(t *testing.T) {
	want := results()["several groups"]
	out := make([]byte, 4096)
	n := write(out, want.Outcomes)
	if n < 0 {
		t.Fatalf("write: %d", n)
	}
	got, err := open(out[:n], want.Counts)
	if err != nil {
		t.Fatal(err)
	}
	if show(got) != show(want.Outcomes) {
		t.Errorf("outcomes\n%s\nwant\n%s", show(got), show(want.Outcomes))
	}
}

func TestAResultThatDoesNotFitIsFull(t *testing.T) {
	want := results()["several groups"]
	out := make([]byte, 4096)
	n := write(out, want.Outcomes)
	for size := range n {
		if got := write(out[:size], want.Outcomes); got != abi.GuestFull {
			t.Fatalf("%d of %d bytes: %d, want full", size, n, got)
		}
	}
}

func TestPaddingIsZeroInAReusedBuffer(t *testing.T) {
	v := batches()["several groups"]
	var b abi.Batch
	fill := func() []byte {
		b.Reset(v.Now, v.Seed)
		for _, g := range v.Groups {
			b.Group(uint16(g.Function), g.Key)
			for _, s := range g.States {
				b.State(s.Value, s.Present)
			}
			for _, m := range g.Messages {
				b.Message(m.abi())
			}
		}
		return b.Bytes()
	}
	first := string(fill())
	b.Reset(0, 0)
	b.Group(0, nil)
	b.Message(&abi.Message{Value: []byte(dirty)})
	if second := string(fill()); second != first {
		t.Error("a reused batch differs from a fresh one")
	}
	out := []byte(dirty)
	r := results()["several groups"]
	n := write(out, r.Outcomes)
	clean := make([]byte, n)
	write(clean, r.Outcomes)
	if string(out[:n]) != string(clean) {
		t.Error("a result in a used buffer differs from one in a fresh buffer")
	}
}

var dirty = func() string {
	b := make([]byte, 4096)
	for i := range b {
		b[i] = 0xAA
	}
	return string(b)
}()

func TestTagsAndKindsAreThoseOfFunctions(t *testing.T) {
	for _, pair := range [][2]int{
		{abi.TagType, int(functions.TagType)},
		{abi.TagHeader, int(functions.TagHeader)},
		{abi.TagCoordinates, int(functions.TagCoordinates)},
		{abi.KindSend, int(functions.KindSend)},
		{abi.KindIngress, int(functions.KindIngress)},
		{abi.KindRequest, int(functions.KindRequest)},
	} {
		if pair[0] != pair[1] {
			t.Errorf("abi %d, functions %d", pair[0], pair[1])
		}
	}
	key, value := []byte("trace"), []byte("\x00\x01")
	ours := abi.AppendExt(abi.AppendHeader(nil, key, value), abi.TagType, value)
	theirs := functions.AppendExt(functions.AppendHeader(nil, key, value), functions.TagType, value)
	if string(ours) != string(theirs) {
		t.Errorf("extensions % x, functions % x", ours, theirs)
	}
	tag, v, rest, ok := abi.NextExt(ours)
	k, v, split := abi.SplitHeader(v)
	if !ok || !split || tag != abi.TagHeader || string(k) != "trace" || string(v) != "\x00\x01" || len(rest) != 10 {
		t.Errorf("header %d %q %q, rest % x", tag, k, v, rest)
	}
}

func TestABatchAndAResultDoNotAllocateOnceWarm(t *testing.T) {
	var b abi.Batch
	var in abi.Reader
	var r abi.Result
	var w abi.Writer
	out := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(100, func() { roundTrip(&b, &in, &r, &w, out) }); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

var (
	benchKey   = []byte("user-00000000042")
	benchValue = []byte("12345")
	benchState = binary.LittleEndian.AppendUint64(nil, 7)
)

// roundTrip is one batch of 64 keyed counters, host and guest halves both.
func roundTrip(b *abi.Batch, in *abi.Reader, r *abi.Result, w *abi.Writer, out []byte) {
	m := abi.Message{Kind: abi.KindIngress, Time: 1, Value: benchValue}
	b.Reset(1, 2)
	for range 64 {
		b.Group(0, benchKey)
		b.State(benchState, true)
		m.ID++
		b.Message(&m)
	}
	if err := in.Open(b.Bytes()); err != nil {
		panic(err)
	}
	w.Reset(out)
	op := abi.Op{Kind: abi.Egress, Target: []byte("counts"), Key: benchKey, Value: benchValue}
	for in.Next() {
		w.Group()
		v, _ := in.State(0)
		for in.NextMessage() {
			w.Op(&op)
			w.Commit()
		}
		w.State(0, v, false)
	}
	if err := r.Open(out[:w.Finish()], b.Groups(), b.Counts()); err != nil {
		panic(err)
	}
	var s abi.StateWrite
	for r.Next() {
		for r.NextState(&s) {
		}
		for r.NextOp(&op) {
		}
	}
}

func BenchmarkBatchOf64Counters(b *testing.B) {
	b.ReportAllocs()
	var batch abi.Batch
	var in abi.Reader
	var r abi.Result
	var w abi.Writer
	out := make([]byte, 64<<10)
	for b.Loop() {
		roundTrip(&batch, &in, &r, &w, out)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/message")
}
