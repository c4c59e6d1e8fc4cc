package runtime_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// point is one value of a metric; of a histogram, how many values it holds.
type point struct {
	name       string
	attributes attribute.Set
	value      float64
}

func collect(t *testing.T, reader sdkmetric.Reader) (points []point) {
	t.Helper()
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					points = append(points, point{m.Name, p.Attributes, float64(p.Value)})
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					points = append(points, point{m.Name, p.Attributes, p.Value})
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					points = append(points, point{m.Name, p.Attributes, float64(p.Count)})
				}
			default:
				t.Fatalf("metric %s is a %T", m.Name, data)
			}
		}
	}
	return points
}

// total sums the values of a metric that carry an attribute; an empty value is any.
func total(points []point, name string, key attribute.Key, value string) (sum float64) {
	for _, p := range points {
		if v, ok := p.attributes.Value(key); p.name == name && ok && (value == "" || v.AsString() == value) {
			sum += p.value
		}
	}
	return sum
}

// measured is a cluster whose metrics a test reads.
func measured(t *testing.T, module runtimetest.Module) (*runtimetest.Cluster, sdkmetric.Reader) {
	reader := sdkmetric.NewManualReader()
	c := runtimetest.New(t, runtimetest.NewBroker(4, "in", "out", "dead"))
	c.Modules["v1"] = module
	c.Meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")
	c.Start()
	c.Ready()
	return c, reader
}

// patience is long beyond what anything here takes, also under the race detector on a busy machine.
const patience = 30 * time.Second

// until collects until the metrics are as a test wants them, or the test's time is over.
func until(t *testing.T, reader sdkmetric.Reader, wanted func([]point) bool) []point {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		points := collect(t, reader)
		if wanted(points) {
			return points
		}
		if ctx.Err() != nil {
			t.Fatalf("the metrics never came to what is wanted: %v", points)
		}
	}
}

func TestMetricsTellWhatAJobDid(t *testing.T) {
	c, reader := measured(t, counter)
	c.Deploy(c.Job("job", "v1", 2, "t/counter"))
	const records, keys = 90, 30
	for i := range records {
		c.Broker.Produce("in", "key-"+strconv.Itoa(i%keys), []byte("1"))
	}
	c.Broker.Produce("in", "bad", []byte("no number"))
	until(t, reader, func([]point) bool {
		return len(c.Broker.Records("out")) == records && len(c.Broker.Records("dead")) == 1
	})
	points := until(t, reader, func(points []point) bool { // collected after the output was seen, not before
		return total(points, "weir.function.state.keys", telemetry.Function, "t/counter") == keys
	})
	for _, want := range []struct {
		name  string
		key   attribute.Key
		value string
		sum   float64
	}{
		{"weir.task.numRecordsIn", telemetry.Job, "job", records + 1},
		{"weir.task.numRecordsOut", telemetry.Job, "job", records + 1}, // and the dead letter
		{"weir.task.numDeadLetters", telemetry.Job, "job", 1},
		{"weir.task.numStaleFrames", telemetry.Job, "job", 0},
		{"weir.function.failures", telemetry.Function, "t/counter", 1},
		{"weir.function.state.size", telemetry.Function, "t/counter", 10*5 + 20*6 + keys*8},
		{"weir.ingress.pendingRecords", telemetry.Ingress, "in", 0},
		{"weir.ingress.lag", telemetry.Ingress, "in", 0},
		{"weir.job.state", telemetry.State, "running", 1},
		{"weir.job.state", telemetry.State, "", 1},
		{"weir.job.attempt", telemetry.Job, "job", 1},
		{"weir.job.numRestarts", telemetry.Job, "job", 0},
	} {
		if got := total(points, want.name, want.key, want.value); got != want.sum {
			t.Errorf("%s{%s=%q} is %v, want %v", want.name, want.key, want.value, got, want.sum)
		}
	}
	if in := total(points, "weir.function.in", telemetry.Function, "t/counter"); in < records+1 {
		t.Errorf("%v messages were given to the function, which had %d", in, records+1)
	}
	if in, fuel := total(points, "weir.function.in", telemetry.Function, "t/counter"), total(points, "weir.module.fuel", telemetry.Module, "v1"); in != fuel {
		t.Errorf("%v messages cost %v units; they cost one each", in, fuel)
	}
	batches, sizes := total(points, "weir.task.numBatches", telemetry.Job, "job"), total(points, "weir.task.batchSize", telemetry.Job, "job")
	if batches == 0 || batches != sizes {
		t.Errorf("%v batches, %v sizes of batches", batches, sizes)
	}
	if done, phases := total(points, "weir.checkpoint.numberOfCompletedCheckpoints", telemetry.Job, "job"), total(points, "weir.checkpoint.duration", telemetry.Phase, "total"); done == 0 || phases == 0 {
		t.Errorf("%v checkpoints are complete, %v are timed", done, phases)
	}
}

