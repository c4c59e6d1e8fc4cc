package httpio

import (
	"context"
	"net/http"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/telemetry"
)

// Keys of attributes, as OpenTelemetry's conventions for HTTP name them.
const (
	methodKey = attribute.Key("http.request.method")
	routeKey  = attribute.Key("http.route")
	statusKey = attribute.Key("http.response.status_code")
	errorKey  = attribute.Key("error.type")
)

// route is the path of every call. What stands for its parts is the user's, and neither in metrics nor in traces.
const route = "/in/{namespace}/{name}/{key}"

// Metrics are those of the HTTP ingress.
func Metrics() []telemetry.Metric {
	return []telemetry.Metric{
		{Name: "http.server.request.duration", Kind: telemetry.Histogram, Unit: "s", Help: "Time of a call, to the commit of its effects.",
			Attributes: []string{string(methodKey), string(routeKey), string(statusKey), string(errorKey)},
			Bounds:     []float64{.001, .002, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}, Known: "OpenTelemetry's conventions for HTTP"},
	}
}

// observer measures and traces calls. Its fields may each be absent.
type observer struct {
	duration metric.Float64Histogram
	usual    map[int][]metric.RecordOption // of POST, by the status of what went well: made once, as most calls have them
	tracing  *telemetry.Tracing
}

// newObserver returns nil when nothing is to be observed.
func newObserver(cfg *Config) *observer {
	if cfg.Meter == nil && cfg.Tracing == nil {
		return nil
	}
	o := &observer{tracing: cfg.Tracing, usual: map[int][]metric.RecordOption{}}
	if cfg.Meter != nil {
		o.duration = telemetry.NewSet(cfg.Meter, Metrics()).Histogram("http.server.request.duration")
	}
	for _, status := range []int{http.StatusOK, http.StatusAccepted, http.StatusNoContent} {
		o.usual[status] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributesOf(http.MethodPost, &response{status: status})...))}
	}
	return o
}

// observed is a call under way.
type observed struct {
	started time.Time
	span    trace.Span // nil: it is not traced
}

// begin starts to observe a request. A traced call takes its context along.
func (o *observer) begin(ctx context.Context, r *request) (call observed, ext []byte) {
	call.started = time.Now()
	if call.span = o.span(ctx, r); call.span != nil {
		t := telemetry.TraceOf(call.span)
		ext = functions.AppendTrace(nil, &t, call.started.UnixMicro())
	}
	return call, ext
}

// end notes how a call ended.
func (o *observer) end(ctx context.Context, call observed, r *request, done *response) {
	if o.duration != nil {
		options := o.usual[done.status]
		if options == nil || r.method != http.MethodPost {
			options = []metric.RecordOption{metric.WithAttributes(attributesOf(r.method, done)...)}
		}
		o.duration.Record(ctx, time.Since(call.started).Seconds(), options...)
	}
	if call.span == nil {
		return
	}
	if done.problem != nil && done.status >= http.StatusInternalServerError {
		call.span.SetStatus(codes.Error, done.problem.Type)
	}
	call.span.SetAttributes(attributesOf(r.method, done)...)
	call.span.SetAttributes(attribute.Int64("weir.checkpoint", int64(done.answer.Epoch)))
	call.span.End()
}

func attributesOf(method string, done *response) []attribute.KeyValue {
	attributes := []attribute.KeyValue{methodKey.String(knownMethod(method)), routeKey.String(route), statusKey.Int(done.status)}
	if done.problem != nil && done.status >= http.StatusInternalServerError {
		attributes = append(attributes, errorKey.String(done.problem.Type))
	}
	return attributes
}

// span begins the span of a request that is sampled: by its caller, or, when it comes without a context, by the ratio.
func (o *observer) span(ctx context.Context, r *request) trace.Span {
	if o.tracing == nil {
		return nil
	}
	parent, sampled, ok := functions.ParseTraceparent([]byte(r.traceparent))
	kind := trace.WithSpanKind(trace.SpanKindServer)
	switch {
	case ok && sampled:
		parent = parent.WithState(r.tracestate)
		return o.tracing.Start(ctx, &parent, knownMethod(r.method)+" "+route, kind)
	case !ok && o.tracing.Begins():
		return o.tracing.Start(ctx, nil, knownMethod(r.method)+" "+route, kind)
	}
	return nil
}

// knownMethod keeps what clients make up out of attributes.
func knownMethod(method string) string {
	if slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}, method) {
		return method
	}
	return "_OTHER"
}
