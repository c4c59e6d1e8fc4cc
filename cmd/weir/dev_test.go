package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fsnotify/fsnotify"

	"github.com/weir-run/weir/deploy/deploytest"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
)

const devDocument = `kind: weir.v1/job
spec: {name: counter}
---
kind: weir.v1/module
spec: {file: counter.wasm, build: "cp source.txt counter.wasm"}
---
kind: io.statefun.kafka.v1/ingress
spec: {id: clicks, address: embedded, consumerGroupId: counter, topics: [{topic: clicks, targets: [example/counter], create: true}]}
---
kind: io.statefun.kafka.v1/egress
spec: {id: counts, address: embedded, topics: [counts, spent], create: true}
`

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// devIn starts weir dev on free ports in a folder.
func devIn(t *testing.T, dir string) *running {
	t.Helper()
	s := shellIn(dir, wireFake(t, &deploytest.Controller{}, untilDone))
	return begin(t, s, "stdout", "dev", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0", "--kafka", "127.0.0.1:0")
}

func TestDevDeploysTheFolderAndReloadsItWhenItIsSaved(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "module.yaml", devDocument)
	write(t, dir, "source.txt", "\x00asm counter 1")
	dev := devIn(t, dir)
	dev.until(t, `^  weir +\S+ +dev mode: one process, data in \.weir, not for production$`)
	dev.until(t, `^  api +http://127\.0\.0\.1:\d+ +data plane +http://127\.0\.0\.1:\d+ +kafka +127\.0\.0\.1:\d+ \(embedded\)$`)
	dev.until(t, `^  built +counter\.wasm  14 B in .*; ready .* later$`)
	dev.until(t, `^  deployed  job counter: example/counter <- topic clicks, http   -> topic counts, topic spent$`)
	write(t, dir, "source.txt", "\x00asm counter 2")
	dev.until(t, `^  reloaded  example/counter in .*, state kept$`)
	if code := dev.end(); code != exitDone {
		t.Errorf("exit %d: %s", code, dev.stderr)
	}
}

func TestDevWaitsForARepairWhenTheFunctionIsBroken(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "module.yaml", strings.Replace(devDocument, "name: counter", "nmae: counter", 1))
	write(t, dir, "source.txt", "\x00asm bad")
	dev := devIn(t, dir)
	dev.until(t, `^  api`)
	dev.until(t, `^  broken`)
	write(t, dir, "module.yaml", devDocument)
	dev.until(t, `^  broken`)
	write(t, dir, "source.txt", "\x00asm good")
	dev.until(t, `^  deployed`)
	if code := dev.end(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{`module.yaml:2:`, `unknown field "nmae"`, "export weir_batch is missing"} {
		if !strings.Contains(dev.stderr.String(), want) {
			t.Errorf("%q was not told: %s", want, dev.stderr)
		}
	}
}

func TestDevDoesNotTakeItsOwnOutputForAChange(t *testing.T) {
	dir := t.TempDir()
	w, err := watch(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	write(t, dir, "main.go", "package main")
	w.ignoreOwn(log, new(bytes.Buffer))
	for name, want := range map[string]bool{"log": false, "main.go": true, "gone.go": true} {
		if got := w.counts(fsnotify.Event{Name: filepath.Join(dir, name), Op: fsnotify.Write}); got != want {
			t.Errorf("a write to %s counts: %t", name, got)
		}
	}
}

func TestDevStartsNothingWhereNothingIs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "notes.txt", "")
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[string]string{
		"nowhere":   "error: there is no nowhere\n",
		"notes.txt": "error: notes.txt is no folder\n",
		"empty":     "holds neither module.yaml nor main.go\n",
	} {
		var stderr bytes.Buffer
		s := shellIn(dir, nil)
		s.err = &stderr
		if code := s.run(t.Context(), []string{"dev", folder}); code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("weir dev %s: exit %d: %s", folder, code, &stderr)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestDevTellsWhatACheckpointHeldAndGuessesNothing(t *testing.T) {
	got := restoredText("rp", &jobmanager.RestoredView{Checkpoint: 3, Millis: 108, Keys: 2})
	if want := "job rp from checkpoint 3 in 108 ms: 2 values and 0 messages under way; records after it are read again"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestAJobThatFailsAtOnceIsNotSaidToWait(t *testing.T) {
	done := deployed{DeployedView: jobmanager.DeployedView{Job: "ads", Version: 1}, State: "failed", Error: "credentials are refused"}
	var out bytes.Buffer
	s := &shell{out: &out, output: "table"}
	(&developer{shell: s}).tellRest(&done)
	if want := "  failed    credentials are refused\n  see       " + restDocs + ": weir help errors why-a-job-does-not-run\n"; out.String() != want {
		t.Errorf("dev printed %q", &out)
	}
	out.Reset()
	if err := s.show(nil, func(t *table) { deployedRows(t, &done) }); err != nil {
		t.Fatal(err)
	}
	if want := "deployed  ads version 1\nfailed    credentials are refused\nsee       " + restDocs + ": weir help errors why-a-job-does-not-run\n"; out.String() != want {
		t.Errorf("deploy printed %q", &out)
	}
}

func TestARenamedJobIsToldFromAnotherOne(t *testing.T) {
	taken := &router.Problem{Status: http.StatusConflict, Type: "function-taken", Detail: "function example/counter belongs to job old of namespace default"}
	p := &plan{job: &functions.Job{Name: "new"}}
	if got := (&developer{job: "old"}).renamed(p, taken).Error(); !strings.Contains(got, "was deployed as old") {
		t.Errorf("got %q", got)
	}
	for _, job := range []string{"", "new", "other"} {
		if got := (&developer{job: job}).renamed(p, taken); got != error(taken) {
			t.Errorf("after %q: %v", job, got)
		}
	}
}
