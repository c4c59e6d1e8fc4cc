package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/deploy/deploytest"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
)

var rewrite = flag.Bool("rewrite", false, "write what commands print into the scripts")

// TestScripts runs the commands of testdata/script against a controller in memory. After each command stands what it
// printed, with "! " before lines on standard error, and its exit code when that is not 0.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file) })
	}
}

func runScript(t *testing.T, file string) {
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	var got strings.Builder
	for line := range strings.Lines(string(source)) {
		switch {
		case strings.HasPrefix(line, "# "): // headings of pages have more than one #
			got.WriteString(line)
		case strings.HasPrefix(line, "$ "):
			got.WriteString(line)
			got.WriteString(s.transcript(t, words(t, strings.TrimSuffix(line[2:], "\n"))))
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(source) {
		t.Errorf("%s differs; got:\n%s", file, got.String())
	}
}

// words splits a command line at spaces, but not within single quotes.
func words(t *testing.T, line string) []string {
	t.Helper()
	var all []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

// stage is a server in memory and a folder in which commands run.
type stage struct {
	server     *httptest.Server
	controller *deploytest.Controller
	shell      *shell
	dir        string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{dir: t.TempDir(), controller: filledController()}
	modules, err := deploy.OpenModules(t.TempDir(), prepareFake)
	if err != nil {
		t.Fatal(err)
	}
	api, err := deploy.New(deploy.Config{
		Modules: modules,
		Release: deploy.Release{Version: "0.1.0", Commit: "abc", Go: "go1.26"},
		Invoke:  http.HandlerFunc(fakeInvoke),
	}, s.controller)
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewServer(api)
	t.Cleanup(s.server.Close)
	for name, content := range map[string]string{
		"counter.wasm":   "\x00asm counter 1",
		"counter2.wasm":  "\x00asm counter 2",
		"bad.wasm":       "\x00asm bad",
		"text.wasm":      "package main",
		"none.wasm":      "",
		"module.yaml":    "kind: weir.v1/job\nspec: {name: ads, parallelism: 2}\n---\nkind: weir.v1/module\nspec: {file: counter.wasm}\n",
		"v2.yaml":        "kind: weir.v1/job\nspec: {name: ads, parallelism: 2}\n---\nkind: weir.v1/module\nspec: {file: counter2.wasm}\n",
		"typo.yaml":      "kind: weir.v1/job\nspec:\n  name: ads\n  paralelism: 2\n",
		"missing.yaml":   "kind: weir.v1/module\nspec: {file: nowhere.wasm}\n",
		"empty/README":   "",
		"unknown.yaml":   "listn: 127.0.0.1:1\n",
		"server.yaml":    "listen: 127.0.0.1:7001\nslots: 3\nkafka: \"${env:BROKER}\"\n",
		"wrongtype.yaml": "insecure-listen: perhaps\n",
	} {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.shell = &shell{
		in: strings.NewReader("from stdin"), dir: s.dir,
		environ: []string{"WEIR_SERVER=" + s.server.URL, "WEIR_SLOTS=5"},
		wire:    func(wiring) (*node, error) { return nil, fmt.Errorf("not in this test") },
	}
	return s
}

// run executes one command line in the stage.
func (s *stage) run(ctx context.Context, args []string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	s.shell.out, s.shell.err = &out, &err
	code = s.shell.run(ctx, args[1:])
	return code, out.String(), err.String()
}

func (s *stage) transcript(t *testing.T, args []string) string {
	t.Helper()
	code, out, err := s.run(t.Context(), args)
	var b strings.Builder
	b.WriteString(out)
	for line := range strings.Lines(err) {
		b.WriteString("! " + line)
	}
	if code != exitDone {
		b.WriteString("[exit " + strconv.Itoa(code) + "]\n")
	}
	text := strings.ReplaceAll(b.String(), s.server.URL, "SERVER")
	return strings.ReplaceAll(text, s.dir, "DIR")
}

func prepareFake(_ context.Context, module []byte) (*functions.Description, error) {
	if bytes.Contains(module, []byte("bad")) {
		return nil, fmt.Errorf("export weir_batch is missing")
	}
	return &functions.Description{ABI: 1, Functions: []functions.FunctionSpec{{
		Type:   functions.TypeName{Namespace: "example", Name: "counter"},
		States: []functions.StateSpec{{Name: "count", Type: "int64"}},
	}}}, nil
}

func fakeInvoke(w http.ResponseWriter, r *http.Request) {
	body := new(bytes.Buffer)
	if _, err := body.ReadFrom(r.Body); err != nil {
		panic(err)
	}
	if strings.HasSuffix(r.URL.Path, "/nobody") {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"type":"no-such-function","title":"no such function","status":404,"detail":"no job runs it"}`)
		return
	}
	w.Header().Set("Weir-Epoch", "42")
	if r.Header.Get("Prefer") == "respond-async" {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	fmt.Fprintf(w, "%s %s", r.URL.EscapedPath(), body)
}

// filledController is a controller whose views have something in every column.
func filledController() *deploytest.Controller {
	at := deploytest.Epoch()
	return &deploytest.Controller{
		Lines: []jobmanager.LogLine{
			{Time: at, Level: "info", Function: "example/counter", Key: "ann", Text: "counted"},
			{Time: at, Level: "error", Text: "red\x1b[31m alert"},
		},
		States: map[string][]jobmanager.StateValue{
			"example/counter/ann": {{Name: "count", Type: "int64", Present: true, Value: 12}},
			"example/counter/bob": {{Name: "count", Type: "int64"}},
			"example/counter/a/b": {{Name: "last", Type: "json", Present: true, Value: map[string]any{"n": 1}}},
		},
		DeadLetter: []jobmanager.DeadLetterView{{
			ID: "ads-dead-letters[0]@17", Time: at, Function: "ads/campaign", Key: "c-17", Source: "clicks[3]@88121",
			Attempts: 3, Cause: "panic: negative bid", Where: "main.go:41", Value: []byte("-1"),
		}, {
			ID: "ads-dead-letters[0]@18", Time: at, Source: "clicks[3]@88122", Cause: "the record has no key",
		}},
		Publishers: []jobmanager.LaneView{
			{ID: "lane-0", Cluster: "broker:9092", Published: 20113},
			{ID: "lane-1", Task: 1, Cluster: "broker:9092", Published: 20112, Pending: 20113, Bytes: 123456, Error: "MESSAGE_TOO_LARGE"},
		},
		Manifests: []jobmanager.CheckpointView{
			{Number: 40, Attempt: 1, Term: 1, Version: 1, Time: at, Files: 1, Bytes: 900},
			{Number: 41, Attempt: 1, Term: 1, Version: 1, Time: at, Epoch: true, Files: 3, Bytes: 1234567, Pending: 1},
		},
	}
}

func TestAServerThatIsNotThereGivesItsOwnExitCode(t *testing.T) {
	s := newStage(t)
	s.server.Close()
	code, out, stderr := s.run(t.Context(), []string{"weir", "jobs"})
	if code != exitUnreachable || out != "" || !strings.Contains(stderr, "cannot reach the server at "+s.server.URL) {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, stderr)
	}
}

func TestACallThatTakesTooLongGivesItsOwnExitCode(t *testing.T) {
	s := newStage(t)
	if code, _, stderr := s.run(t.Context(), []string{"weir", "deploy"}); code != exitDone {
		t.Fatal(stderr)
	}
	s.controller.Hang = true
	code, out, stderr := s.run(t.Context(), []string{"weir", "stop", "ads", "--timeout", "10ms"})
	if code != exitTimeout || out != "" || !strings.HasPrefix(stderr, "error: timed out: ads has not come to stop yet; it is still pending") {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, stderr)
	}
}

func TestAProblemOfTheServerIsShownWithWhatToDo(t *testing.T) {
	s := newStage(t)
	s.controller.Refuse = &router.Problem{
		Status: http.StatusConflict, Type: "state-incompatible", Title: "refused",
		Detail: "state \"count\" of example/counter is int64 in version 1 and string in version 2\nkeep the type, or give the state a new name",
		Docs:   "docs/state.md#migration",
	}
	code, out, stderr := s.run(t.Context(), []string{"weir", "deploy"})
	want := "error: refused: state \"count\" of example/counter is int64 in version 1 and string in version 2\n" +
		"  keep the type, or give the state a new name\n  see docs/state.md#migration: weir help state migration\n"
	if code != exitFailed || out != "" || stderr != want {
		t.Errorf("exit %d, stdout %q, stderr:\n%s", code, out, stderr)
	}
}

func TestATopicThatDoesNotExistIsShownWhereItIsNamed(t *testing.T) {
	s := newStage(t)
	write(t, s.dir, "topics.yaml", `kind: weir.v1/module
spec: {file: counter.wasm}
---
kind: io.statefun.kafka.v1/ingress
spec:
  id: clicks
  address: broker:9092
  consumerGroupId: counter
  topics:
    - topic: click
      targets: [example/counter]
`)
	s.controller.Refuse = &router.Problem{
		Status: http.StatusUnprocessableEntity, Type: "unknown-topic", Title: "a topic does not exist",
		Detail: `topic "click" does not exist on broker:9092; the broker has "clicks"`,
	}
	code, _, stderr := s.run(t.Context(), []string{"weir", "deploy", "topics.yaml"})
	want := "error: topics.yaml:10:14: topic \"click\" does not exist on broker:9092\n  the broker has \"clicks\"\n"
	if code != exitFailed || stderr != want {
		t.Errorf("exit %d, stderr:\n%s", code, stderr)
	}
}

func TestOnlyATerminalGetsColourAndNotWithNoColor(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct {
		terminal bool
		environ  string
		coloured bool
	}{{false, "", false}, {true, "", true}, {true, "NO_COLOR=1", false}} {
		s.shell.terminal, s.shell.environ = c.terminal, []string{"WEIR_SERVER=" + s.server.URL, c.environ}
		_, _, stderr := s.run(t.Context(), []string{"weir", "jobs", "nobody"})
		if strings.Contains(stderr, "\x1b") != c.coloured {
			t.Errorf("%+v: %q", c, stderr)
		}
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	s := newStage(t)
	root := s.shell.root()
	commands := root.Commands()
	for len(commands) > 0 {
		cmd := commands[0]
		commands = append(commands[1:], cmd.Commands()...)
		if cmd.Example == "" || cmd.Short == "" {
			t.Errorf("%s has no example or no summary", cmd.CommandPath())
		}
	}
}
