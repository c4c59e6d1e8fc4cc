package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// offline is an environment in which the go command finds no module and may not ask for one.
func offline(t *testing.T) []string {
	t.Helper()
	environment := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "GOFLAGS=") || strings.HasPrefix(entry, "GOPROXY=") || strings.HasPrefix(entry, "GOMODCACHE=")
	})
	return append(environment, "GOFLAGS=", "GOPROXY=off", "GOWORK=off", "GOMODCACHE="+t.TempDir())
}

func TestAScaffoldBuildsAndPassesItsTestWithNothingButGo(t *testing.T) {
	dir := t.TempDir()
	s := shellIn(dir, nil)
	var out, stderr bytes.Buffer
	s.out, s.err, s.environ = &out, &stderr, offline(t)
	if code := s.run(t.Context(), []string{"new", "hello"}); code != exitDone {
		t.Fatalf("new: exit %d: %s", code, &stderr)
	}
	if want := "made  hello\nnext  cd hello && weir dev\n"; out.String() != want {
		t.Errorf("new printed %q", out.String())
	}
	if code := s.run(t.Context(), []string{"build", "hello"}); code != exitDone {
		t.Fatalf("build: exit %d: %s", code, &stderr)
	}
	module, err := os.ReadFile(filepath.Join(dir, "hello", "hello.wasm"))
	if err != nil || !bytes.HasPrefix(module, []byte("\x00asm")) {
		t.Fatalf("module: %v", err)
	}
	test := exec.CommandContext(t.Context(), "go", "test", "./...")
	test.Dir, test.Env = filepath.Join(dir, "hello"), offline(t)
	if output, err := test.CombinedOutput(); err != nil {
		t.Fatalf("go test: %v\n%s", err, output)
	}
	if _, err := s.planFor(filepath.Join(dir, "hello")); err != nil {
		t.Errorf("its module.yaml: %v", err)
	}
}

func TestNewOverwritesNothingAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "taken", "mine")
	s := shellIn(dir, nil)
	for name, want := range map[string]int{"taken": exitFailed, "Bad_Name": exitUsage, "../up": exitUsage, "": exitUsage} {
		if code := s.run(t.Context(), []string{"new", name}); code != want {
			t.Errorf("new %q: exit %d, want %d", name, code, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestAFunctionThatDoesNotCompileIsToldWithTheCompilersWords(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "go.mod", "module broken\n\ngo 1.26\n")
	write(t, dir, "main.go", "package main\n\nfunc main() { undefined() }\n")
	s := shellIn(dir, nil)
	var stderr bytes.Buffer
	s.err = &stderr
	if code := s.run(t.Context(), []string{"build"}); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if code := s.run(t.Context(), []string{"build", "--file", "go.mod/x.wasm"}); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if !strings.Contains(stderr.String(), "error: cannot write "+filepath.Join(dir, "go.mod", "x.wasm")+": not a directory\n") {
		t.Errorf("stderr: %s", &stderr)
	}
	if !strings.Contains(stderr.String(), "does not compile\n") || !strings.Contains(stderr.String(), "main.go:3:15: undefined: undefined") {
		t.Errorf("stderr: %s", &stderr)
	}
}
