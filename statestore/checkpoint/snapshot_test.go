package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore/checkpoint"
)

type section struct {
	kind  checkpoint.SectionKind
	task  int
	group functions.KeyGroup
	name  string
	bytes string
}

var everyKind = []section{
	{checkpoint.KindDelta, 3, 77, "", "a delta"},
	{checkpoint.KindBase, 0, 32767, "", "a base"},
	{checkpoint.KindPositions, -1, 0, "clicks", "positions"},
	{checkpoint.KindMailbox, 1, 0, "", ""},
	{checkpoint.KindRecorded, 1, 0, "", "recorded"},
	{checkpoint.KindQueued, 1 << 20, 0, "", "queued"},
	{checkpoint.KindOutbox, 1, 0, "weir.uid.lane-1", "records"},
	{checkpoint.KindMeta, 1, 0, "timers", "meta"},
}

// encode makes a snapshot file.
func encode(t testing.TB, sections []section) (content []byte, ref checkpoint.FileRef) {
	t.Helper()
	var out bytes.Buffer
	w := checkpoint.NewWriter(&out)
	for _, s := range sections {
		half := len(s.bytes) / 2
		if err := w.Section(s.kind, s.task, s.group, s.name, []byte(s.bytes[:half]), []byte(s.bytes[half:])); err != nil {
			t.Fatal(err)
		}
	}
	ref.Name = "snapshot"
	if err := w.Close(&ref); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), ref
}

func store(t testing.TB, name string, content []byte) *checkpoint.MemoryStorage {
	t.Helper()
	s := &checkpoint.MemoryStorage{}
	if err := s.Create(t.Context(), name, text(string(content))); err != nil {
		t.Fatal(err)
	}
	return s
}

// decode reads a whole snapshot file.
func decode(t testing.TB, storage checkpoint.Storage, ref checkpoint.FileRef) ([]section, error) {
	t.Helper()
	s, err := checkpoint.OpenSnapshot(t.Context(), storage, ref)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var sections []section
	for _, found := range s.Sections() {
		b, err := s.Read(found)
		if err != nil {
			return nil, err
		}
		sections = append(sections, section{found.Kind, found.Task, found.Group, found.Name, string(b)})
	}
	return sections, nil
}

func TestASnapshotReadsBackAsItWasWritten(t *testing.T) {
	large := []section{{checkpoint.KindDelta, 0, 1, "", strings.Repeat("v", 3<<20)}}
	for i := range 5000 { // a footer beyond what is read at first
		large = append(large, section{checkpoint.KindMeta, i, 0, fmt.Sprint("name ", i), fmt.Sprint(i)})
	}
	for name, want := range map[string][]section{"every kind": everyKind, "empty": nil, "large": large} {
		content, ref := encode(t, want)
		if ref.Length != int64(len(content)) {
			t.Errorf("%s: length %d of %d", name, ref.Length, len(content))
		}
		got, err := decode(t, store(t, "snapshot", content), ref)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d sections, error %v", name, len(got), err)
		}
	}
}

func TestEveryFlippedBitOfASnapshotIsDetected(t *testing.T) {
	content, ref := encode(t, everyKind)
	storage := store(t, "snapshot", content)
	for bit := range 8 * len(content) {
		storage.Flip("snapshot", bit)
		_, err := decode(t, storage, ref)
		if !errors.Is(err, checkpoint.ErrDamaged) && !errors.Is(err, checkpoint.ErrNewer) {
			t.Errorf("bit %d of byte %d: %v", bit%8, bit/8, err)
		} else if !strings.Contains(err.Error(), "snapshot snapshot: ") {
			t.Errorf("the error does not name the file: %v", err)
		}
		storage.Flip("snapshot", bit)
	}
	if _, err := decode(t, storage, ref); err != nil {
		t.Fatalf("the whole file: %v", err)
	}
}

