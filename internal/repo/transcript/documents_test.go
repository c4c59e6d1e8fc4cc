//go:build docs

package transcript_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/internal/repo"
	"github.com/weir-run/weir/internal/repo/transcript"
)

// Every document runs in an empty directory, with bin/weir in the path. The page of an example runs in a copy of the
// repository, at the place of the example, because its commands name files beside it.
func TestDocumentsDoWhatTheyShow(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(root, "bin")
	if _, err := os.Stat(filepath.Join(bin, "weir")); err != nil {
		t.Fatalf("run make build first: %v", err)
	}
	tree, err := repo.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "NO_COLOR=1")
	for _, f := range tree.Files {
		if !strings.HasSuffix(f.Path, ".md") || strings.Contains(f.Path, "/testdata/") {
			continue
		}
		steps := transcript.Parse(string(f.Text))
		if len(steps) == 0 {
			continue
		}
		t.Run(f.Path, func(t *testing.T) {
			dir := t.TempDir()
			if strings.HasPrefix(f.Path, "examples/") {
				copyTree(t, tree, dir)
				dir = filepath.Join(dir, filepath.FromSlash(f.Dir()))
			}
			runDocument(t, f.Path, steps, dir, env)
		})
	}
}

// runDocument stops at the first step that fails: those behind it build on it.
func runDocument(t *testing.T, name string, steps []transcript.Step, dir string, env []string) {
	shell, err := transcript.Start(dir, env)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := shell.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, step := range steps {
		t.Logf("%s:%d: $ %s", name, step.Line, step.Command)
		got, err := shell.Run(t.Context(), step)
		if err != nil {
			t.Fatalf("%s:%d: %s: %v\nwant:\n%s\ngot:\n%s", name, step.Line, step.Command, err, strings.Join(step.Want, "\n"), got)
		}
	}
}

func copyTree(t *testing.T, tree *repo.Tree, dir string) {
	t.Helper()
	for _, f := range tree.Files {
		to := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, f.Text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
