package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
)

// damage flips a bit in the middle of every file below a folder of a data directory.
func damage(t *testing.T, folder string) {
	t.Helper()
	damaged := 0
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 1
		damaged++
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || damaged == 0 {
		t.Fatalf("damage %s: %d files, %v", folder, damaged, err)
	}
}

// serving starts a server on dir/data. It returns the flag that leads commands to it, and what ends it.
func serving(t *testing.T, dir string) (to string, end func()) {
	t.Helper()
	server := begin(t, shellIn(dir, wire), "stderr", "server", "--data", "data", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0")
	to = "--server=http://" + server.until(t, `server is listening.* control=(\S+)`)[1]
	go func() { // ends with the server, which waits for who reads its log
		for server.lines.Scan() {
		}
	}()
	return to, func() {
		t.Helper()
		server.stop()
		if code := <-server.exit; code != exitDone {
			t.Errorf("exit %d", code)
		}
	}
}

// outcome runs a command to its end, and returns what it printed and its exit code.
func outcome(t *testing.T, dir string, args ...string) (string, int) {
	t.Helper()
	s, out := shellIn(dir, nil), &bytes.Buffer{}
	s.out, s.err = out, out
	code := s.run(t.Context(), args)
	return out.String(), code
}

// inState waits until the job is in a state, and returns what weir jobs says of it.
func inState(t *testing.T, dir, to string, state jobmanager.JobState) string {
	t.Helper()
	for t.Context().Err() == nil {
		out, _ := outcome(t, dir, "jobs", "control", "-o", "json", to)
		if strings.Contains(out, `"state": "`+string(state)+`"`) {
			return out
		}
	}
	t.Fatalf("the job is never %s", state)
	return ""
}

func TestARefusedModuleSaysSoOnceAndWhereToReadOn(t *testing.T) {
	c, _ := cacheOf(t, "")
	_, err := c.prepare(t.Context(), readFile(t, filepath.Join("..", "..", "functions", "wasm", "testdata", "refused", "start-trap.wasm")))
	var p *router.Problem
	if !errors.As(err, &p) {
		t.Fatal(err)
	}
	const want = "init-failed: initialisation: guest trapped: unreachable; mend what runs before the first message"
	if !strings.HasPrefix(p.Detail, want) || p.Type != "module-refused" || p.Docs != "docs/errors.md#module-refused" {
		t.Errorf("%+v, want %s", p, want)
	}
}

func TestADamagedModuleFailsItsJobAndADeploymentMendsBoth(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "control.wasm", string(small(t, "control")))
	to, end := serving(t, dir)
	if out, code := outcome(t, dir, "deploy", "control.wasm", to); code != exitDone {
		t.Fatalf("deploy: %s", out)
	}
	end()
	damage(t, filepath.Join(dir, "data", cacheFolder))
	to, end = serving(t, dir)
	inState(t, dir, to, jobmanager.Running) // compiled anew
	end()
	damage(t, filepath.Join(dir, "data", cacheFolder))
	damage(t, filepath.Join(dir, "data", moduleFolder))
	to, end = serving(t, dir)
	out := inState(t, dir, to, jobmanager.Failed)
	for _, want := range []string{"module file", "is damaged", "deploy the same module again"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in: %s", want, out)
		}
	}
	if out, code := outcome(t, dir, "deploy", "control.wasm", to); code != exitDone || !strings.Contains(out, "running") || strings.Contains(out, "waiting") {
		t.Errorf("deploy again: exit %d: %s", code, out)
	}
	inState(t, dir, to, jobmanager.Running)
	end()
}

func TestACallThatBreaksALimitNamesItsSetting(t *testing.T) {
	for kind, want := range map[error]string{wasm.ErrFuel: "limits.time in module.yaml", wasm.ErrMemory: "limits.memory in module.yaml"} {
		if got := raise(&wasm.Failure{Kind: kind}); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q in it", kind, got, want)
		}
	}
	if got := raise(&wasm.Failure{Kind: wasm.ErrTrap}); got != "" {
		t.Errorf("a trap: %q", got)
	}
}
