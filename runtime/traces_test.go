package runtime_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/runtime/runtimetest"
)

const (
	callerTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerSpan  = "00f067aa0ba902b7"
	sampled     = "00-" + callerTrace + "-" + callerSpan + "-01"
	notSampled  = "00-" + callerTrace + "-" + callerSpan + "-00"
)

// relay sends what it gets to the counter, under another key.
var relay = runtimetest.Module{{Type: "t/relay", Run: func(c *runtimetest.Call) error {
	if string(c.Value) == "fail" {
		return errors.New("asked to fail\nat this place")
	}
	c.Send("t/counter", c.Key+"-relayed", c.Value)
	return nil
}}, counter[0]}

// traced is a cluster whose spans a test reads.
func traced(t *testing.T, ratio float64) (*runtimetest.Cluster, *tracetest.SpanRecorder) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(recorder))
	c := runtimetest.New(t, runtimetest.NewBroker(4, "in", "out", "dead"))
	c.Modules["v1"] = relay
	c.Tracing = &telemetry.Tracing{Tracer: provider.Tracer("test"), Ratio: ratio}
	c.Start()
	c.Ready()
	return c, recorder
}

// named waits for n ended spans of a name.
func named(t *testing.T, recorder *tracetest.SpanRecorder, name string, n int) (found []sdktrace.ReadOnlySpan) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(found) < n {
		if ctx.Err() != nil {
			t.Fatalf("%d spans %q of %d came: %v", len(found), name, n, spanNames(recorder))
		}
		found = nil
		for _, span := range recorder.Ended() {
			if span.Name() == name {
				found = append(found, span)
			}
		}
	}
	return found
}

func spanNames(recorder *tracetest.SpanRecorder) (names []string) {
	for _, span := range recorder.Ended() {
		names = append(names, span.Name())
	}
	return names
}

