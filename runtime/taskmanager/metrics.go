package taskmanager

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/weir-run/weir/internal/telemetry"
)

// Metrics are those of the TaskManager role.
func Metrics() []telemetry.Metric {
	task := []string{string(telemetry.Job), string(telemetry.Task)}
	function := append(task[:2:2], string(telemetry.Function))
	ingress := append(task[:2:2], string(telemetry.Ingress))
	return []telemetry.Metric{
		{Name: "weir.task.numRecordsIn", Kind: telemetry.Counter, Attributes: task, Help: "Records taken from ingresses.", Known: "Flink's numRecordsIn"},
		{Name: "weir.task.numRecordsOut", Kind: telemetry.Counter, Attributes: task, Help: "Records given to egresses, dead letters included.", Known: "Flink's numRecordsOut"},
		{Name: "weir.task.numRecordsSkipped", Kind: telemetry.Counter, Attributes: task, Help: "Records that could not become messages and that their ingress says to skip."},
		{Name: "weir.task.numDeadLetters", Kind: telemetry.Counter, Attributes: task, Help: "Messages and records given up, to a dead-letter topic where the job has one."},
		{Name: "weir.task.numStaleFrames", Kind: telemetry.Counter, Attributes: task, Help: "Frames of another attempt, or for another task, that were dropped."},
		{Name: "weir.task.numBatches", Kind: telemetry.Counter, Attributes: task, Help: "Calls of guests; each carries up to 64 messages."},
		{Name: "weir.task.batchSize", Kind: telemetry.Histogram, Unit: "{message}", Attributes: task, Help: "Messages per call of a guest.",
			Bounds: []float64{1, 2, 4, 8, 16, 32, 48, 63}},
		{Name: "weir.task.busyTimeMsPerSecond", Kind: telemetry.Gauge, Attributes: task, Help: "Milliseconds per second that the task worked, over the last second or since the last collection.", Known: "Flink's busyTimeMsPerSecond"},
		{Name: "weir.task.backPressuredTimeMsPerSecond", Kind: telemetry.Gauge, Attributes: task, Help: "Milliseconds per second that the task waited because what it made had not been taken: by peers, by a broker, or at the commit point.", Known: "Flink's backPressuredTimeMsPerSecond"},
		{Name: "weir.task.idleTimeMsPerSecond", Kind: telemetry.Gauge, Attributes: task, Help: "Milliseconds per second that the task had nothing to do.", Known: "Flink's idleTimeMsPerSecond"},
		{Name: "weir.task.accumulateBusyTimeMs", Kind: telemetry.Counter, Attributes: task, Help: "Milliseconds that the task worked.", Known: "Flink's accumulateBusyTimeMs"},
		{Name: "weir.task.accumulateBackPressuredTimeMs", Kind: telemetry.Counter, Attributes: task, Help: "Milliseconds that the task was held back.", Known: "Flink's accumulateBackPressuredTimeMs"},
		{Name: "weir.task.accumulateIdleTimeMs", Kind: telemetry.Counter, Attributes: task, Help: "Milliseconds that the task had nothing to do.", Known: "Flink's accumulateIdleTimeMs"},
		{Name: "weir.task.held", Kind: telemetry.Gauge, Unit: "By", Attributes: task, Help: "Bytes of messages and output that wait in the task."},
		{Name: "weir.task.state.size", Kind: telemetry.Gauge, Unit: "By", Attributes: task, Help: "Memory that the task's keyed state takes, as of its last checkpoint."},
		{Name: "weir.ingress.pendingRecords", Kind: telemetry.Gauge, Attributes: ingress, Help: "Records of the task's partitions that it has not taken, as of its last fetches.", Known: "Flink's pendingRecords"},
		{Name: "weir.ingress.lag", Kind: telemetry.Gauge, Unit: "s", Attributes: ingress, Help: "Age of the last record taken from the partition that is furthest behind; 0 when no record is pending.", Known: "Flink's currentEmitEventTimeLag, in seconds"},
		{Name: "weir.function.in", Kind: telemetry.Counter, Attributes: function, Help: "Messages given to a function, each attempt of a message counted.", Known: "StateFun's in"},
		{Name: "weir.function.failures", Kind: telemetry.Counter, Attributes: function, Help: "Invocations that failed, to be tried again or given up.", Known: "StateFun's remoteInvocationFailures"},
		{Name: "weir.function.state.keys", Kind: telemetry.Gauge, Attributes: function, Help: "Values that a function keeps, one per key and state, as of the last checkpoint."},
		{Name: "weir.function.state.size", Kind: telemetry.Gauge, Unit: "By", Attributes: function, Help: "Bytes of the keys and values that a function keeps, as of the last checkpoint."},
		{Name: "weir.module.fuel", Kind: telemetry.Counter, Unit: "{unit}", Help: "Fuel that guests spent.",
			Attributes: append(task[:2:2], string(telemetry.Tenant), string(telemetry.Module))},
		{Name: "weir.job.latency", Kind: telemetry.Histogram, Unit: "s", Attributes: task[:1], Help: "Time from a record's timestamp or a request's arrival to the commit of its effects, of up to 16 messages per task and epoch.",
			Bounds: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 60}, Known: "Flink's latency"},
		{Name: "weir.lane.pending", Kind: telemetry.Gauge, Unit: "By", Help: "Bytes of a committed outbox that its lane is publishing.",
			Attributes: []string{string(telemetry.Job), string(telemetry.Lane)}},
		{Name: "weir.taskmanager.numStaleMessages", Kind: telemetry.Counter, Help: "Control messages of another attempt that were dropped."},
	}
}

