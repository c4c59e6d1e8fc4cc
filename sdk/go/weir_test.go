package weir_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/sdk/abi"
	weir "github.com/weir-run/weir/sdk/go"
	"github.com/weir-run/weir/sdk/go/weirtest"
)

func TestValuesReachTheirHandlersAndRepliesComeBack(t *testing.T) {
	h := weirtest.New(t)
	for _, step := range []struct {
		function, valueType string
		value               any
		want                string
	}{
		{"t/add", "", "3", "3"},
		{"t/add", "", " 4\n", "7"},
		{"t/add", "io.statefun.types/long", "\x09\x05\x00\x00\x00\x00\x00\x00\x00", "12"},
		{"t/add", "io.statefun.types/long", "", "12"},
		{"t/add", "io.statefun.types/int", "\x0d\x01\x00\x00\x00", "13"},
		{"t/add", "something/else", "2", "15"},
		{"t/append", "", "ab", "ab"},
		{"t/append", "", []byte{'c'}, "abc"},
		{"t/text", "", "héllo", "héllo"},
		{"t/text", "io.statefun.types/string", "\x0a\x02!!", "héllo!!"},
		{"t/text", "io.statefun.types/string", "", "héllo!!"},
		{"t/json", "", purchase{"tea", 5}, `{"item":"tea","cents":5}`},
		{"t/json", "", `{"item":"tea","cents":6}`, `{"item":"tea","cents":11}`},
		{"t/json", "", `{}`, "false"},
		{"t/json", "", purchase{"tea", 2}, `{"item":"tea","cents":2}`},
		{"t/hex", "", int64(250), "250"},
		{"t/hex", "", 6, "256"},
	} {
		got := h.InvokeTyped(step.function, "k", step.valueType, step.value)
		if got.Err() != nil || got.String() != step.want {
			t.Errorf("%s %q: %q %v, want %q", step.function, step.value, got, got.Err(), step.want)
		}
	}
	if b, _ := h.Bytes("t/hex", "k", "hex"); string(b) != "100" {
		t.Errorf("state hex is %q", b)
	}
}

func TestAnOddValueFailsWithACodeOfItsOwn(t *testing.T) {
	h := weirtest.New(t)
	for _, bad := range []struct{ function, valueType, value, want string }{
		{"t/add", "", "", `value "" is no 64-bit integer`},
		{"t/add", "", "-", `value "-" is no 64-bit integer`},
		{"t/add", "", "1.5", `value "1.5" is no 64-bit integer`},
		{"t/add", "", "9223372036854775808", `value "9223372036854775808" is no 64-bit integer`},
		{"t/add", "", "-9223372036854775809", `value "-9223372036854775809" is no 64-bit integer`},
		{"t/add", "", "99999999999999999999999", `value "99999999999999999999999" is no 64-bit integer`},
		{"t/add", "", strings.Repeat("x", 80), `value "` + strings.Repeat("x", 64) + `"... is no 64-bit integer`},
		{"t/add", "io.statefun.types/long", "7", `value "7" is no io.statefun.types/long`},
		{"t/add", "io.statefun.types/int", "\x0d\x01", `value "\r\x01" is no io.statefun.types/int`},
		{"t/text", "io.statefun.types/string", "\x0a\x09!!", `value "\n\t!!" is no io.statefun.types/string`},
		{"t/json", "", "[1", "unexpected end of JSON input"},
	} {
		got := h.InvokeTyped(bad.function, "k", bad.valueType, bad.value)
		want := &weirtest.Failure{Function: bad.function, Key: "k", Code: abi.CodeValue, Text: bad.want}
		if !reflect.DeepEqual(got.Failure, want) {
			t.Errorf("%s %q: %v, want %v", bad.function, bad.value, got.Failure, want)
		}
	}
}

func TestNumbersTravelAtTheirLimits(t *testing.T) {
	for _, n := range []string{"9223372036854775807", "-9223372036854775807", "-1", "10", "4294967295", "4294967296", "42949672969"} {
		h := weirtest.New(t)
		if got := h.Invoke("t/hex", "k", n); got.Err() != nil || got.String() != n {
			t.Errorf("%s came back as %s %v", n, got, got.Err())
		}
	}
	h := weirtest.New(t)
	if got := h.Invoke("t/hex", "k", "-9223372036854775808"); got.String() != "-9223372036854775808" {
		t.Errorf("the least int64 came back as %s", got)
	}
}

