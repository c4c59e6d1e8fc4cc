package taskmanager

import (
	"context"
	"encoding/binary"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router"
)

const (
	// maxLinks is how many invocations the publication of their output names: the SDK keeps no more.
	maxLinks = 128
	// maxCauseAttribute bounds the cause of a failure in a span; the whole of it is in the dead letter.
	maxCauseAttribute = 256
)

// Keys of attributes, as OpenTelemetry's conventions for messaging name them; what has no convention begins with weir. No key
// and no value of a user is among them.
const (
	systemKey    = attribute.Key("messaging.system")
	operationKey = attribute.Key("messaging.operation.type")
	topicKey     = attribute.Key("messaging.destination.name")
	partitionKey = attribute.Key("messaging.destination.partition.id")
	offsetKey    = attribute.Key("messaging.kafka.offset")
	batchKey     = attribute.Key("messaging.batch.message_count")
	jobKey       = attribute.Key("weir.job")
	taskKey      = attribute.Key("weir.task")
	functionKey  = attribute.Key("weir.function")
	attemptKey   = attribute.Key("weir.message.attempt")
	waitKey      = attribute.Key("weir.message.wait") // seconds, until its batch was called
	epochKey     = attribute.Key("weir.checkpoint")
	laneKey      = attribute.Key("weir.lane")
)

// spans makes the spans of one task: one per invocation of a sampled message, from when the message began to wait until its
// effects applied. A message is sampled when its extensions begin with a trace context, which what it sends inherits. All
// fields belong to the task's goroutine. A nil spans traces nothing, and is tested for once per batch and record.
type spans struct {
	tracing *telemetry.Tracing
	start   func(parent *functions.Trace, name string, options ...trace.SpanStartOption) trace.Span
	gap     int // records until the next that begins a trace
	open    []invocationSpan
	links   []functions.Trace // invocations of this epoch that wrote exactly-once output
	sending []functions.Trace // the same of at-least-once output not handed over yet
}

// invocationSpan is the span of one message of the batch under way.
type invocationSpan struct {
	message *byte // the first of its extensions, which no other message for this function has
	target  uint16
	span    trace.Span
	trace   functions.Trace
}

func newSpans(tracing *telemetry.Tracing) *spans {
	if tracing == nil {
		return nil
	}
	return &spans{tracing: tracing, gap: tracing.Gap()}
}

// attach says in which context the task runs, from its first turn on.
func (s *spans) attach(ctx context.Context) {
	if s != nil {
		s.start = func(parent *functions.Trace, name string, options ...trace.SpanStartOption) trace.Span {
			return s.tracing.Start(ctx, parent, name, options...)
		}
	}
}

// arrive begins the extensions of a record's message, with a trace context when the record is sampled: by who wrote it, or,
// when it brings no context, as one of many.
func (s *spans) arrive(ext []byte, record *router.Record) []byte {
	s.gap--
	if len(record.Headers) == 0 && s.gap >= 0 {
		return ext
	}
	var parent functions.Trace
	var state string
	var sampled, known bool
	for _, h := range record.Headers {
		switch h.Key {
		case functions.HeaderTraceparent:
			parent, sampled, known = functions.ParseTraceparent(h.Value)
		case functions.HeaderTracestate:
			state = string(h.Value)
		}
	}
	parent = parent.WithState(state)
	if !known && s.gap < 0 {
		s.gap = s.tracing.Gap()
		sampled = true // below nobody: its first invocation is the root
	}
	if !sampled {
		return ext
	}
	return functions.AppendTrace(ext, &parent, time.Now().UnixMicro())
}

// begin opens the spans of a batch that is about to be called.
func (s *spans) begin(t *task, b *batch) {
	for i := range b.n {
		m := &b.messages[i]
		if !functions.Traced(m.Ext) {
			continue
		}
		parent, since, _, ok := functions.TraceOf(m.Ext)
		if !ok {
			continue
		}
		span := s.invocation(t, m, b.n, parent, time.UnixMicro(since))
		s.open = append(s.open, invocationSpan{message: &m.Ext[0], target: m.Target, span: span, trace: telemetry.TraceOf(span)})
	}
}

// invocation begins the span of a message in a batch of so many.
func (s *spans) invocation(t *task, m *functions.Message, batch int, parent functions.Trace, since time.Time) trace.Span {
	function := t.program.functions[m.Target].name.String()
	attributes := make([]attribute.KeyValue, 0, 11)
	attributes = append(attributes, jobKey.String(t.worker.job), taskKey.Int(t.id), functionKey.String(function),
		attemptKey.Int(int(m.Attempts)+1), waitKey.Float64(time.Since(since).Seconds()), batchKey.Int(batch))
	name, kind := "invoke "+function, trace.SpanKindInternal
	if v := functions.Ext(m.Ext, functions.TagCoordinates); m.Kind == functions.KindIngress && len(v) >= 12 {
		le, topic := binary.LittleEndian, string(v[12:])
		name, kind = "process "+topic, trace.SpanKindConsumer
		attributes = append(attributes, systemKey.String("kafka"), operationKey.String("process"), topicKey.String(topic),
			partitionKey.Int(int(int32(le.Uint32(v)))), offsetKey.Int64(int64(le.Uint64(v[4:]))))
	}
	above := &parent
	if parent.ID == [16]byte{} {
		above = nil
	}
	return s.start(above, name, trace.WithTimestamp(since), trace.WithSpanKind(kind), trace.WithAttributes(attributes...))
}

