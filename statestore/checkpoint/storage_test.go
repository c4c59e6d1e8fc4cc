package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

func TestAFileOfAnySizeComesBackWhole(t *testing.T) {
	d, err := checkpoint.Directory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const page, block = 4 << 10, 512 << 10
	for _, size := range []int{0, 1, page - 1, page, page + 1, block - 1, block, block + 1, block + page, 3*block - 1, 3 * block, 3*block + page + 1} {
		for _, piece := range []int{333, page, block + 77} {
			content := make([]byte, size)
			for i := range content {
				content[i] = byte(i * 31 >> 3)
			}
			name := fmt.Sprintf("size-%d-in-%d", size, piece)
			err := d.Create(t.Context(), name, func(w io.Writer) error {
				for part := range slices.Chunk(content, piece) {
					if _, err := w.Write(part); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			f, err := d.Open(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			read, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
			if err != nil || !bytes.Equal(read, content) {
				t.Errorf("%s: %d bytes came back, or others (%v)", name, len(read), err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func BenchmarkDirectoryCreate16KiB(b *testing.B) { benchmarkCreate(b, 16<<10) }

func BenchmarkDirectoryCreate16MiB(b *testing.B) { benchmarkCreate(b, 16<<20) }

// benchmarkCreate also tells the CPU time of the process, which waits for the disk in between.
func benchmarkCreate(b *testing.B, size int) {
	d, err := checkpoint.Directory(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("v"), min(size, 64<<10)) // as outboxes come
	content := func(w io.Writer) error {
		for written := 0; written < size; written += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return err
			}
		}
		return nil
	}
	b.ReportAllocs()
	b.SetBytes(int64(size))
	n := 0
	before := cpuTime(b)
	for b.Loop() {
		n++
		name := "file-" + strconv.Itoa(n)
		if err := d.Create(b.Context(), name, content); err != nil {
			b.Fatal(err)
		}
		if err := d.Delete(b.Context(), name); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(n), "cpu-ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