func TestAFailedInvocationLeavesNothingButItsFailure(t *testing.T) {
	h := weirtest.New(t)
	h.Invoke("t/add", "k", 1)
	for _, bad := range []struct {
		value int
		code  uint16
		text  string
	}{
		{-5, abi.CodeError, "negative"},
		{13, abi.CodePanic, "panic: unlucky (functions_test.go:59)\n  github.com/weir-run/weir/sdk/go_test.register.func1 functions_test.go:59"},
	} {
		got := h.Invoke("t/add", "k", bad.value)
		if got.Replied || got.Failure == nil || got.Failure.Code != bad.code || got.Failure.Text != bad.text {
			t.Errorf("%d: replied %v, %v", bad.value, got.Replied, got.Failure)
		}
	}
	if sum, _ := weirtest.Get(h, total, "t/add", "k"); sum != 1 {
		t.Errorf("total is %d, want 1", sum)
	}
	if out, sent := h.Egress("out"), h.Sent("t/audit"); len(out) != 2 || len(sent) != 1 {
		t.Errorf("records %v, sent %v: want those of the first invocation and its audit", out, sent)
	}
	if got := h.Invoke("t/add", "k", 1); got.Int64() != 2 {
		t.Errorf("after the failures: %s", got)
	}
}

func TestAGroupStopsAtItsFirstFailureAndKeepsWhatCameBefore(t *testing.T) {
	g := weir.NewGuest(nil)
	in, counts := batch(g, "t/add", "1", "2", "13", "4")
	r := run(t, g, in, counts)
	code, _, failed := r.Failure()
	if r.Done() != 2 || !failed || code != abi.CodePanic {
		t.Errorf("done %d, failure %d", r.Done(), code)
	}
	var s abi.StateWrite
	if !r.NextState(&s) || s.Index != 0 || s.Delete || string(s.Value) != "\x03\x00\x00\x00\x00\x00\x00\x00" || r.NextState(&s) {
		t.Errorf("state write %+v, want 3", s)
	}
	var values []string
	var op abi.Op
	for r.NextOp(&op) {
		values = append(values, string(op.Value))
	}
	if want := []string{"1", "1", "1", "3", "3", "3"}; !reflect.DeepEqual(values, want) {
		t.Errorf("ops %v, want %v", values, want)
	}
	if !r.Next() || r.Done() != 4 {
		t.Errorf("the group after the panic has %d done, want 4", r.Done())
	}
}

func TestBytesChangedInPlaceNeverReachAFailedInvocationsState(t *testing.T) {
	h := weirtest.New(t)
	h.Invoke("t/append", "k", "ab")
	if got := h.Invoke("t/append", "k", "!"); got.Err() == nil {
		t.Fatal("the invocation succeeded")
	}
	if b, _ := weirtest.Get(h, blob, "t/append", "k"); string(b) != "ab" {
		t.Errorf("blob is %q, want ab", b)
	}
	g := weir.NewGuest(nil)
	in, counts := batch(g, "t/append", "ab", "!")
	r := run(t, g, in, counts)
	var s abi.StateWrite
	if !r.NextState(&s) || string(s.Value) != "ab" {
		t.Errorf("state write %q, want ab", s.Value)
	}
}

func TestEffectsThatCannotBeTakenFailTheInvocation(t *testing.T) {
	for _, bad := range []struct{ steps, want string }{
		{words("reply", "reply"), "replied already"},
		{words("start"), "not put"},
		{words("start", "other", "put"), "not put"},
		{words("start", "record"), "not put"},
		{words("start", "put", "put"), "put twice"},
		{words("json"), "unsupported type"},
		{words("long"), "longer than 65535 bytes"},
		{words("long topic"), "longer than 65535 bytes"},
	} {
		h := weirtest.New(t)
		got := h.Invoke("t/script", "k", bad.steps)
		if got.Failure == nil || !strings.Contains(got.Failure.Text, bad.want) || len(h.Egress("out")) != 0 {
			t.Errorf("%s: %v, want %q", bad.steps, got.Failure, bad.want)
		}
		if got := h.Invoke("t/script", "k", words("record")); got.Err() != nil {
			t.Errorf("%s: the invocation after it: %v", bad.steps, got.Err())
		}
	}
	h := weirtest.New(t)
	got := h.Invoke("t/unnamed", "k", 1)
	if got.Failure == nil || !strings.Contains(got.Failure.Text, `t/unnamed does not name state "total" in Handle`) {
		t.Errorf("a state that the function does not name: %v", got.Failure)
	}
}

