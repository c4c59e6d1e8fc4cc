package functions

import (
	"time"
)

// The documented defaults of a job.
const (
	defaultNamespace   = "default"
	defaultParallelism = 1
	defaultRetain      = 3

	defaultMemory = 64 << 20
	defaultTime   = 50 * time.Millisecond

	// answerLimit is how long an HTTP call waits for its commit (router/httpio).
	answerLimit = 30 * time.Second

	exponentialDelay = "exponential-delay"
	fixedDelay       = "fixed-delay"
	failureRate      = "failure-rate"
	noRestart        = "none"
)

var restartStrategies = []string{exponentialDelay, fixedDelay, failureRate, noRestart}

var defaultRestart = Restart{
	Strategy: exponentialDelay, Delay: 100 * time.Millisecond, MaxDelay: time.Minute, Multiplier: 1.5, Jitter: 0.1,
	ResetAfter: time.Hour, Failures: 1, Interval: time.Minute,
}

var defaultRetry = Retry{Attempts: 3, Backoff: 100 * time.Millisecond, MaxBackoff: 10 * time.Second}

// parseJobSpec reads the spec of weir.v1/job; without one, all of it is defaults.
func (p *parsing) parseJobSpec(o *object) {
	j := p.job
	j.Name = o.field("name").text("")
	j.Namespace = o.field("namespace").text(defaultNamespace)
	j.Parallelism = o.field("parallelism").integer(defaultParallelism)
	j.KeyGroups = o.field("keyGroups").integer(DefaultKeyGroups)
	j.Delivery = Delivery(o.field("delivery").text(string(ExactlyOnce)))
	j.Checkpoints = p.checkpoints(o.field("checkpoints").object())
	j.Restart = p.restart(o.field("restart").object())
	o.done()
}

func (p *parsing) checkpoints(o *object) Checkpoints {
	c := Checkpoints{Retain: o.field("retain").integer(defaultRetain)}
	interval := o.field("interval")
	c.Interval = convert(interval, 0, func(text string) (time.Duration, error) {
		if text == "auto" {
			return 0, nil
		}
		return parseDuration(text)
	})
	if c.Interval > answerLimit {
		p.warn(interval, "HTTP calls wait for a checkpoint, and for %v at most: with an interval of %v they can end in 504", answerLimit, c.Interval)
	}
	o.done()
	return c
}

func (p *parsing) restart(o *object) Restart {
	d := defaultRestart
	r := Restart{
		Strategy:   o.field("strategy").text(d.Strategy),
		Delay:      o.field("delay").duration(d.Delay),
		MaxDelay:   o.field("maxDelay").duration(d.MaxDelay),
		Multiplier: o.field("multiplier").float(d.Multiplier),
		Jitter:     o.field("jitter").float(d.Jitter),
		ResetAfter: o.field("resetAfter").duration(d.ResetAfter),
		Attempts:   o.field("attempts").integer(d.Attempts),
		Failures:   o.field("failures").integer(d.Failures),
		Interval:   o.field("interval").duration(d.Interval),
	}
	o.done()
	return r
}

// module reads the spec of weir.v1/module.
func (p *parsing) module(o *object) {
	m := Module{
		File:       o.required("file", "name the .wasm file, relative to module.yaml"),
		Build:      o.field("build").text(""),
		DeadLetter: o.field("deadLetter").text(""),
	}
	limits := o.field("limits").object()
	m.Memory = limits.field("memory").size(defaultMemory)
	m.Time = limits.field("time").duration(defaultTime)
	limits.done()
	m.Retry = p.retry(o.field("retry").object(), defaultRetry)
	overrides := o.field("overrides").object()
	for _, name := range overrides.order {
		if m.Overrides == nil {
			m.Overrides = make(map[string]Retry)
		}
		m.Overrides[name] = p.retry(overrides.entry(name).object(), m.Retry)
	}
	o.done()
	p.job.Modules = append(p.job.Modules, m)
}

func (p *parsing) retry(o *object, d Retry) Retry {
	r := Retry{
		Attempts:   o.field("attempts").integer(d.Attempts),
		Backoff:    o.field("backoff").duration(d.Backoff),
		MaxBackoff: o.field("maxBackoff").duration(d.MaxBackoff),
	}
	o.done()
	return r
}
