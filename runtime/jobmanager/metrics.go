package jobmanager

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// Metrics are those of the JobManager role.
func Metrics() []telemetry.Metric {
	job := []string{string(telemetry.Job)}
	return []telemetry.Metric{
		{Name: "weir.job.state", Kind: telemetry.Gauge, Help: "1 for the state that the job is in: created, running, failing, restarting, cancelling, canceled, failed, finished or suspended.",
			Attributes: append(job[:1:1], string(telemetry.State)), Known: "Flink's runningState and others"},
		{Name: "weir.job.attempt", Kind: telemetry.Gauge, Attributes: job, Help: "Number of the attempt.", Known: "Flink's task_attempt_num"},
		{Name: "weir.job.numRestarts", Kind: telemetry.Counter, Attributes: job, Help: "Restarts after a failure.", Known: "Flink's numRestarts"},
		{Name: "weir.job.uptime", Kind: telemetry.Gauge, Unit: "s", Attributes: job, Help: "Time since the attempt began to run; 0 when it does not.", Known: "Flink's uptime, in seconds"},
		{Name: "weir.checkpoint.numberOfCompletedCheckpoints", Kind: telemetry.Counter, Attributes: job, Help: "Epochs committed.", Known: "Flink's numberOfCompletedCheckpoints"},
		{Name: "weir.checkpoint.numberOfFailedCheckpoints", Kind: telemetry.Counter, Attributes: job, Help: "Epochs given up; their changes join the next.", Known: "Flink's numberOfFailedCheckpoints"},
		{Name: "weir.checkpoint.numberOfInProgressCheckpoints", Kind: telemetry.Gauge, Attributes: job, Help: "Epochs that are triggered and not decided: 0 or 1.", Known: "Flink's numberOfInProgressCheckpoints"},
		{Name: "weir.checkpoint.lastCompletedCheckpointId", Kind: telemetry.Gauge, Attributes: job, Help: "Number of the latest manifest.", Known: "Flink's lastCompletedCheckpointId"},
		{Name: "weir.checkpoint.lastCheckpointSize", Kind: telemetry.Gauge, Unit: "By", Attributes: job, Help: "Bytes that the last epoch wrote.", Known: "Flink's lastCheckpointSize"},
		{Name: "weir.checkpoint.lastCheckpointFullSize", Kind: telemetry.Gauge, Unit: "By", Attributes: job, Help: "Bytes of all files that the latest manifest names.", Known: "Flink's lastCheckpointFullSize"},
		{Name: "weir.checkpoint.lastCheckpointDuration", Kind: telemetry.Gauge, Unit: "s", Attributes: job, Help: "Time from the trigger of the last epoch to its commit.", Known: "Flink's lastCheckpointDuration, in seconds"},
		{Name: "weir.checkpoint.age", Kind: telemetry.Gauge, Unit: "s", Attributes: job, Help: "Time since the last commit of this process; nothing is committed while nothing changes."},
		{Name: "weir.checkpoint.duration", Kind: telemetry.Histogram, Unit: "s", Attributes: append(job[:1:1], string(telemetry.Phase)),
			Help:   "Time of an epoch by phase: seal (the longest pause of a task), write (a worker's file), manifest (the commit), total (trigger to commit), publish (commit to the end of a lane's transaction).",
			Bounds: []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}},
		{Name: "weir.jobmanager.numStaleMessages", Kind: telemetry.Counter, Help: "Control messages of another attempt that were dropped."},
	}
}

// instruments tell the numbers of all jobs whenever metrics are collected.
type instruments struct {
	duration metric.Float64Histogram
	counts   map[string]metric.Int64Observable
	gauges   map[string]metric.Float64Observable
}

func newInstruments(m *Manager, meter metric.Meter) *instruments {
	declared := Metrics()
	set := telemetry.NewSet(meter, declared)
	i := &instruments{
		duration: set.Histogram("weir.checkpoint.duration"), counts: map[string]metric.Int64Observable{}, gauges: map[string]metric.Float64Observable{},
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
		o.ObserveInt64(i.counts["weir.jobmanager.numStaleMessages"], int64(m.stale.Load()))
		for _, j := range m.all() {
			i.observe(o, j)
		}
	})
	return i
}