func TestANumberThatIsNoneFailsTheInvocationsOfItsKeyAlone(t *testing.T) {
	var b abi.Batch
	b.Reset(1, 1)
	for _, state := range []string{"12345678", "odd", "12345678"} {
		b.Group(0, []byte("key")) // t/add, whose one state is total
		b.State([]byte(state), true)
		b.Message(&abi.Message{Kind: abi.KindIngress, Value: []byte("1")})
	}
	g := weir.NewGuest(nil)
	r := run(t, g, b.Bytes(), b.Counts())
	for _, want := range []string{"", `panic: state "total" has 3 bytes: it is no int64`, ""} {
		_, text, failed := r.Failure()
		if failed != (want != "") || !strings.HasPrefix(string(text), want) {
			t.Errorf("failed %v with %q, want %q", failed, text, want)
		}
		r.Next()
	}
}

func TestAStateThatWasNeverDeclaredIsNamed(t *testing.T) {
	defer func() { undeclared = nil }()
	for _, use := range []func(*weir.Call){
		func(c *weir.Call) { weir.Number{}.Set(c, 1) },
		func(c *weir.Call) { new(weir.Value[string]).Get(c) },
	} {
		undeclared = use
		got := weirtest.New(t).Invoke("t/undeclared", "k", "")
		if got.Failure == nil || !strings.HasPrefix(got.Failure.Text, "panic: a state was never declared") {
			t.Errorf("failure %v", got.Failure)
		}
	}
}

func TestANumberDeletedAndSetAgainIsWhatWasLastDone(t *testing.T) {
	for _, c := range []struct {
		values []string
		write  string // of the state, "deleted", or "none"
	}{
		{[]string{"delete"}, "deleted"},
		{[]string{"5", "delete"}, "deleted"},
		{[]string{"delete", "5"}, "\x05\x00\x00\x00\x00\x00\x00\x00"},
		{[]string{"5", "delete and fail"}, "\x05\x00\x00\x00\x00\x00\x00\x00"},
		{[]string{"delete", "set and fail"}, "deleted"},
		{[]string{"set and fail"}, "none"},
		{[]string{"look"}, "none"},
	} {
		g := weir.NewGuest(nil)
		in, counts := batchWith([]byte("12345678"), g, "t/number", c.values...)
		r := run(t, g, in, counts)
		got := "none"
		var s abi.StateWrite
		if r.NextState(&s) {
			if got = string(s.Value); s.Delete {
				got = "deleted"
			}
		}
		if got != c.write {
			t.Errorf("%v: state %q, want %q", c.values, got, c.write)
		}
	}
}

func TestRecordsCarryTopicHeadersAndKeyAsGiven(t *testing.T) {
	h := weirtest.New(t)
	if got := h.Invoke("t/script", "k", words("record", "keyless", "tombstone", "start", "put", "other")); got.Err() != nil {
		t.Fatal(got.Err())
	}
	want := []weirtest.Record{
		{Egress: "out", Topic: "t", Key: "k", Headers: []weirtest.Header{{Name: "a", Value: "1"}, {Name: "a", Value: "2"}}, Value: weirtest.Value{Bytes: []byte(`{"item":"x","cents":1}`)}},
		{Egress: "out", Value: weirtest.Value{Bytes: []byte("v")}},
		{Egress: "out", Key: "k", Tombstone: true, Value: weirtest.Value{Bytes: []byte{}}},
		{Egress: "out", Topic: "kept", Key: "k", Value: weirtest.Value{Bytes: []byte("1")}},
	}
	if got := h.Egress("out"); !reflect.DeepEqual(got, want) {
		t.Errorf("records\n%+v\nwant\n%+v", got, want)
	}
	if got := h.Egress("other"); len(got) != 1 || got[0].Int64() != 2 {
		t.Errorf("egress other: %+v", got)
	}
}

func TestSendsCarryTypeAndText(t *testing.T) {
	h := weirtest.New(t)
	h.Invoke("t/script", "k", words("typed", "text"))
	got := h.Sent("t/none")
	if len(got) != 2 || got[0].Type != "io.statefun.types/long" || got[0].From != (weir.Address{Type: "t/script", Key: "k"}) || got[1].String() != "text" {
		t.Errorf("sent %+v", got)
	}
}

func TestMessagesBetweenFunctionsAreDeliveredUnlessHeld(t *testing.T) {
	h := weirtest.New(t)
	h.Invoke("t/add", "ann", 3)
	out := h.Egress("out")
	if len(out) != 2 || out[1].Key != "audit" || out[1].String() != "t/add/ann 3" {
		t.Errorf("egress out: %+v", out)
	}
	h = weirtest.New(t)
	h.Hold("t/audit")
	h.Invoke("t/add", "ann", 3)
	if len(h.Egress("out")) != 1 || len(h.Sent("t/audit")) != 1 {
		t.Errorf("held: egress %v, sent %v", h.Egress("out"), h.Sent("t/audit"))
	}
}

