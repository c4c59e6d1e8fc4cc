package deploy_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/statestore/checkpoint"
)

func open(t *testing.T, dir string) *deploy.Modules {
	t.Helper()
	m, err := deploy.OpenModules(dir, prepare)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAModuleIsStoredOnceUnderItsDigest(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	const module = "\x00asm and the rest"
	first, err := m.Put(t.Context(), strings.NewReader(module))
	if err != nil || first.Existed || first.Bytes != int64(len(module)) {
		t.Fatalf("first: %+v, %v", first, err)
	}
	second, err := m.Put(t.Context(), strings.NewReader(module))
	if err != nil || !second.Existed || second.Digest != first.Digest {
		t.Fatalf("second: %+v, %v", second, err)
	}
	got, err := open(t, dir).Get(first.Digest)
	if err != nil || string(got) != module {
		t.Fatalf("got %q, %v", got, err)
	}
	if files := names(t, dir); len(files) != 1 {
		t.Fatalf("files %v", files)
	}
}

func TestUploadsOfOneModuleAtOnceAllSucceed(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	const uploads = 8
	errs := make([]error, uploads)
	var wg sync.WaitGroup
	for i := range uploads {
		wg.Go(func() { _, errs[i] = m.Put(t.Context(), strings.NewReader("\x00asm same")) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if files := names(t, dir); len(files) != 1 {
		t.Fatalf("files %v", files)
	}
}

func TestABrokenOrRefusedUploadLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	broken := io.MultiReader(strings.NewReader("\x00asm half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, err := m.Put(t.Context(), broken); err == nil {
		t.Error("a broken upload was stored")
	}
	if _, err := m.Put(t.Context(), strings.NewReader("\x00asm bad")); err == nil {
		t.Error("a refused module was stored")
	}
	if files := names(t, dir); len(files) != 0 {
		t.Errorf("files %v", files)
	}
}

func TestWhatAKilledUploadLeftIsSweptAtOpen(t *testing.T) {
	dir := t.TempDir()
	stored, err := open(t, dir).Put(t.Context(), strings.NewReader("\x00asm kept"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "upload-123.tmp"), []byte("\x00asm ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := open(t, dir)
	if files := names(t, dir); len(files) != 1 || !m.Has(stored.Digest) {
		t.Fatalf("files %v", files)
	}
}

func TestADamagedModuleIsNamedAndNotReturned(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	stored, err := m.Put(t.Context(), strings.NewReader("\x00asm good"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, names(t, dir)[0])
	if err := os.WriteFile(file, []byte("\x00asm evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = m.Get(stored.Digest)
	if !errors.Is(err, checkpoint.ErrDamaged) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "deploy the same module again") {
		t.Fatalf("got %v", err)
	}
}

func TestAnUploadReplacesADamagedModule(t *testing.T) {
	dir := t.TempDir()
	const module = "\x00asm good"
	stored, err := open(t, dir).Put(t.Context(), strings.NewReader(module))
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []string{"\x00asm evil", "\x00asm", ""} {
		if err := os.WriteFile(filepath.Join(dir, names(t, dir)[0]), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		m := open(t, dir)
		if again, err := m.Put(t.Context(), strings.NewReader(module)); err != nil || again.Existed || again.Digest != stored.Digest {
			t.Errorf("%q: %+v, %v", damaged, again, err)
		}
		if got, err := m.Get(stored.Digest); err != nil || string(got) != module {
			t.Errorf("%q: got %q, %v", damaged, got, err)
		}
	}
}

func TestAReadOnlyDirectoryIsAnErrorThatNamesIt(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Put(t.Context(), strings.NewReader("\x00asm x")); err == nil || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v", err)
	}
}

func TestSweepKeepsWhatIsUsedAndWhatIsYoung(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir)
	used, err := m.Put(t.Context(), strings.NewReader("\x00asm used"))
	if err != nil {
		t.Fatal(err)
	}
	unused, err := m.Put(t.Context(), strings.NewReader("\x00asm unused"))
	if err != nil {
		t.Fatal(err)
	}
	keep := map[string]bool{used.Digest: true}
	if err := m.Sweep(keep, time.Now().Add(-time.Hour)); err != nil || !m.Has(unused.Digest) {
		t.Fatalf("a young module was swept, or %v", err)
	}
	if err := m.Sweep(keep, time.Now().Add(time.Hour)); err != nil || m.Has(unused.Digest) || !m.Has(used.Digest) {
		t.Fatalf("the sweep left the wrong modules, or %v", err)
	}
	if _, err := m.Describe(context.Background(), unused.Digest); !errors.Is(err, deploy.ErrNoModule) {
		t.Fatalf("a swept module is still described: %v", err)
	}
}
