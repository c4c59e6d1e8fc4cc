package telemetry

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"

	"github.com/weir-run/weir/functions"
)

// Tracing is what a package makes spans with. A nil Tracing traces nothing. What is sampled is decided here and not by the
// SDK, so that a record which is not costs no call of it: Tracer must sample whatever it is asked for.
type Tracing struct {
	Tracer trace.Tracer
	Ratio  float64 // of records, requests and epochs that come without a trace context and begin a trace; 0 to 1
}

// Begins says whether something without a trace context begins a trace.
func (t *Tracing) Begins() bool { return t.Ratio > 0 && rand.Float64() < t.Ratio }

// Gap is how many records pass before the next that begins a trace: drawn, so that a periodic input is not sampled by its
// period, and with one draw per sample instead of one per record.
func (t *Tracing) Gap() int {
	switch {
	case t.Ratio <= 0:
		return math.MaxInt
	case t.Ratio >= 1:
		return 0
	}
	return int(min(math.Log(1-rand.Float64())/math.Log(1-t.Ratio), math.MaxInt32))
}

// Start begins a span: a child of parent, or of ctx when parent is nil.
func (t *Tracing) Start(ctx context.Context, parent *functions.Trace, name string, options ...trace.SpanStartOption) trace.Span {
	if parent != nil {
		ctx = trace.ContextWithRemoteSpanContext(ctx, ContextOf(parent))
	}
	_, span := t.Tracer.Start(ctx, name, options...)
	return span
}

// ContextOf is the SDK's form of a context that a message carries.
func ContextOf(t *functions.Trace) trace.SpanContext {
	state, err := trace.ParseTraceState(t.State)
	if err != nil {
		state = trace.TraceState{} // the standard drops one that is malformed, and keeps the traceparent
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: t.ID, SpanID: t.Span, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: true,
	})
}

// TraceOf is the context of a span as messages carry it.
func TraceOf(span trace.Span) functions.Trace {
	c := span.SpanContext()
	return functions.Trace{ID: c.TraceID(), Span: c.SpanID()}.WithState(c.TraceState().String())
}

// CheckRatio says what is wrong with a sampling ratio.
func CheckRatio(ratio float64) error {
	if ratio < 0 || ratio > 1 || math.IsNaN(ratio) {
		return fmt.Errorf("sampling ratio %v; want 0 to 1", ratio)
	}
	return nil
}