func TestASnapshotThatIsTornMissingOrAnotherIsDamaged(t *testing.T) {
	content, ref := encode(t, everyKind)
	for size := range len(content) {
		storage := store(t, "snapshot", content[:size])
		if _, err := decode(t, storage, ref); !errors.Is(err, checkpoint.ErrDamaged) {
			t.Errorf("%d bytes: %v", size, err)
		}
		short := ref
		short.Length = int64(size)
		if _, err := decode(t, storage, short); !errors.Is(err, checkpoint.ErrDamaged) {
			t.Errorf("%d bytes as its length says: %v", size, err)
		}
	}
	other, _ := encode(t, append(everyKind[:7:7], section{checkpoint.KindMeta, 1, 0, "timers", "atem"}))
	if _, err := decode(t, store(t, "snapshot", other), ref); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("another file of the same length: %v", err)
	}
	longer := ref
	longer.Length++
	if _, err := decode(t, store(t, "snapshot", content), longer); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("a file shorter than its reference says: %v", err)
	}
	_, err := decode(t, &checkpoint.MemoryStorage{}, ref)
	if !errors.Is(err, checkpoint.ErrDamaged) || !errors.Is(err, checkpoint.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestASnapshotOfALaterFormatIsNewer(t *testing.T) {
	content, ref := encode(t, everyKind)
	content[4]++
	if _, err := decode(t, store(t, "snapshot", content), ref); !errors.Is(err, checkpoint.ErrNewer) {
		t.Error(err)
	}
}

func TestAWriterPassesErrorsOn(t *testing.T) {
	gone := errors.New("disk gone")
	w := checkpoint.NewWriter(writerFunc(func([]byte) (int, error) { return 0, gone }))
	if err := w.Section(checkpoint.KindMeta, 0, 0, "", nil); !errors.Is(err, gone) {
		t.Errorf("section: %v", err)
	}
	w = checkpoint.NewWriter(io.Discard)
	if err := w.Section(checkpoint.KindMeta, 0, 0, strings.Repeat("n", 1025), nil); err == nil {
		t.Error("a name of 1025 bytes is written")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// golden compares content with a file that a released version wrote; -update would hide a change of format, so there is
// none: a change of format makes a new file.
func golden(t *testing.T, file string, content []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	want, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Fatalf("%s was missing and is written; review and commit it", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(content, want) {
		t.Errorf("%s: what is written is not the format of version 1 any more:\n%q\n%q", path, content, want)
	}
}

func TestTheSnapshotFormatIsThatOfVersion1(t *testing.T) {
	content, _ := encode(t, everyKind)
	golden(t, "snapshot-v1", content)
}

func FuzzSnapshot(f *testing.F) {
	content, ref := encode(f, everyKind)
	f.Add(content, ref.CRC)
	empty, ref := encode(f, nil)
	f.Add(empty, ref.CRC)
	f.Fuzz(func(t *testing.T, content []byte, crc uint32) {
		// The checksum is made right, so that the parser behind it is reached.
		if n := len(content); n >= 32 {
			from := n - 24 - int(uint32(content[n-16])|uint32(content[n-15])<<8)
			if from >= 8 {
				sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
				sum.Write(content[:8])
				sum.Write(content[from : n-24])
				sum.Write(content[n-24 : n-8])
				crc = sum.Sum32()
				content = bytes.Clone(content)
				for i := range 4 {
					content[n-8+i] = byte(crc >> (8 * i))
				}
			}
		}
		ref := checkpoint.FileRef{Name: "snapshot", Length: int64(len(content)), CRC: crc}
		sections, err := decode(t, store(t, "snapshot", content), ref)
		if err != nil {
			if !errors.Is(err, checkpoint.ErrDamaged) && !errors.Is(err, checkpoint.ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		total := 0
		for _, s := range sections {
			total += len(s.bytes)
		}
		if total > len(content) {
			t.Fatalf("%d bytes of sections in %d", total, len(content))
		}
	})
}