func TestEveryMetricIsDeclaredWithItsAttributes(t *testing.T) {
	c, reader := measured(t, counter)
	c.Deploy(c.Job("job", "v1", 1, "t/counter"))
	c.Broker.Produce("in", "ann", []byte("1"))
	declared := slices.Concat(taskmanager.Metrics(), jobmanager.Metrics())
	missing := func(points []point) (names []string) {
		for _, m := range declared {
			if !slices.ContainsFunc(points, func(p point) bool { return p.name == m.Name }) {
				names = append(names, m.Name)
			}
		}
		return names
	}
	for _, p := range until(t, reader, func(points []point) bool { return len(missing(points)) == 0 }) {
		i := slices.IndexFunc(declared, func(m telemetry.Metric) bool { return m.Name == p.name })
		if i < 0 {
			t.Errorf("%s is measured and not declared", p.name)
			continue
		}
		var has []string
		for _, a := range p.attributes.ToSlice() {
			has = append(has, string(a.Key))
		}
		want := slices.Sorted(slices.Values(declared[i].Attributes))
		if !slices.Equal(slices.Sorted(slices.Values(has)), want) {
			t.Errorf("%s has attributes %v, declared are %v", p.name, has, want)
		}
	}
}

func TestAJobThatIsHeldBackIsNeitherBusyNorIdle(t *testing.T) {
	c, reader := measured(t, flood)
	held, publishing := make(chan struct{}), make(chan struct{}, floodRecords)
	c.Broker.Publish = func(string, uint64) error { publishing <- struct{}{}; <-held; return nil }
	c.Deploy(c.Job("job", "v1", 1, "t/flood"))
	c.Broker.Produce("in", "first", []byte("x"))
	<-publishing // from here on one more epoch is cut, and what is written then waits in the task
	c.Broker.ProduceRecord("in", slices.Repeat([]runtimetest.Record{{Key: []byte("same"), Value: make([]byte, 70<<10)}}, floodRecords)...)
	points := until(t, reader, func(points []point) bool {
		return total(points, "weir.task.accumulateBackPressuredTimeMs", telemetry.Job, "job") > 0
	})
	taken := total(points, "weir.task.numRecordsIn", telemetry.Job, "job")
	if pending := total(points, "weir.ingress.pendingRecords", telemetry.Ingress, "in"); pending == 0 || taken+pending != floodRecords+1 {
		t.Errorf("%v records are pending, %v are taken of %d", pending, taken, floodRecords+1)
	}
	if age := total(points, "weir.ingress.lag", telemetry.Ingress, "in"); age < 3600 {
		t.Errorf("the lag is %v s behind a record whose time is the beginning of the epoch", age)
	}
	close(held)
	until(t, reader, func([]point) bool { return len(c.Broker.Records("out")) > floodRecords })
}

// floodRecords of 70 KiB are more than twice the 32 MiB of output that a task holds for an epoch, and more than it takes at once.
const floodRecords = 1400

// flood writes as much as it gets.
var flood = runtimetest.Module{{Type: "t/flood", Run: func(c *runtimetest.Call) error {
	c.Put("out", c.Key, c.Value)
	return nil
}}}
