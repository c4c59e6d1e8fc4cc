package deploy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/deploy/deploytest"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// counter is what the modules of these tests say of themselves.
func counter() *functions.Description {
	return &functions.Description{ABI: 1, Functions: []functions.FunctionSpec{{
		Type:   functions.TypeName{Namespace: "example", Name: "counter"},
		States: []functions.StateSpec{{Name: "count", Type: "int64"}},
	}}}
}

// prepare accepts modules whose bytes do not contain "bad".
func prepare(_ context.Context, module []byte) (*functions.Description, error) {
	if bytes.Contains(module, []byte("bad")) {
		return nil, fmt.Errorf("export weir_batch is missing")
	}
	return counter(), nil
}

func serve(t *testing.T, controller *deploytest.Controller) *httptest.Server {
	t.Helper()
	modules, err := deploy.OpenModules(t.TempDir(), prepare)
	if err != nil {
		t.Fatal(err)
	}
	api, err := deploy.New(deploy.Config{
		Modules: modules,
		Release: deploy.Release{Version: "0.1.0", Go: "go1.26", Kafka: "127.0.0.1:9092"},
		Invoke: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "invoked %s", r.URL.EscapedPath())
		}),
		Metrics: http.NotFoundHandler(),
	}, controller)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return server
}

type reply struct {
	status int
	kind   string // content type
	body   string
}

func call(t *testing.T, server *httptest.Server, method, path, kind, content string) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: response.StatusCode, kind: response.Header.Get("Content-Type"), body: string(text)}
}

func (r reply) decode(t *testing.T, into any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(r.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("decode %s: %v", r.body, err)
	}
}

// upload stores a module and returns its digest.
func upload(t *testing.T, server *httptest.Server, rest string) string {
	t.Helper()
	r := call(t, server, "POST", "/v1/modules", "application/wasm", "\x00asm"+rest)
	if r.status != http.StatusOK {
		t.Fatalf("upload: %d %s", r.status, r.body)
	}
	var u deploy.Uploaded
	r.decode(t, &u)
	return u.Digest
}