func (i *instruments) observe(o metric.Observer, j *master) {
	now, l := time.Now(), j.ledger.read()
	job := telemetry.Job.String(j.name)
	since := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return now.Sub(t).Seconds()
	}
	gauge := func(name string, v float64, attributes ...attribute.KeyValue) {
		o.ObserveFloat64(i.gauges[name], v, metric.WithAttributes(append(attributes, job)...))
	}
	gauge("weir.job.state", 1, telemetry.State.String(string(l.state)))
	gauge("weir.job.attempt", float64(l.attempt))
	gauge("weir.job.uptime", since(l.running))
	gauge("weir.checkpoint.numberOfInProgressCheckpoints", float64(l.open))
	gauge("weir.checkpoint.lastCompletedCheckpointId", float64(l.number))
	gauge("weir.checkpoint.lastCheckpointSize", float64(l.size))
	gauge("weir.checkpoint.lastCheckpointFullSize", float64(l.fullSize))
	gauge("weir.checkpoint.lastCheckpointDuration", l.took.Seconds())
	gauge("weir.checkpoint.age", since(l.committed))
	for name, v := range map[string]int{
		"weir.job.numRestarts": l.restarts, "weir.checkpoint.numberOfCompletedCheckpoints": l.completed,
		"weir.checkpoint.numberOfFailedCheckpoints": l.failed,
	} {
		o.ObserveInt64(i.counts[name], int64(v), metric.WithAttributes(job))
	}
}

// phases records how long an epoch took. A nil receiver is telemetry that is off.
func (i *instruments) phases(ctx context.Context, j *master, acks map[string]*wire.Acknowledge, manifest, total time.Duration) {
	if i == nil {
		return
	}
	var seal, write time.Duration
	for _, ack := range acks {
		seal, write = max(seal, ack.Seal), max(write, ack.Write)
	}
	for name, took := range map[string]time.Duration{"seal": seal, "write": write, "manifest": manifest, "total": total} {
		i.phase(ctx, j, name, took)
	}
}

func (i *instruments) phase(ctx context.Context, j *master, name string, took time.Duration) {
	if i != nil {
		i.duration.Record(ctx, took.Seconds(), metric.WithAttributes(telemetry.Job.String(j.name), telemetry.Phase.String(name)))
	}
}

// ledger is what a master shows of its job to who collects metrics.
type ledger struct {
	tally // of the master's goroutine

	mu    sync.Mutex // guards shown; a leaf
	shown standing
}

// tally is what is counted of a job's epochs, in this process.
type tally struct {
	completed, failed int
	size, fullSize    int64 // bytes: of the last epoch, and of all that its manifest names
}

// standing is how a job stands.
type standing struct {
	tally
	state              JobState
	attempt, number    uint64
	running, committed time.Time
	open, restarts     int
	took               time.Duration
}

// commit counts an epoch that is in the manifest.
func (l *ledger) commit(acks map[string]*wire.Acknowledge, m *checkpoint.Manifest) {
	l.completed++
	l.size, l.fullSize = 0, 0
	for _, ack := range acks {
		l.size += ack.File.Length
		if ack.Delta.Name != ack.File.Name {
			l.size += ack.Delta.Length
		}
	}
	for _, f := range m.Files() {
		l.fullSize += f.Length
	}
	for _, b := range m.Inline {
		l.fullSize += int64(len(b))
	}
}

func (l *ledger) read() standing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shown
}

// enter brings the ledger up to date; it is called by the master's goroutine when it has done something.
func (l *ledger) enter(j *master) {
	s := standing{
		tally: l.tally, state: j.state, attempt: j.attempt.Attempt, committed: j.committed, restarts: j.restartsN,
	}
	if j.phase == running {
		s.running = j.since
	}
	if j.coordinator != nil && j.coordinator.open != nil {
		s.open = 1
	}
	if j.manifest != nil {
		s.number = j.manifest.Number
	}
	if n := len(j.epochTook); n > 0 {
		s.took = j.epochTook[n-1]
	}
	l.mu.Lock()
	l.shown = s
	l.mu.Unlock()
}
