package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	scrape "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router/httpio"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/taskmanager"
)

const metricsPage = "../../docs/metrics.md"

const metricsPageHead = `# Metrics

This page is written by ` + "`make metrics`" + ` from the declarations in the code, and a test holds it against them.
[Operations](operations.md#telemetry) says how to read them. Counters of a task begin at 0 with each attempt, as ` + "`rate()`" + ` expects.
Attributes name what is deployed: no key and no value of a user is among them.
`

// TestTheMetricsPageIsTrue writes docs/metrics.md with -rewrite, and else compares it.
func TestTheMetricsPageIsTrue(t *testing.T) {
	var page strings.Builder
	page.WriteString(metricsPageHead)
	for _, part := range []struct {
		title   string
		metrics []telemetry.Metric
	}{
		{"Tasks, functions and ingresses", taskmanager.Metrics()}, {"Jobs and checkpoints", jobmanager.Metrics()},
		{"HTTP", httpio.Metrics()}, {"The process", processMetrics()},
	} {
		fmt.Fprintf(&page, "\n## %s\n\n| OpenTelemetry | Prometheus | kind | unit | attributes | what it is | elsewhere |\n|---|---|---|---|---|---|---|\n", part.title)
		for _, m := range part.metrics {
			fmt.Fprintf(&page, "| `%s` | `%s` | %s | %s | %s | %s | %s |\n", m.Name, scrapedName(t, m), m.Kind, quoted(m.Unit),
				quoted(m.Attributes...), m.Help, m.Known)
		}
	}
	if *rewrite {
		if err := os.WriteFile(metricsPage, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	written, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != page.String() {
		t.Errorf("docs/metrics.md is not what the code declares: run make metrics")
	}
}

func quoted(words ...string) string {
	var all []string
	for _, w := range words {
		if w != "" {
			all = append(all, "`"+w+"`")
		}
	}
	return strings.Join(all, ", ")
}

// scrapedName is what Prometheus sees of a metric, by the exporter that a server has.
func scrapedName(t *testing.T, m telemetry.Metric) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	reader, err := scrape.New(scrape.WithRegisterer(registry), scrape.WithoutScopeInfo(), scrape.WithoutTargetInfo())
	if err != nil {
		t.Fatal(err)
	}
	set := telemetry.NewSet(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("page"), []telemetry.Metric{m})
	switch m.Kind {
	case telemetry.Counter:
		made := set.Sum(m.Name)
		set.Observe(func(o metric.Observer) { o.ObserveFloat64(made, 1) })
	case telemetry.Gauge:
		made := set.Gauge(m.Name)
		set.Observe(func(o metric.Observer) { o.ObserveFloat64(made, 1) })
	case telemetry.Histogram:
		set.Histogram(m.Name).Record(t.Context(), 1)
	}
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%s is gathered as %v, %v", m.Name, families, err)
	}
	return families[0].GetName()
}

func TestMetricsAreDeclaredOnceAndInFull(t *testing.T) {
	all := slices.Concat(taskmanager.Metrics(), jobmanager.Metrics(), httpio.Metrics(), processMetrics())
	seen := map[string]bool{}
	for _, m := range all {
		if seen[m.Name] {
			t.Errorf("%s is declared twice", m.Name)
		}
		seen[m.Name] = true
		if !strings.HasSuffix(m.Help, ".") || m.Help[:1] != strings.ToUpper(m.Help[:1]) {
			t.Errorf("%s: %q is no sentence", m.Name, m.Help)
		}
		if (m.Kind == telemetry.Histogram) != (len(m.Bounds) > 0) || !slices.IsSorted(m.Bounds) {
			t.Errorf("%s, a %s, has bounds %v", m.Name, m.Kind, m.Bounds)
		}
	}
}