func attributeOf(span sdktrace.ReadOnlySpan, key string) string {
	for _, a := range span.Attributes() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func record(key, value, traceparent string) runtimetest.Record {
	return runtimetest.Record{Key: []byte(key), Value: []byte(value), Headers: map[string]string{"traceparent": traceparent, "tracestate": "vendor=1"}}
}

func TestASampledRecordIsTracedThroughFunctionsToItsOutput(t *testing.T) {
	c, recorder := traced(t, 0)
	c.Deploy(c.Job("job", "v1", 2, "t/relay"))
	c.Broker.ProduceRecord("in", record("unseen", "1", notSampled))
	c.Broker.Produce("in", "plain", []byte("1"))
	c.Broker.ProduceRecord("in", record("ann", "1", sampled))
	process, invoke := named(t, recorder, "process in", 1)[0], named(t, recorder, "invoke t/counter", 1)[0]
	publish := named(t, recorder, "publish", 1)[0]
	for _, span := range []sdktrace.ReadOnlySpan{process, invoke, publish} {
		if id := span.SpanContext().TraceID().String(); id != callerTrace || span.SpanContext().TraceState().String() != "vendor=1" {
			t.Errorf("%s is in trace %s with state %q", span.Name(), id, span.SpanContext().TraceState())
		}
	}
	if got := process.Parent().SpanID().String(); got != callerSpan || process.SpanKind() != trace.SpanKindConsumer {
		t.Errorf("the record's span is a %v child of %s", process.SpanKind(), got)
	}
	if invoke.Parent().SpanID() != process.SpanContext().SpanID() || publish.Parent().SpanID() != invoke.SpanContext().SpanID() {
		t.Errorf("the spans are not children of one another: %v %v", invoke.Parent(), publish.Parent())
	}
	if links := publish.Links(); len(links) != 1 || links[0].SpanContext.SpanID() != invoke.SpanContext().SpanID() {
		t.Errorf("the publication links to %v", links)
	}
	for key, want := range map[string]string{"messaging.destination.name": "in", "messaging.system": "kafka", "messaging.kafka.offset": "0",
		"weir.job": "job", "weir.function": "t/relay", "weir.message.attempt": "1"} {
		if got := attributeOf(process, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if n := len(recorder.Ended()); n != 3 {
		t.Errorf("%d spans of one sampled record: %v", n, spanNames(recorder))
	}
	wantHeaders(t, c, invoke)
}

// wantHeaders holds what goes out against the span that made it: a reader of the topic goes on with its trace.
func wantHeaders(t *testing.T, c *runtimetest.Cluster, invoke sdktrace.ReadOnlySpan) {
	t.Helper()
	carry := 0
	for _, r := range c.Broker.Records("out") {
		header := r.Headers["traceparent"]
		if string(r.Key) != "ann-relayed" {
			if header != "" {
				t.Errorf("%s, which is not sampled, carries %s", r.Key, header)
			}
			continue
		}
		carry++
		if want := "00-" + callerTrace + "-" + invoke.SpanContext().SpanID().String() + "-01"; header != want || r.Headers["tracestate"] != "vendor=1" {
			t.Errorf("the record carries %s and %s, want %s", header, r.Headers["tracestate"], want)
		}
	}
	if carry != 1 {
		t.Errorf("%d records went out for the sampled one", carry)
	}
}

func TestAFailedInvocationSaysSoInItsSpan(t *testing.T) {
	c, recorder := traced(t, 0)
	job := c.Job("job", "v1", 1, "t/relay")
	job.Modules[0].Retry = functions.Retry{Attempts: 2, Backoff: 1, MaxBackoff: 1}
	c.Deploy(job)
	c.Broker.ProduceRecord("in", record("ann", "fail", sampled))
	var attempts []string
	for _, span := range named(t, recorder, "process in", 2) {
		attempts = append(attempts, attributeOf(span, "weir.message.attempt"))
		if got := span.Status(); got.Code != codes.Error || got.Description != "asked to fail" {
			t.Errorf("status %v", got)
		}
	}
	if !slices.Equal(attempts, []string{"1", "2"}) {
		t.Errorf("attempts %v", attempts)
	}
}

func TestAtLeastOnceOutputIsTracedToTheBroker(t *testing.T) {
	c, recorder := traced(t, 0)
	job := c.Job("job", "v1", 1, "t/relay")
	job.Egresses[0].Delivery = functions.AtLeastOnce
	c.Deploy(job)
	c.Broker.ProduceRecord("in", record("ann", "1", sampled))
	publish, invoke := named(t, recorder, "publish", 1)[0], named(t, recorder, "invoke t/counter", 1)[0]
	if publish.Parent().SpanID() != invoke.SpanContext().SpanID() {
		t.Errorf("the publication is a child of %v", publish.Parent())
	}
}

func TestARequestTakesItsTraceToItsFunction(t *testing.T) {
	c, recorder := traced(t, 0)
	c.Deploy(c.Job("job", "v1", 1))
	caller, _, _ := functions.ParseTraceparent([]byte(sampled))
	if answer := c.CallWith("t/counter", "ann", "1", functions.AppendTrace(nil, &caller, 0)); string(answer.Body) != "1" {
		t.Fatalf("%+v", answer)
	}
	if span := named(t, recorder, "invoke t/counter", 1)[0]; span.Parent().SpanID().String() != callerSpan {
		t.Errorf("the invocation is a child of %v", span.Parent())
	}
}

func TestRecordsAndEpochsBeginTracesByTheRatio(t *testing.T) {
	c, recorder := traced(t, 1)
	c.Deploy(c.Job("job", "v1", 1, "t/relay"))
	c.Broker.ProduceRecord("in", record("unseen", "1", notSampled)) // whoever wrote it has decided
	c.Broker.Produce("in", "ann", []byte("1"))
	process, invoke := named(t, recorder, "process in", 1), named(t, recorder, "invoke t/counter", 1)
	if len(process) != 1 || process[0].Parent().IsValid() || len(invoke) != 1 || invoke[0].Parent().SpanID() != process[0].SpanContext().SpanID() {
		t.Errorf("%d roots, the first below %v; %d children", len(process), process[0].Parent(), len(invoke))
	}
	publish := named(t, recorder, "publish", 1)[0]
	var epoch sdktrace.ReadOnlySpan
	for _, span := range named(t, recorder, "checkpoint", 1) {
		if attributeOf(span, "weir.checkpoint") == attributeOf(publish, "weir.checkpoint") {
			epoch = span
		}
	}
	if epoch == nil || publish.Parent().SpanID() != epoch.SpanContext().SpanID() {
		t.Fatalf("the publication is a child of %v, not of its checkpoint", publish.Parent())
	}
	for _, name := range []string{"seal", "write", "manifest"} {
		if !slices.ContainsFunc(recorder.Ended(), func(s sdktrace.ReadOnlySpan) bool {
			return s.Name() == name && s.Parent().SpanID() == epoch.SpanContext().SpanID()
		}) {
			t.Errorf("the checkpoint has no span %q", name)
		}
	}
}

func TestAGuestCannotMakeATraceUp(t *testing.T) {
	c, recorder := traced(t, 0)
	caller, _, _ := functions.ParseTraceparent([]byte(sampled))
	c.Modules["v1"] = runtimetest.Module{{Type: "t/relay", Run: func(call *runtimetest.Call) error {
		call.SendWith("t/counter", call.Key, call.Value, functions.AppendTrace(nil, &caller, 0))
		return nil
	}}, counter[0]}
	c.Deploy(c.Job("job", "v1", 1, "t/relay"))
	c.Broker.Produce("in", "ann", []byte("1"))
	for ctx := limited(t); len(c.Broker.Records("out")) == 0; {
		if ctx.Err() != nil {
			t.Fatal("the message never came through")
		}
	}
	if names := spanNames(recorder); len(names) != 0 {
		t.Errorf("a message that is not sampled has spans %v", names)
	}
}
