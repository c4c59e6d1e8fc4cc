// Package checkpointtest is the conformance suite that every checkpoint.Storage passes unchanged.
//
// It hides nothing and owns nothing but the files it makes below the prefix "suite/". What only a power loss shows, that
// a file is durable when Create returns, it cannot show.
package checkpointtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weir-run/weir/statestore/checkpoint"
)

// Run holds a storage to the contract; open returns an empty one.
func Run(t *testing.T, open func(t *testing.T) checkpoint.Storage) {
	for _, test := range []struct {
		name string
		run  func(s subject)
	}{
		{"ACreatedFileReadsBack", readsBack},
		{"ReadAtReachesEveryPart", readsParts},
		{"ANameIsTakenOnce", takenOnce},
		{"OfManyCreatorsOneWins", oneWins},
		{"AFailedWriteLeavesNothing", failedWrite},
		{"NothingIsSeenBeforeItIsWhole", unseenUntilWhole},
		{"AMissingFileIsErrNotExist", missing},
		{"ListIsSortedAndByPrefix", lists},
		{"DeleteRemovesAndForgivesAbsence", deletes},
		{"AnOpenFileOutlivesItsDeletion", openOutlives},
		{"AFileEndsWhereItsWritingEnded", endsWhereWritten},
		{"NamesThatLeaveTheStorageAreRefused", refusesNames},
		{"AnEndedContextEndsEverything", endedContext},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(subject{t, open(t), t.Context()}) })
	}
}

type subject struct {
	*testing.T
	checkpoint.Storage
	ctx context.Context
}

func (s subject) create(name, content string) {
	s.Helper()
	if err := s.Create(s.ctx, name, text(content)); err != nil {
		s.Fatalf("create: %v", err)
	}
}

func text(content string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}
}

func (s subject) read(name string) string {
	s.Helper()
	f, err := s.Open(s.ctx, name)
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err := errors.Join(err, f.Close()); err != nil {
		s.Fatalf("read: %v", err)
	}
	return string(b)
}

func (s subject) list(prefix string) []string {
	s.Helper()
	names, err := s.List(s.ctx, prefix)
	if err != nil {
		s.Fatalf("list: %v", err)
	}
	return names
}

func readsBack(s subject) {
	s.create("suite/a", "content")
	s.create("suite/deep/er/b", "")
	if got := s.read("suite/a"); got != "content" {
		s.Errorf("read %q", got)
	}
	if got := s.read("suite/deep/er/b"); got != "" {
		s.Errorf("read %q of an empty file", got)
	}
}

func readsParts(s subject) {
	content := strings.Repeat("0123456789", 100_000)
	s.create("suite/a", content)
	f, err := s.Open(s.ctx, "suite/a")
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	if f.Size() != int64(len(content)) {
		s.Fatalf("size %d", f.Size())
	}
	for _, at := range []int{0, 1, 65_535, 500_000, len(content) - 7} {
		b := make([]byte, 7)
		if n, err := f.ReadAt(b, int64(at)); n != len(b) || string(b) != content[at:at+7] {
			s.Errorf("at %d: %d bytes %q, error %v", at, n, b[:n], err)
		}
	}
	if n, err := f.ReadAt(make([]byte, 8), int64(len(content)-3)); n != 3 || err != io.EOF {
		s.Errorf("over the end: %d bytes, error %v", n, err)
	}
}

func takenOnce(s subject) {
	s.create("suite/a", "first")
	if err := s.Create(s.ctx, "suite/a", text("second")); !errors.Is(err, checkpoint.ErrExists) {
		s.Errorf("the second create: %v", err)
	}
	if got := s.read("suite/a"); got != "first" {
		s.Errorf("read %q", got)
	}
	if got := s.list("suite/"); !slices.Equal(got, []string{"suite/a"}) {
		s.Errorf("listed %q", got)
	}
}

func oneWins(s subject) {
	var wait sync.WaitGroup
	var won atomic.Int32
	var winner atomic.Value
	for i := range 8 {
		wait.Go(func() {
			content := strings.Repeat(fmt.Sprint(i), 10_000)
			err := s.Create(s.ctx, "suite/a", text(content))
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(content)
			case !errors.Is(err, checkpoint.ErrExists):
				s.Errorf("create: %v", err)
			}
		})
	}
	wait.Wait()
	if won.Load() != 1 {
		s.Fatalf("%d creators won", won.Load())
	}
	if got := s.read("suite/a"); got != winner.Load() {
		s.Errorf("the file is not the winner's: %.10q", got)
	}
}

var errWriter = errors.New("the writer gave up")

func failedWrite(s subject) {
	err := s.Create(s.ctx, "suite/a", func(w io.Writer) error {
		_, err := w.Write(bytes.Repeat([]byte{1}, 1<<20))
		return errors.Join(err, errWriter)
	})
	if !errors.Is(err, errWriter) {
		s.Errorf("create: %v", err)
	}
	if got := s.list(""); len(got) != 0 {
		s.Errorf("listed %q", got)
	}
	s.create("suite/a", "later")
}

