// Package telemetry is how a package declares its metrics: one list of what they are called and mean, from which the
// instruments are made and docs/metrics.md is written, so that the two cannot differ.
//
// It hides the instruments of OpenTelemetry behind the declarations; the invariant is that nothing is measured that is not
// declared. A package's declarations and instruments stand in its metrics.go; a list belongs to who calls for it and is
// never shared. It is no exporter and holds no values: cmd/weir has the SDK, and each package its own numbers.
package telemetry

import (
	"context"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Kind is what a metric's values are.
type Kind string

const (
	Counter   Kind = "counter"   // only grows, and begins at 0 with each attempt or process
	Gauge     Kind = "gauge"     // goes up and down
	Histogram Kind = "histogram" // how often values fell between bounds
)

// Metric declares one metric.
type Metric struct {
	Name       string // as OpenTelemetry knows it; Prometheus gets '_' for '.', and a suffix for unit and counter
	Kind       Kind
	Unit       string    // UCUM; empty when the name says it
	Help       string    // one sentence
	Attributes []string  // every one that its values carry
	Bounds     []float64 // of a histogram, in its unit
	Known      string    // the same metric elsewhere: Flink's name, or that it is one of OpenTelemetry's conventions
}

// Keys of attributes. Where Flink has a scope variable it has its name, as a label "job" would clash with the one that
// Prometheus gives to what it scrapes.
const (
	Job      = attribute.Key("job_name")
	Task     = attribute.Key("task")
	Function = attribute.Key("function")
	Module   = attribute.Key("module")
	Tenant   = attribute.Key("tenant")
	Ingress  = attribute.Key("ingress")
	Lane     = attribute.Key("lane")
	Phase    = attribute.Key("phase")
	State    = attribute.Key("state")
)

// Set makes the instruments of declarations. It belongs to one goroutine until Observe has been called. A metric that is
// not declared, or declared in a way that OpenTelemetry refuses, is a mistake in the program, and panics.
type Set struct {
	meter       metric.Meter
	declared    []Metric
	observables []metric.Observable
}

// NewSet begins the instruments of one package.
func NewSet(meter metric.Meter, declared []Metric) *Set {
	return &Set{meter: meter, declared: declared}
}

// Count makes a counter that is read when metrics are collected.
func (s *Set) Count(name string) metric.Int64Observable {
	m := s.find(name, Counter)
	made, err := s.meter.Int64ObservableCounter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	s.check(name, err)
	s.observables = append(s.observables, made)
	return made
}

// Sum makes a counter of fractions that is read when metrics are collected.
func (s *Set) Sum(name string) metric.Float64Observable {
	m := s.find(name, Counter)
	made, err := s.meter.Float64ObservableCounter(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	s.check(name, err)
	s.observables = append(s.observables, made)
	return made
}

// Gauge makes a gauge that is read when metrics are collected.
func (s *Set) Gauge(name string) metric.Float64Observable {
	m := s.find(name, Gauge)
	made, err := s.meter.Float64ObservableGauge(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help))
	s.check(name, err)
	s.observables = append(s.observables, made)
	return made
}

// Histogram makes a histogram that is written to as things happen.
func (s *Set) Histogram(name string) metric.Float64Histogram {
	m := s.find(name, Histogram)
	made, err := s.meter.Float64Histogram(m.Name, metric.WithUnit(m.Unit), metric.WithDescription(m.Help),
		metric.WithExplicitBucketBoundaries(m.Bounds...))
	s.check(name, err)
	return made
}

// Observe has f called at every collection, from goroutines of the SDK, one at a time, to tell the values of counters and gauges.
func (s *Set) Observe(f func(metric.Observer)) {
	_, err := s.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error { f(o); return nil }, s.observables...)
	s.check("callback", err)
}

func (s *Set) find(name string, kind Kind) Metric {
	i := slices.IndexFunc(s.declared, func(m Metric) bool { return m.Name == name && m.Kind == kind })
	if i < 0 {
		panic(fmt.Sprintf("telemetry: %s %s is not declared", kind, name))
	}
	return s.declared[i]
}

func (s *Set) check(name string, err error) {
	if err != nil {
		panic(fmt.Sprintf("telemetry: %s: %v", name, err))
	}
}
