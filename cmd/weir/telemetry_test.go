package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"

	collectmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttraces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// collector is a receiver of OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu      sync.Mutex // guards what follows; a leaf
	metrics map[string]*metrics.Metric
	spans   []*traces.Span
	service string
}

func newCollector(t *testing.T) *collector {
	c := &collector{metrics: map[string]*metrics.Metric{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		var request collectmetrics.ExportMetricsServiceRequest
		receive(t, w, r, &request, &collectmetrics.ExportMetricsServiceResponse{})
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.ResourceMetrics {
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.name" {
					c.service = a.Value.GetStringValue()
				}
			}
			for _, scope := range resource.ScopeMetrics {
				for _, m := range scope.Metrics {
					c.metrics[m.Name] = m
				}
			}
		}
	})
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		var request collecttraces.ExportTraceServiceRequest
		receive(t, w, r, &request, &collecttraces.ExportTraceServiceResponse{})
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

func receive(t *testing.T, w http.ResponseWriter, r *http.Request, request, response proto.Message) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(body, request)
	}
	if err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("export to %s: %v, %s", r.URL, err, r.Header.Get("Content-Type"))
	}
	answer, err := proto.Marshal(response)
	if err != nil {
		t.Error(err)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(answer) // the exporter reports it
}

// span is a span by its name.
func (c *collector) span(t *testing.T, name string) *traces.Span {
	t.Helper()
	var names []string
	for _, s := range c.spans {
		if s.Name == name {
			return s
		}
		names = append(names, s.Name)
	}
	t.Fatalf("no span %q among %q", name, names)
	return nil
}

// greeter writes a record for each call, and answers.
var greeter = runtimetest.Module{{Type: "example/greeter", States: []string{"last"}, Run: func(c *runtimetest.Call) error {
	c.Set(0, c.Value)
	c.Put("out", c.Key, c.Value)
	c.Reply([]byte("hello " + c.Key))
	return nil
}}}

// servedRoles runs the roles of a server over logs in memory.
func servedRoles(t *testing.T) (*shell, *runtimetest.Cluster) {
	cluster := runtimetest.New(t, runtimetest.NewBroker(1, "in", "out", "dead"))
	cluster.Modules["v1"] = greeter
	return shellIn(t.TempDir(), func(w wiring) (*node, error) {
		modules, err := deploy.OpenModules(filepath.Join(w.Config.Data, "modules"), prepareFake)
		if err != nil {
			return nil, err
		}
		cluster.Meter, cluster.Tracing = w.Telemetry.meter, w.Telemetry.tracing
		cluster.Start()
		return &node{
			Run:        func(ctx context.Context) error { <-ctx.Done(); cluster.Stop(); return nil },
			Controller: cluster.Jobs, Dispatch: cluster.Tasks.Dispatch, Modules: modules, Close: func() error { return nil },
		}, nil
	}), cluster
}

