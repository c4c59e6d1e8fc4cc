package jobmanager

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-run/weir/internal/telemetry"
)

// epochTrace is the trace of the epoch that is open: a root of its own, since it is of many messages. Its zero value traces
// nothing. TaskManagers add their parts under the context that the trigger takes to them.
type epochTrace struct{ root trace.Span }

// begin opens the trace of an epoch, if it is one of those sampled, and returns its traceparent.
func (t *epochTrace) begin(ctx context.Context, tracing *telemetry.Tracing, j *master) (traceparent string) {
	t.end(0, "")
	if tracing == nil || !tracing.Begins() {
		return ""
	}
	t.root = tracing.Start(ctx, nil, "checkpoint", trace.WithAttributes(
		attribute.String("weir.job", j.name), attribute.Int64("weir.attempt", int64(j.attempt.Attempt))))
	opened := telemetry.TraceOf(t.root)
	return string(opened.Traceparent())
}

// manifest adds the write of the manifest, that has ended.
func (t *epochTrace) manifest(ctx context.Context, tracing *telemetry.Tracing, began time.Time) {
	if t.root == nil {
		return
	}
	parent := telemetry.TraceOf(t.root)
	tracing.Start(ctx, &parent, "manifest", trace.WithTimestamp(began)).End()
}

// end closes the trace: the epoch has its number, or a reason why it has none.
func (t *epochTrace) end(number uint64, reason string) {
	if t.root == nil {
		return
	}
	if reason != "" {
		t.root.SetStatus(codes.Error, reason)
	}
	t.root.SetAttributes(attribute.Int64("weir.checkpoint", int64(number)))
	t.root.End()
	t.root = nil
}