func jobDocument(t *testing.T, name, digest string) string {
	t.Helper()
	job, err := functions.ParseJob([]byte(jobText(name, "counter.wasm")), "module.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	job.Modules[0].Digest = digest
	document, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

func jobText(name, file string) string {
	return "kind: weir.v1/job\nspec: {name: " + name + "}\n---\nkind: weir.v1/module\nspec: {file: \"" + file + "\"}\n"
}

func TestAModuleYAMLIsTakenAsItsTextButReadsNothingOfTheServer(t *testing.T) {
	server := serve(t, &deploytest.Controller{})
	text := jobText("ads", upload(t, server, "one"))
	if r := call(t, server, "PUT", "/v1/jobs/ads", "application/yaml", text); r.status != http.StatusOK {
		t.Errorf("deploy: %d %s", r.status, r.body)
	}
	leak := strings.Replace(text, "name: ads", "name: \"${env:HOME}\"", 1)
	r := call(t, server, "PUT", "/v1/jobs/ads", "application/yaml", leak)
	if r.status != http.StatusUnprocessableEntity || !strings.Contains(r.body, "module.yaml:2:") {
		t.Errorf("reference: %d %s", r.status, r.body)
	}
}

func TestAJobIsDeployedListedAndRolledBack(t *testing.T) {
	server := serve(t, &deploytest.Controller{})
	first, second := upload(t, server, "one"), upload(t, server, "two")
	r := call(t, server, "PUT", "/v1/jobs/ads", "application/json", jobDocument(t, "ads", first))
	var deployed jobmanager.DeployedView
	r.decode(t, &deployed)
	if deployed.Version != 1 || deployed.Functions[0] != "example/counter" {
		t.Fatalf("deployed %+v", deployed)
	}
	call(t, server, "PUT", "/v1/jobs/ads?dryRun=true", "application/json", jobDocument(t, "ads", second))
	call(t, server, "PUT", "/v1/jobs/ads", "application/json", jobDocument(t, "ads", second)).decode(t, &deployed)
	if deployed.Version != 2 || deployed.Previous != 1 {
		t.Fatalf("second deployment: %+v", deployed)
	}
	var versions []jobmanager.VersionView
	call(t, server, "GET", "/v1/jobs/ads/versions", "", "").decode(t, &versions)
	if len(versions) != 2 || versions[1].Spec.Modules[0].Digest != second {
		t.Fatalf("versions %+v", versions)
	}
	var job jobmanager.JobView
	call(t, server, "POST", "/v1/jobs/ads:rollback", "", "").decode(t, &job)
	if job.Version != 1 {
		t.Fatalf("rolled back to %d", job.Version)
	}
	var jobs []jobmanager.JobView
	call(t, server, "GET", "/v1/jobs", "", "").decode(t, &jobs)
	if len(jobs) != 1 || jobs[0].Name != "ads" {
		t.Fatalf("jobs %+v", jobs)
	}
}

func TestVerbsReachTheControllerAndUnknownOnesDoNot(t *testing.T) {
	server := serve(t, &deploytest.Controller{})
	call(t, server, "PUT", "/v1/jobs/ads", "application/json", jobDocument(t, "ads", upload(t, server, "one")))
	for verb, want := range map[string]jobmanager.JobState{
		"pause": jobmanager.Suspended, "resume": jobmanager.Running, "stop": jobmanager.Finished,
		"restart": jobmanager.Running, "cancel": jobmanager.Canceled, "discard-output": jobmanager.Canceled,
	} {
		var job jobmanager.JobView
		call(t, server, "POST", "/v1/jobs/ads:"+verb, "", "").decode(t, &job)
		if job.State != want {
			t.Errorf("%s: state %s, want %s", verb, job.State, want)
		}
	}
	for _, path := range []string{"/v1/jobs/ads:explode", "/v1/jobs/ads", "/v1/jobs/:stop:"} {
		if r := call(t, server, "POST", path, "", ""); r.status != http.StatusNotFound {
			t.Errorf("POST %s: %d %s", path, r.status, r.body)
		}
	}
	if r := call(t, server, "DELETE", "/v1/jobs/ads", "", ""); r.status != http.StatusConflict && r.status != http.StatusNoContent {
		t.Errorf("delete: %d %s", r.status, r.body)
	}
}

func TestProblemsOfTheControllerPassUnchanged(t *testing.T) {
	server := serve(t, &deploytest.Controller{Refuse: &router.Problem{
		Type: "state-incompatible", Title: "state type changed", Status: http.StatusConflict,
		Detail: `state "count" of example/counter is int64 in version 1 and string in version 2`, Docs: "/docs/state#migration",
	}})
	r := call(t, server, "PUT", "/v1/jobs/ads", "application/json", jobDocument(t, "ads", upload(t, server, "one")))
	want := reply{http.StatusConflict, "application/problem+json",
		`{"type":"state-incompatible","title":"state type changed","status":409,` +
			`"detail":"state \"count\" of example/counter is int64 in version 1 and string in version 2","docs":"/docs/state#migration"}` + "\n"}
	if r != want {
		t.Fatalf("got  %+v\nwant %+v", r, want)
	}
}

func TestADamagedFileOfAJobIsAProblemOfItsOwnThatNamesTheFile(t *testing.T) {
	server := serve(t, &deploytest.Controller{Refuse: fmt.Errorf("manifest jobs/ab12/manifest-0000000000000006: %w: it ends early", checkpoint.ErrDamaged)})
	r := call(t, server, "PUT", "/v1/jobs/ads", "application/json", jobDocument(t, "ads", upload(t, server, "one")))
	for _, want := range []string{`"type":"damaged"`, `manifest jobs/ab12/manifest-0000000000000006: damaged: it ends early`, "docs/operations.md#a-damaged-checkpoint"} {
		if r.status != http.StatusInternalServerError || !strings.Contains(r.body, want) {
			t.Errorf("%q is not in %d %s", want, r.status, r.body)
		}
	}
}

func TestBadRequestsAreRefusedWithAProblemAndChangeNothing(t *testing.T) {
	server := serve(t, &deploytest.Controller{})
	good := upload(t, server, "one")
	missing := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		name, method, path, kind, content string
		status                            int
		problem                           string
	}{
		{"empty upload", "POST", "/v1/modules", "", "", 422, "module-empty"},
		{"upload that is text", "POST", "/v1/modules", "", "package main", 422, "module-not-wasm"},
		{"upload cut short", "POST", "/v1/modules", "", "\x00as", 422, "module-not-wasm"},
		{"module the engine refuses", "POST", "/v1/modules", "", "\x00asm bad", 422, "module-refused"},
		{"upload above the limit", "POST", "/v1/modules", "", "\x00asm" + strings.Repeat("x", deploy.MaxModuleBytes), 413, "module-too-large"},
		{"unknown module", "GET", "/v1/modules/" + missing, "", "", 404, "no-such-module"},
		{"digest that is a path", "GET", "/v1/modules/..%2F..%2Fetc", "", "", 404, "no-such-module"},
		{"job that is not JSON", "PUT", "/v1/jobs/ads", "application/json", "{", 422, "job-malformed"},
		{"job with an unknown field", "PUT", "/v1/jobs/ads", "application/json", `{"nmae":"ads"}`, 422, "job-malformed"},
		{"job whose module.yaml has an unknown field", "PUT", "/v1/jobs/ads", "application/yaml", "kind: weir.v1/job\nspec: {nmae: ads}", 422, "job-invalid"},
		{"job of another type", "PUT", "/v1/jobs/ads", "text/plain", "x", 415, "content-type"},
		{"job with another name", "PUT", "/v1/jobs/ads", "", jobDocument(t, "other", good), 422, "job-name"},
		{"job without modules", "PUT", "/v1/jobs/ads", "", `{"name":"ads"}`, 422, "job-empty"},
		{"job with a module not uploaded", "PUT", "/v1/jobs/ads", "", jobDocument(t, "ads", missing), 422, "no-such-module"},
		{"job with a module without digest", "PUT", "/v1/jobs/ads", "", jobDocument(t, "ads", ""), 422, "module-digest"},
		{"unknown job", "GET", "/v1/jobs/nobody", "", "", 404, "no-such-job"},
		{"logs of an unknown job", "GET", "/v1/jobs/nobody/logs?follow=true", "", "", 404, "no-such-job"},
		{"unknown route", "GET", "/v2/jobs", "", "", 404, "no-such-route"},
		{"bad function type", "GET", "/v1/jobs/ads/state/a%20b/c/k", "", "", 422, "function-type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := call(t, server, c.method, c.path, c.kind, c.content)
			var p router.Problem
			r.decode(t, &p)
			if r.status != c.status || p.Type != c.problem || r.kind != "application/problem+json" || p.Status != c.status {
				t.Errorf("got %d %q %s, want %d %q", r.status, p.Type, r.body, c.status, c.problem)
			}
		})
	}
	if r := call(t, server, "GET", "/v1/jobs", "", ""); r.body != "[]\n" {
		t.Errorf("jobs after refusals: %s", r.body)
	}
}

