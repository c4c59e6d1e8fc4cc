package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestSpansThatAreNotTakenInTimeAreDroppedAndTold(t *testing.T) {
	var log bytes.Buffer
	exporter := tracetest.NewInMemoryExporter()
	queue := newSpanQueue(exporter, slog.New(slog.NewTextHandler(&log, nil)))
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(queue)).Tracer("test")
	for range maxSpans + 5 {
		_, span := tracer.Start(t.Context(), "span")
		span.End()
	}
	for range 2 { // what is sent is sent once
		if err := queue.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(exporter.GetSpans()); n != maxSpans || !strings.Contains(log.String(), "dropped=5") {
		t.Errorf("%d spans are sent of %d held; %s", n, maxSpans, &log)
	}
}