// end closes the spans of the batch, whose effects have applied.
func (s *spans) end() {
	for i := range s.open {
		s.open[i].span.End()
		s.open[i] = invocationSpan{}
	}
	s.open = s.open[:0]
}

// of is the span of a message of the batch, or nil.
func (s *spans) of(m *functions.Message) *invocationSpan {
	if s == nil || len(s.open) == 0 || len(m.Ext) == 0 {
		return nil
	}
	for i := range s.open {
		if s.open[i].message == &m.Ext[0] && s.open[i].target == m.Target {
			return &s.open[i]
		}
	}
	return nil
}

// failed marks the span of a message whose invocation failed, or is to be made again alone.
func (s *spans) failed(m *functions.Message, cause string) {
	if open := s.of(m); open != nil {
		cause = firstLine(cause)
		open.span.SetStatus(codes.Error, cause[:min(len(cause), maxCauseAttribute)])
	}
}

// sent gives what an invocation sends its trace context. A guest cannot make one up.
func (s *spans) sent(m *functions.Message, ext []byte) []byte {
	open := s.of(m)
	if open == nil && !functions.Traced(ext) {
		return ext
	}
	_, _, ext, _ = functions.TraceOf(ext)
	if open == nil {
		return ext
	}
	return append(functions.AppendTrace(nil, &open.trace, time.Now().UnixMicro()), ext...)
}

// emitted gives a record that an invocation writes its trace context, as headers, if the record is still taken with them.
func (s *spans) emitted(m *functions.Message, delivery functions.Delivery, record *router.EgressRecord, egress router.Egress) {
	open := s.of(m)
	if open == nil {
		return
	}
	traced := *record
	traced.Ext = functions.TraceHeaders(record.Ext, &open.trace)
	if egress.Check(&traced) == nil {
		record.Ext = traced.Ext
	}
	links := &s.links
	if delivery == functions.AtLeastOnce {
		links = &s.sending
	}
	if n := len(*links); n < maxLinks && (n == 0 || (*links)[n-1] != open.trace) {
		*links = append(*links, open.trace)
	}
}

// take returns the links of the epoch, and begins those of the next.
func (s *spans) take() []functions.Trace {
	if s == nil {
		return nil
	}
	links := s.links
	s.links = nil
	return links
}

// publish begins the span of at-least-once output that is handed to a broker; what it returns ends it, from any goroutine.
func (s *spans) publish(t *task) (end func()) {
	if s == nil || len(s.sending) == 0 {
		return func() {}
	}
	span := s.start(&s.sending[0], "publish", publishOptions(s.sending, jobKey.String(t.worker.job), taskKey.Int(t.id))...)
	s.sending = nil
	return func() { span.End() }
}

// publishOptions link the span of a publication to those whose output it publishes.
func publishOptions(links []functions.Trace, attributes ...attribute.KeyValue) []trace.SpanStartOption {
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(append(attributes, systemKey.String("kafka"), operationKey.String("send"))...),
	}
	for i := range links {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: telemetry.ContextOf(&links[i])}))
	}
	return options
}

// epochSpan begins a span of a worker's part in an epoch that is traced; what it returns ends it.
func (w *worker) epochSpan(ctx context.Context, e *epoch, name string) (end func()) {
	if e.trace == nil {
		return func() {}
	}
	span := w.config.Tracing.Start(ctx, e.trace, name, trace.WithAttributes(jobKey.String(w.job)))
	return func() { span.End() }
}

// traceSeals makes the spans of the pauses that an epoch took its tasks.
func (w *worker) traceSeals(ctx context.Context, e *epoch) {
	if e.trace == nil {
		return
	}
	for _, s := range e.snapshots {
		span := w.config.Tracing.Start(ctx, e.trace, "seal", trace.WithTimestamp(s.began), trace.WithAttributes(jobKey.String(w.job), taskKey.Int(s.task)))
		span.End(trace.WithTimestamp(s.began.Add(s.sealing)))
	}
}

// traceOf is the context that a trigger brings, or nil: with telemetry that is off nothing is traced.
func (w *worker) traceOf(header string) *functions.Trace {
	parent, sampled, ok := functions.ParseTraceparent([]byte(header))
	if !ok || !sampled || w.config.Tracing == nil {
		return nil
	}
	return &parent
}