func TestStateKeysAreTakenAsTheyAreWritten(t *testing.T) {
	value := []jobmanager.StateValue{{Name: "count", Type: "int64", Present: true, Value: float64(12)}}
	keys := []string{"ann", "a/b", "a//b", "..", "ü ?#%", "x:stop"}
	states := map[string][]jobmanager.StateValue{}
	for _, key := range keys {
		states["example/counter/"+key] = value
	}
	server := serve(t, &deploytest.Controller{States: states})
	call(t, server, "PUT", "/v1/jobs/ads", "", jobDocument(t, "ads", upload(t, server, "one")))
	for _, key := range keys {
		var escaped strings.Builder
		for _, b := range []byte(key) {
			fmt.Fprintf(&escaped, "%%%02X", b)
		}
		var state jobmanager.StateView
		call(t, server, "GET", "/v1/jobs/ads/state/example/counter/"+escaped.String(), "", "").decode(t, &state)
		if state.Key != key || len(state.States) != 1 {
			t.Errorf("key %q: %+v", key, state)
		}
	}
}

func TestInvocationsPassByTheirEscapedPath(t *testing.T) {
	server := serve(t, &deploytest.Controller{})
	for _, path := range []string{"/in/example/counter/a%2Fb", "/in/example/counter/%2E%2E", "/n/acme/in/a/b//c"} {
		if r := call(t, server, "POST", path, "", "3"); r.body != "invoked "+path {
			t.Errorf("%s: %s", path, r.body)
		}
	}
}

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	server := serve(t, &deploytest.Controller{NotReady: fmt.Errorf("no task manager has joined")})
	if r := call(t, server, "GET", "/healthz", "", ""); r.status != http.StatusOK {
		t.Errorf("health: %d", r.status)
	}
	r := call(t, server, "GET", "/readyz", "", "")
	if r.status != http.StatusServiceUnavailable || !strings.Contains(r.body, "no task manager has joined") {
		t.Errorf("ready: %d %s", r.status, r.body)
	}
}

