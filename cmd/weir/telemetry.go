package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	scrape "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/weir-run/weir/internal/telemetry"
)

// scopeName is what OpenTelemetry calls the library that measures.
const scopeName = "github.com/weir-run/weir"

// flushLimit bounds how long a process that ends waits for a collector to take what is left: less than orchestrators wait
// beyond the drain of jobs.
const flushLimit = 3 * time.Second

// telemetryOut is the way of metrics and traces out of the process: the one place that knows the SDK and its exporters. The
// zero value is telemetry that is off.
type telemetryOut struct {
	meter   metric.Meter       // nil: nobody reads metrics
	tracing *telemetry.Tracing // nil: nobody takes traces
	scraped http.Handler       // of /metrics; nil: 404
	spans   *spanQueue         // nil: no traces
	log     *slog.Logger
	flushes []func(context.Context) error
	closers []func(context.Context) error
}

// openTelemetry makes what the configuration asks for. Exporters begin at once, and end with close. Beside the endpoint they
// follow OpenTelemetry's own environment variables: headers, certificates, compression, intervals, resource attributes.
func openTelemetry(ctx context.Context, c *Config, log *slog.Logger) (_ *telemetryOut, err error) {
	out := &telemetryOut{log: log}
	if !c.Metrics && c.OTLP == "" {
		return out, nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("telemetry: %w", err)
			out.close()
		}
	}()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry is not delivered", "err", err) }))
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(),
		resource.WithAttributes(attribute.String("service.name", "weir"), attribute.String("service.version", releaseVersion())), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	if err := out.openMetrics(ctx, c, about); err != nil {
		return nil, err
	}
	return out, out.openTraces(ctx, c, about)
}

func (out *telemetryOut) openMetrics(ctx context.Context, c *Config, about *resource.Resource) error {
	options := []sdkmetric.Option{
		sdkmetric.WithResource(about),
		sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter),
		sdkmetric.WithCardinalityLimit(0), // attributes name what is deployed, and never what users send
	}
	if c.Metrics {
		registry := prometheus.NewRegistry()
		reader, err := scrape.New(scrape.WithRegisterer(registry), scrape.WithoutScopeInfo())
		if err != nil {
			return err
		}
		options = append(options, sdkmetric.WithReader(reader))
		out.scraped = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	}
	if c.OTLP != "" {
		exporter, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(endpoint(c.OTLP, "v1/metrics")))
		if err != nil {
			return err
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	out.flushes, out.closers = append(out.flushes, provider.ForceFlush), append(out.closers, provider.Shutdown)
	out.meter = provider.Meter(scopeName, metric.WithInstrumentationVersion(releaseVersion()))
	observeProcess(out.meter)
	return nil
}

// openTraces sends spans to the collector. Who makes them has decided what is sampled: see telemetry.Tracing.
func (out *telemetryOut) openTraces(ctx context.Context, c *Config, about *resource.Resource) error {
	if c.OTLP == "" {
		return nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint(c.OTLP, "v1/traces")))
	if err != nil {
		return err
	}
	out.spans = newSpanQueue(exporter, out.log)
	provider := sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(out.spans))
	out.closers = append(out.closers, provider.Shutdown)
	out.tracing = &telemetry.Tracing{Tracer: provider.Tracer(scopeName), Ratio: c.TraceRatio}
	return nil
}

// endpoint is where a signal goes, below the URL of a collector.
func endpoint(base, path string) string {
	u, err := url.Parse(base)
	if err != nil {
		panic(fmt.Sprintf("weir: unchecked endpoint %q", base)) // checkTelemetry has accepted it
	}
	return u.JoinPath(path).String()
}

// run sends spans until ctx is done.
func (out *telemetryOut) run(ctx context.Context) {
	if out.spans != nil {
		out.spans.run(ctx)
	}
}

// flush sends what has been measured, while tasks still run: what they count goes with them.
func (out *telemetryOut) flush() { out.finish(out.flushes) }

// close sends what is left, and ends the exporters. It is called once.
func (out *telemetryOut) close() { out.finish(out.closers) }

// finish warns of what a collector does not take: a process does not fail for that.
func (out *telemetryOut) finish(steps []func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	for _, step := range steps {
		if err := step(ctx); err != nil {
			out.log.Warn("telemetry is not delivered", "err", err)
		}
	}
}

// checkTelemetry validates the settings of telemetry.
func (c *Config) checkTelemetry() error {
	if u, err := url.Parse(c.OTLP); c.OTLP != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return failed(fmt.Sprintf("configuration: otlp is %q; want the URL of a collector", c.OTLP), "OTLP over HTTP, such as http://127.0.0.1:4318")
	}
	if err := telemetry.CheckRatio(c.TraceRatio); err != nil {
		return failed("configuration: trace-ratio: " + err.Error())
	}
	if c.TraceRatio > 0 && c.OTLP == "" {
		return failed("configuration: trace-ratio is set, and traces go nowhere", "name a collector with --otlp")
	}
	return nil
}