// instruments tell the numbers of all running tasks whenever metrics are collected. They read what tasks publish, and
// never wait for one.
type instruments struct {
	batchSize, latency metric.Float64Histogram
	counts             map[string]metric.Int64Observable
	gauges             map[string]metric.Float64Observable

	mu      sync.Mutex // guards what follows; a leaf
	workers map[*worker]struct{}
}

func newInstruments(m *Manager, meter metric.Meter) *instruments {
	declared := Metrics()
	set := telemetry.NewSet(meter, declared)
	i := &instruments{
		batchSize: set.Histogram("weir.task.batchSize"), latency: set.Histogram("weir.job.latency"),
		counts: map[string]metric.Int64Observable{}, gauges: map[string]metric.Float64Observable{}, workers: map[*worker]struct{}{},
	}
	for _, d := range declared {
		switch d.Kind {
		case telemetry.Counter:
			i.counts[d.Name] = set.Count(d.Name)
		case telemetry.Gauge:
			i.gauges[d.Name] = set.Gauge(d.Name)
		case telemetry.Histogram:
		}
	}
	set.Observe(func(o metric.Observer) {
		o.ObserveInt64(i.counts["weir.taskmanager.numStaleMessages"], int64(m.stale.Load()))
		i.observe(o)
	})
	return i
}

// enter has the tasks of a worker observed, from its start on. A nil receiver is telemetry that is off.
func (i *instruments) enter(w *worker) {
	if i == nil {
		return
	}
	i.mu.Lock()
	i.workers[w] = struct{}{}
	i.mu.Unlock()
}

func (i *instruments) leave(w *worker) {
	if i == nil {
		return
	}
	i.mu.Lock()
	delete(i.workers, w)
	i.mu.Unlock()
}

// arrived times messages whose effects are committed.
func (i *instruments) arrived(ctx context.Context, w *worker, arrivals []int64) {
	if i == nil || len(arrivals) == 0 {
		return
	}
	now := time.Now().UnixMilli()
	job := metric.WithAttributes(telemetry.Job.String(w.job))
	for _, at := range arrivals {
		i.latency.Record(ctx, float64(max(now-at, 0))/1000, job)
	}
}

func (i *instruments) observe(o metric.Observer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for w := range i.workers {
		for _, p := range w.publishers {
			_, bytes := p.pending()
			i.gauge(o, "weir.lane.pending", float64(bytes), telemetry.Job.String(w.job), telemetry.Lane.String(p.id))
		}
		for _, t := range w.local {
			i.observeTask(o, t)
		}
	}
}

func (i *instruments) observeTask(o metric.Observer, t *task) {
	now := time.Now()
	shown, times := t.meter.read(), t.meter.clock.read(now)
	job, number := telemetry.Job.String(t.worker.job), telemetry.Task.Int(t.id)
	for name, v := range map[string]uint64{
		"numRecordsIn": t.stats.in.Load(), "numRecordsOut": t.stats.out.Load(), "numRecordsSkipped": t.stats.skipped.Load(),
		"numDeadLetters": t.stats.deadLetters.Load(), "numStaleFrames": t.stats.stale.Load(), "numBatches": shown.batches,
	} {
		i.count(o, "weir.task."+name, int64(v), job, number)
	}
	for kind, names := range [activityN][2]string{
		busy:       {"weir.task.accumulateBusyTimeMs", "weir.task.busyTimeMsPerSecond"},
		heldBack:   {"weir.task.accumulateBackPressuredTimeMs", "weir.task.backPressuredTimeMsPerSecond"},
		unoccupied: {"weir.task.accumulateIdleTimeMs", "weir.task.idleTimeMsPerSecond"},
	} {
		i.count(o, names[0], times[kind].total.Milliseconds(), job, number)
		i.gauge(o, names[1], times[kind].perSecond, job, number)
	}
	i.gauge(o, "weir.task.held", float64(t.stats.held.Load()), job, number)
	i.gauge(o, "weir.task.state.size", float64(t.stats.stateBytes.Load()), job, number)
	for _, in := range shown.ingresses {
		age := 0.0
		if in.pending > 0 {
			age = max(float64(now.UnixMilli()-in.oldest)/1000, 0)
		}
		i.gauge(o, "weir.ingress.pendingRecords", float64(in.pending), job, number, telemetry.Ingress.String(in.id))
		i.gauge(o, "weir.ingress.lag", age, job, number, telemetry.Ingress.String(in.id))
	}
	if shown.program == nil {
		return // it has made no turn yet
	}
	for id := range shown.functions {
		f, name := &shown.functions[id], telemetry.Function.String(shown.program.functions[id].name.String())
		i.count(o, "weir.function.in", int64(f.messages), job, number, name)
		i.count(o, "weir.function.failures", int64(f.failures), job, number, name)
		i.gauge(o, "weir.function.state.keys", float64(f.keys), job, number, name)
		i.gauge(o, "weir.function.state.size", float64(f.bytes), job, number, name)
	}
	for module, spent := range shown.fuel {
		i.count(o, "weir.module.fuel", *spent, job, number, telemetry.Tenant.String(shown.program.job.Namespace), telemetry.Module.String(module))
	}
}

func (i *instruments) count(o metric.Observer, name string, v int64, attributes ...attribute.KeyValue) {
	o.ObserveInt64(i.counts[name], v, metric.WithAttributes(attributes...))
}

func (i *instruments) gauge(o metric.Observer, name string, v float64, attributes ...attribute.KeyValue) {
	o.ObserveFloat64(i.gauges[name], v, metric.WithAttributes(attributes...))
}