func unseenUntilWhole(s subject) {
	err := s.Create(s.ctx, "suite/a", func(w io.Writer) error {
		if _, err := w.Write(bytes.Repeat([]byte{1}, 1<<20)); err != nil {
			return err
		}
		if _, err := s.Open(s.ctx, "suite/a"); !errors.Is(err, checkpoint.ErrNotExist) {
			s.Errorf("open while it is written: %v", err)
		}
		if got := s.list(""); len(got) != 0 {
			s.Errorf("listed %q while it is written", got)
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
}

func missing(s subject) {
	s.create("suite/a/b", "")
	for _, name := range []string{"suite/b", "other", "suite/a", "suite/a/b/c"} {
		if _, err := s.Open(s.ctx, name); !errors.Is(err, checkpoint.ErrNotExist) {
			s.Errorf("open %s: %v", name, err)
		}
	}
}

func lists(s subject) {
	for _, name := range []string{"suite/b", "suite/a-2", "suite/a-1", "suite/a/x", "suite/c/y/z", "tsuite"} {
		s.create(name, "")
	}
	for prefix, want := range map[string][]string{
		"":           {"suite/a-1", "suite/a-2", "suite/a/x", "suite/b", "suite/c/y/z", "tsuite"},
		"suite/":     {"suite/a-1", "suite/a-2", "suite/a/x", "suite/b", "suite/c/y/z"},
		"suite/a":    {"suite/a-1", "suite/a-2", "suite/a/x"},
		"suite/a-":   {"suite/a-1", "suite/a-2"},
		"suite/c/y/": {"suite/c/y/z"},
		"suite/none": nil,
		"none/":      nil,
	} {
		if got := s.list(prefix); !slices.Equal(got, want) {
			s.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
}

func deletes(s subject) {
	s.create("suite/a", "")
	for range 2 {
		if err := s.Delete(s.ctx, "suite/a"); err != nil {
			s.Errorf("delete: %v", err)
		}
	}
	if err := s.Delete(s.ctx, "none/at/all"); err != nil {
		s.Errorf("delete what is not there: %v", err)
	}
	if got := s.list(""); len(got) != 0 {
		s.Errorf("listed %q", got)
	}
	s.create("suite/a", "again")
}

func openOutlives(s subject) {
	s.create("suite/a", "content")
	f, err := s.Open(s.ctx, "suite/a")
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	if err := s.Delete(s.ctx, "suite/a"); err != nil {
		s.Fatal(err)
	}
	b := make([]byte, 7)
	if n, _ := f.ReadAt(b, 0); string(b[:n]) != "content" {
		s.Errorf("read %q", b[:n])
	}
	for i := range 8 { // a storage may use the room of what is deleted
		s.create(fmt.Sprint("suite/b-", i), "another")
	}
	if n, _ := f.ReadAt(b, 0); string(b[:n]) != "content" {
		s.Errorf("read %q after others were created", b[:n])
	}
}

// endsWhereWritten makes files of falling and rising length after others are deleted.
func endsWhereWritten(s subject) {
	for _, length := range []int{100_000, 70, 0, 5_000, 4_096, 3, 700_000, 1, 100} {
		content := strings.Repeat(fmt.Sprint(length%10), length)
		for _, name := range []string{"suite/a", "suite/b"} {
			s.create(name, content)
		}
		for _, name := range []string{"suite/a", "suite/b"} {
			if got := s.read(name); got != content {
				s.Errorf("%d bytes came back as %d, or others", length, len(got))
			}
			if err := s.Delete(s.ctx, name); err != nil {
				s.Fatal(err)
			}
		}
	}
}

func refusesNames(s subject) {
	for _, name := range []string{"", "/", "/a", "a/", "a//b", "..", "../a", "a/../../b", "a/./b", ".a", "a\\b", "a\x00"} {
		if err := s.Create(s.ctx, name, text("")); err == nil {
			s.Errorf("created %q", name)
		}
		if f, err := s.Open(s.ctx, name); err == nil {
			s.Errorf("opened %q: %v", name, f.Close())
		}
	}
	if got := s.list(""); len(got) != 0 {
		s.Errorf("listed %q", got)
	}
}

func endedContext(s subject) {
	s.create("suite/a", "content")
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, openErr := s.Open(ctx, "suite/a")
	_, listErr := s.List(ctx, "suite/")
	for call, err := range map[string]error{
		"create": s.Create(ctx, "suite/b", text("")),
		"open":   openErr,
		"list":   listErr,
		"delete": s.Delete(ctx, "suite/a"),
	} {
		if !errors.Is(err, context.Canceled) {
			s.Errorf("%s: %v", call, err)
		}
	}
	if got := s.list(""); !slices.Equal(got, []string{"suite/a"}) {
		s.Errorf("listed %q", got)
	}
}