func send(t *testing.T, method, url, traceparent string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader("hi"))
	if err != nil {
		t.Fatal(err)
	}
	if traceparent != "" {
		r.Header.Set("Traceparent", traceparent)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

const (
	callerTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerSpan  = "00f067aa0ba902b7"
	traceparent = "00-" + callerTrace + "-" + callerSpan + "-01"
)

func TestACollectorGetsTheMetricsAndTracesOfAServer(t *testing.T) {
	c := newCollector(t)
	s, cluster := servedRoles(t)
	server := begin(t, s, "stderr", "server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0", "--otlp", c.URL)
	found := server.until(t, `server is listening.* control=(\S+) data_plane=(\S+)`)
	cluster.Ready()
	cluster.Deploy(cluster.Job("job", "v1", 1))
	for _, front := range found[1:3] { // both ways in
		if status, body := send(t, http.MethodPost, "http://"+front+"/in/example/greeter/ann", traceparent); status != 200 || body != "hello ann" {
			t.Fatalf("%d %s", status, body)
		}
	}
	if status, _ := send(t, http.MethodPost, "http://"+found[2]+"/in/example/greeter/bob", ""); status != 200 {
		t.Fatalf("status %d", status)
	}
	if code := server.end(); code != exitDone {
		t.Fatalf("exit %d: %s", code, server.stderr)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if in := c.metrics["weir.function.in"].GetSum(); c.service != "weir" || in == nil || !in.IsMonotonic || in.DataPoints[0].GetAsInt() != 3 {
		t.Errorf("service %q: weir.function.in is %v", c.service, c.metrics["weir.function.in"])
	}
	if d := c.metrics["http.server.request.duration"].GetHistogram(); d == nil || d.DataPoints[0].Count != 3 {
		t.Errorf("http.server.request.duration is %v", c.metrics["http.server.request.duration"])
	}
	request, invoke, publish := c.span(t, "POST "+"/in/{namespace}/{name}/{key}"), c.span(t, "invoke example/greeter"), c.span(t, "publish")
	for _, pair := range []struct {
		span   *traces.Span
		parent string
	}{{request, callerSpan}, {invoke, fmt.Sprintf("%x", request.SpanId)}, {publish, fmt.Sprintf("%x", invoke.SpanId)}} {
		if fmt.Sprintf("%x", pair.span.TraceId) != callerTrace || fmt.Sprintf("%x", pair.span.ParentSpanId) != pair.parent {
			t.Errorf("%s is in trace %x, below %x; want %s, %s", pair.span.Name, pair.span.TraceId, pair.span.ParentSpanId, callerTrace, pair.parent)
		}
	}
	if n := slices.IndexFunc(c.spans, func(s *traces.Span) bool { return fmt.Sprintf("%x", s.TraceId) != callerTrace }); n >= 0 {
		t.Errorf("%s is traced, and nobody asked for it", c.spans[n].Name)
	}
}

func TestAServerIsScraped(t *testing.T) {
	s, cluster := servedRoles(t)
	server := begin(t, s, "stderr", "server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0")
	control := server.until(t, `server is listening.* control=(\S+)`)[1]
	cluster.Ready()
	cluster.Deploy(cluster.Job("job", "v1", 1))
	if status, _ := send(t, http.MethodPost, "http://"+control+"/in/example/greeter/ann", ""); status != 200 {
		t.Fatalf("status %d", status)
	}
	_, text := send(t, http.MethodGet, "http://"+control+"/metrics", "")
	for _, want := range []string{
		`weir_function_in_total{function="example/greeter",job_name="job",task="0"} 1`,
		`weir_task_numRecordsOut_total{job_name="job",task="0"} 1`,
		`weir_job_state{job_name="job",state="running"} 1`,
		`weir_job_numRestarts_total{job_name="job"} 0`,
		`weir_checkpoint_numberOfFailedCheckpoints_total{job_name="job"} 0`,
		`http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="200",http_route="/in/{namespace}/{name}/{key}"} 1`,
		"# HELP weir_task_busyTimeMsPerSecond Milliseconds per second", "# TYPE weir_task_busyTimeMsPerSecond gauge", "go_goroutine_count ", "process_cpu_time_seconds_total{",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	if code := server.end(); code != exitDone {
		t.Errorf("exit %d: %s", code, server.stderr)
	}
}

func TestNothingIsMeasuredWhenNobodyAsks(t *testing.T) {
	s, cluster := servedRoles(t)
	server := begin(t, s, "stderr", "server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0", "--metrics=false")
	control := server.until(t, `server is listening.* control=(\S+)`)[1]
	if status, _ := send(t, http.MethodGet, "http://"+control+"/metrics", ""); status != http.StatusNotFound {
		t.Errorf("/metrics answers %d", status)
	}
	if cluster.Meter != nil || cluster.Tracing != nil {
		t.Errorf("the roles measure with %v and trace with %v", cluster.Meter, cluster.Tracing)
	}
}

func TestACollectorThatIsAwayEndsNothing(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
	s, cluster := servedRoles(t)
	server := begin(t, s, "stderr", "server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0", "--otlp", gone.URL)
	control := server.until(t, `server is listening.* control=(\S+)`)[1]
	cluster.Ready()
	cluster.Deploy(cluster.Job("job", "v1", 1))
	server.until(t, `telemetry is not delivered`)
	if status, _ := send(t, http.MethodPost, "http://"+control+"/in/example/greeter/ann", traceparent); status != 200 {
		t.Errorf("status %d", status)
	}
	if code := server.end(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

func TestProfilesTellJobsAndFunctionsApart(t *testing.T) {
	module := &labelled{}
	load := profiled(func(context.Context, *functions.Module) (taskmanager.Module, error) { return module, nil })
	name := functions.TypeName{Namespace: "example", Name: "greeter"}
	ctx := pprof.WithLabels(t.Context(), pprof.Labels("job", "job"))
	made, err := load(ctx, &functions.Module{Description: &functions.Description{Functions: []functions.FunctionSpec{{Type: name}}}})
	if err != nil {
		t.Fatal(err)
	}
	invoker, err := made.NewInvoker(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := invoker.Call(nil, 0, 0); err != nil {
		t.Fatal(err)
	}
	if want := `# labels: {"function":"example/greeter", "job":"job"}`; !strings.Contains(module.profile, want) {
		t.Errorf("%s is not in the profile of a call:\n%s", want, module.profile)
	}
}

// labelled is a module that takes a profile of its own call.
type labelled struct{ profile string }

func (l *labelled) NewInvoker(func(int, []byte)) (taskmanager.Invoker, error) { return l, nil }
func (l *labelled) Close()                                                    {}
func (l *labelled) Call([]byte, int64, uint64) ([]byte, error) {
	var b strings.Builder
	err := pprof.Lookup("goroutine").WriteTo(&b, 1)
	l.profile = b.String()
	return nil, err
}

func TestProfilesAreServedOnThisMachineOnly(t *testing.T) {
	s, _ := servedRoles(t)
	server := begin(t, s, "stderr", "server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0", "--pprof", "127.0.0.1:0")
	address := server.until(t, `profiles are served.* address=(\S+)`)[1]
	server.until(t, `server is listening`)
	if status, text := send(t, http.MethodGet, "http://"+address+"/debug/pprof/goroutine?debug=1", ""); status != 200 || !strings.Contains(text, "goroutine profile:") {
		t.Errorf("%d %s", status, text)
	}
	if code := server.end(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	elsewhere, _ := servedRoles(t)
	var stderr strings.Builder
	elsewhere.err = &stderr
	args := []string{"server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0", "--pprof", "0.0.0.0:0", "--insecure-listen"}
	if code := elsewhere.run(t.Context(), args); code != exitFailed || !strings.Contains(stderr.String(), "--pprof 0.0.0.0:0") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}
