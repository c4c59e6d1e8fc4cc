package checkpoint_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-run/weir/statestore/checkpoint"
	"github.com/weir-run/weir/statestore/checkpoint/checkpointtest"
)

func TestDirectoryMeetsTheContract(t *testing.T) {
	checkpointtest.Run(t, func(t *testing.T) checkpoint.Storage { return directory(t, filepath.Join(t.TempDir(), "made", "here")) })
}

func TestMemoryMeetsTheContract(t *testing.T) {
	checkpointtest.Run(t, func(t *testing.T) checkpoint.Storage { return &checkpoint.MemoryStorage{} })
}

func directory(t *testing.T, path string) *checkpoint.DirectoryStorage {
	t.Helper()
	d, err := checkpoint.Directory(path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func text(content string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}
}

func TestOpeningADirectoryRemovesOldUnfinishedFilesOnly(t *testing.T) {
	path := t.TempDir()
	old := filepath.Join(path, "jobs", ".tmp-1")
	young := filepath.Join(path, "jobs", ".tmp-2")
	if err := directory(t, path).Create(t.Context(), "jobs/a", text("a")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{old, young} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hour := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, hour, hour); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(path, "jobs", "a"), hour, hour); err != nil {
		t.Fatal(err)
	}
	d := directory(t, path)
	left, err := filepath.Glob(filepath.Join(path, "jobs", ".*"))
	if err != nil || len(left) != 1 || left[0] != young {
		t.Errorf("left %q, error %v; the young one may be another process's", left, err)
	}
	if names, err := d.List(t.Context(), ""); err != nil || strings.Join(names, " ") != "jobs/a" {
		t.Errorf("listed %q, error %v", names, err)
	}
}

func TestACreatedFileLeavesNoOtherBehind(t *testing.T) {
	path := t.TempDir()
	d := directory(t, path)
	for range 2 { // the second is refused
		_ = d.Create(t.Context(), "a", text("a"))
	}
	_ = d.Create(t.Context(), "b", func(io.Writer) error { return io.ErrClosedPipe })
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 1 || entries[0].Name() != "a" {
		t.Errorf("entries %v, error %v", entries, err)
	}
}

func TestADirectoryThatIsAFileIsRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, filepath.Join(path, "below")} {
		if _, err := checkpoint.Directory(path); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: %v", path, err)
		}
	}
}

func TestMemoryLosesAtACrashWhatWasNotSynced(t *testing.T) {
	lost := errors.New("power is gone")
	for step, want := range map[string]struct{ before, after bool }{
		"create": {false, false}, "write": {false, false}, "sync": {true, false}, "ack": {true, true},
	} {
		s := &checkpoint.MemoryStorage{Fail: func(at, name string) error {
			if at == step && name == "a" {
				return lost
			}
			return nil
		}}
		if err := s.Create(t.Context(), "a", text("content")); !errors.Is(err, lost) {
			t.Errorf("%s: %v", step, err)
		}
		exists := func() bool {
			f, err := s.Open(t.Context(), "a")
			return err == nil && f.Close() == nil
		}
		if got := exists(); got != want.before {
			t.Errorf("%s: exists %v before the crash", step, got)
		}
		s.Crash()
		if got := exists(); got != want.after {
			t.Errorf("%s: exists %v after the crash", step, got)
		}
	}
}

func TestAFullMemoryTakesNothingMore(t *testing.T) {
	s := &checkpoint.MemoryStorage{Capacity: 10}
	if err := s.Create(t.Context(), "a", text("12345678")); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), "b", text("123")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("create beyond the capacity: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), "b", text("123")); err != nil {
		t.Errorf("create after making room: %v", err)
	}
}

func BenchmarkDirectoryCreate16KiB(b *testing.B) {
	d, err := checkpoint.Directory(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	content := strings.Repeat("v", 16<<10)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if err := d.Create(b.Context(), "file-"+string(rune('a'+n%26))+time.Duration(n).String(), text(content)); err != nil {
			b.Fatal(err)
		}
	}
}