func TestACallKnowsWhoWhenAndWhence(t *testing.T) {
	h := weirtest.New(t)
	h.Advance(1500 * time.Millisecond)
	h.Invoke("t/script", "k", words("time", "header", "who"), weirtest.Header{Name: "trace", Value: "7f"})
	at := "1767225601500"
	want := []string{at + " " + at, "7f true", `t/script k 2 { } false ["time","header","who"]`}
	if got := h.Logs(); !reflect.DeepEqual(got, want) {
		t.Errorf("logs %q, want %q", got, want)
	}
}

func TestRandomNumbersRepeatOnAReplayOnly(t *testing.T) {
	draw := func(seed uint64) []string {
		h := weirtest.New(t)
		h.Seed(seed)
		h.Invoke("t/script", "k", words("random"))
		h.Invoke("t/script", "k", words("random"))
		return h.Logs()
	}
	first, again, other := draw(1), draw(1), draw(2)
	if !reflect.DeepEqual(first, again) || first[0] == first[1] || reflect.DeepEqual(first, other) {
		t.Errorf("seed 1: %v then %v, seed 2: %v", first, again, other)
	}
}

func TestAResultThatDoesNotFitIsAskedForAgain(t *testing.T) {
	h := weirtest.New(t)
	h.Invoke("t/script", "k", words("flood", "flood"))
	if got := h.Sent("t/none"); len(got) != 2 || len(got[1].Bytes) != 1<<20 {
		t.Errorf("%d messages sent", len(got))
	}
}

func TestABatchThatTheGuestCannotReadEndsWithItsCode(t *testing.T) {
	for _, bad := range []struct {
		name  string
		spoil func([]byte) []byte
		want  int
	}{
		{"another version", func(b []byte) []byte { b[0] = 2; return b }, abi.GuestVersion},
		{"cut off", func(b []byte) []byte { return b[:len(b)-8] }, abi.GuestBatch},
		{"no bytes", func([]byte) []byte { return nil }, abi.GuestBatch},
		{"a function too many", func(b []byte) []byte { b[37] = 1; return b }, abi.GuestFunction},
		{"too few states", func(b []byte) []byte { b[38] = 0; return b }, abi.GuestBatch},
		{"a damaged message", func(b []byte) []byte { b[len(b)-24] = 0xff; return b }, abi.GuestBatch},
	} {
		g := weir.NewGuest(nil)
		in, _ := batch(g, "t/add", "1")
		b := bad.spoil(in)
		copy(g.In(len(b)), b)
		g.Out(4096)
		if got := g.Batch(len(b)); got != bad.want {
			t.Errorf("%s: %d, want %d", bad.name, got, bad.want)
		}
	}
	g := weir.NewGuest(nil)
	if got := g.Batch(1 << 20); got != abi.GuestBatch {
		t.Errorf("a batch larger than the buffer: %d", got)
	}
}

func TestTheDescriptionIsOneOfThePlatform(t *testing.T) {
	var d functions.Description
	if err := json.Unmarshal(weir.NewGuest(nil).Describe(), &d); err != nil {
		t.Fatal(err)
	}
	spec := func(name string, ingress []string, states ...functions.StateSpec) functions.FunctionSpec {
		typ, err := functions.ParseTypeName(name)
		if err != nil {
			t.Fatal(err)
		}
		if states == nil {
			states = []functions.StateSpec{}
		}
		return functions.FunctionSpec{Type: typ, States: states, Ingress: ingress}
	}
	hex := functions.StateSpec{Name: "hex", Type: "hex"}
	want := functions.Description{
		ABI: abi.Version, SDK: "go/0.1", Ingresses: []string{"adds", "texts"}, Egresses: []string{"out", "other"},
		Functions: []functions.FunctionSpec{
			spec("t/add", []string{"adds"}, functions.StateSpec{Name: "total", Type: "int64"}),
			spec("t/append", []string{}, functions.StateSpec{Name: "blob", Type: "bytes"}),
			spec("t/text", []string{"adds", "texts"}, functions.StateSpec{Name: "name", Type: "string"}),
			spec("t/json", []string{"adds"}, functions.StateSpec{Name: "order", Type: "json"}, hex),
			spec("t/hex", []string{}, hex),
			spec("t/audit", []string{}),
			spec("t/unnamed", []string{}),
			spec("t/script", []string{}),
			spec("t/number", []string{}, functions.StateSpec{Name: "total", Type: "int64"}),
			spec("t/undeclared", []string{}),
		},
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("description\n%+v\nwant\n%+v", d, want)
	}
}