func TestTheDocumentListsEveryRouteByItsPath(t *testing.T) {
	server := serve(t, &deploytest.Controller{})
	var document struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(call(t, server, "GET", "/v1/openapi.json", "", "").body), &document); err != nil {
		t.Fatal(err)
	}
	if document.OpenAPI != "3.1.0" {
		t.Errorf("version %s", document.OpenAPI)
	}
	for path, method := range map[string]string{
		"/v1/modules": "post", "/v1/modules/{digest}": "get", "/v1/jobs/{job}": "put", "/v1/jobs": "get",
		"/v1/jobs/{job}:stop": "post", "/v1/jobs/{job}:cancel": "post", "/v1/jobs/{job}:rollback": "post",
		"/v1/jobs/{job}:redrive": "post", "/v1/jobs/{job}:divert": "post", "/v1/jobs/{job}/logs": "get",
		"/v1/jobs/{job}/state/{namespace}/{function}/{key}": "get", "/healthz": "get", "/readyz": "get", "/v1/version": "get",
		"/in/{namespace}/{function}/{key}": "post", "/n/{tenant}/in/{namespace}/{function}/{key}": "post", "/metrics": "get", "/v1/openapi.json": "get",
	} {
		if document.Paths[path][method] == nil {
			t.Errorf("%s %s is not in the document", method, path)
		}
	}
	responses, _ := document.Paths["/v1/jobs/{job}"]["put"].(map[string]any)["responses"].(map[string]any)
	for _, status := range []string{"200", "409", "413", "415", "422", "429", "503"} {
		if responses[status] == nil {
			t.Errorf("a deployment's answer %s is not in the document", status)
		}
	}
}

func TestLogsFollowUntilTheServerEndsItsStreams(t *testing.T) {
	controller := &deploytest.Controller{
		Lines: []jobmanager.LogLine{{Time: deploytest.Epoch(), Level: "info", Text: "hello"}},
		More:  make(chan jobmanager.LogLine),
	}
	modules, err := deploy.OpenModules(t.TempDir(), prepare)
	if err != nil {
		t.Fatal(err)
	}
	api, err := deploy.New(deploy.Config{Modules: modules}, controller)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(api)
	defer server.Close()
	call(t, server, "PUT", "/v1/jobs/ads", "", jobDocument(t, "ads", upload(t, server, "one")))
	response, err := server.Client().Get(server.URL + "/v1/jobs/ads/logs?follow=true")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	var line jobmanager.LogLine
	if err := decoder.Decode(&line); err != nil || line.Text != "hello" {
		t.Fatalf("first line %+v: %v", line, err)
	}
	controller.More <- jobmanager.LogLine{Text: "again"}
	if err := decoder.Decode(&line); err != nil || line.Text != "again" {
		t.Fatalf("followed line %+v: %v", line, err)
	}
	api.EndStreams()
	if err := decoder.Decode(&line); err != io.EOF {
		t.Fatalf("after the end: %+v, %v", line, err)
	}
}
