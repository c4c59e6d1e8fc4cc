package taskmanager

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/telemetry"
)

// observedTask is a task of BenchmarkLoop with telemetry.
type observedTask struct {
	name    string
	meter   metric.Meter
	tracing *telemetry.Tracing
	task    *task
	spent   []time.Duration // CPU time of the process, by round
}

func observedTasks(b *testing.B) []*observedTask {
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())).Meter("bench")
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(nowhere{}))
	b.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(b.Context())) }) // nothing is exported
	traced := func(ratio float64) *telemetry.Tracing {
		return &telemetry.Tracing{Tracer: provider.Tracer("bench"), Ratio: ratio}
	}
	all := []*observedTask{
		{name: "off"}, {name: "metrics", meter: meter}, {name: "traces:none", tracing: traced(0)},
		{name: "traces:1/10000", tracing: traced(.0001)}, {name: "traces:1/1000", tracing: traced(.001)}, {name: "traces:1/100", tracing: traced(.01)},
		{name: "control"}, // off again: what of a ratio is noise
	}
	for _, o := range all {
		t := benchTask(b, functions.ExactlyOnce)
		if o.meter != nil {
			t.worker.manager.instruments = newInstruments(t.worker.manager, o.meter)
			t.meter = newMeter(t.worker.manager.instruments)
		}
		t.spans = newSpans(o.tracing)
		t.meter.begin(b.Context(), t)
		t.spans.attach(b.Context())
		o.task = t
	}
	return all
}

// turns are those of one round, which ends with an epoch.
const turns = 64

func (o *observedTask) round(b *testing.B) {
	before := cpuTime(b)
	for range turns {
		if err := o.task.turn(); err != nil {
			b.Fatal(err)
		}
	}
	o.task.outboxes.take()
	o.task.spans.take()
	o.task.state.Seal().Release()
	o.spent = append(o.spent, cpuTime(b)-before)
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkTelemetry is what telemetry adds to a task's own cost per record: the CPU time of rounds that are taken in turns,
// over that of rounds without telemetry. One op is a round of each. The slower half of the rounds is left out, in which
// something else had the caches.
func BenchmarkTelemetry(b *testing.B) {
	all := observedTasks(b)
	for b.Loop() {
		for _, o := range all {
			o.round(b)
		}
	}
	mean := func(o *observedTask) float64 {
		sorted := slices.Sorted(slices.Values(o.spent))
		sorted = sorted[:(len(sorted)+1)/2]
		var sum time.Duration
		for _, d := range sorted {
			sum += d
		}
		return float64(sum) / float64(len(sorted)*turns*pollRecords)
	}
	off := mean(all[0])
	b.ReportMetric(off, "off-ns/record")
	for _, o := range all[1:] {
		b.ReportMetric(mean(o)/off, o.name)
	}
}

// TestTelemetryAllocatesNothingPerRecord holds a turn with telemetry against one without: 512 records each.
func TestTelemetryAllocatesNothingPerRecord(t *testing.T) {
	result := testing.Benchmark(func(b *testing.B) {
		all := observedTasks(b)
		for _, o := range all {
			o.round(b) // keys and buffers are there
		}
		for b.Loop() {
			for _, o := range all[:3] {
				o.round(b)
			}
		}
	})
	if perRecord := float64(result.AllocsPerOp()) / (3 * turns * pollRecords); perRecord > .05 {
		t.Errorf("%.3f allocations per record", perRecord)
	}
}

// nowhere takes spans and drops them: what is measured is the making of them, in the task's goroutine.
type nowhere struct{}

func (nowhere) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (nowhere) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (nowhere) ForceFlush(context.Context) error                { return nil }
func (nowhere) Shutdown(context.Context) error                  { return nil }
