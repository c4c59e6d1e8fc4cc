package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weir-run/weir/statestore/checkpoint"
)

func full(number uint64) *checkpoint.Manifest {
	return &checkpoint.Manifest{
		Format: 1, Number: number, Term: 3, Attempt: 2, UID: "ab12", Job: "ad-billing", Version: 4, KeyGroups: 128, Parallelism: 2,
		Time: time.Date(2026, 11, 21, 10, 0, 0, 123, time.UTC), Epoch: true,
		Bases:     []checkpoint.FileRef{{Name: "jobs/ab12/base-5", Length: 1 << 20, CRC: 7, Number: 5}},
		Deltas:    []checkpoint.FileRef{{Name: "jobs/ab12/snapshot-7", Length: 200, CRC: 8, Number: 7}},
		Snapshots: []checkpoint.FileRef{{Name: "jobs/ab12/snapshot-7", Length: 200, CRC: 8, Number: 7}},
		Lanes: []checkpoint.Lane{{ID: "weir.ab12.0", Cluster: "main", Task: 1, Published: 6, Cookie: []byte{1, 2},
			Outboxes: []checkpoint.Outbox{{Number: 7, File: checkpoint.FileRef{Name: "jobs/ab12/snapshot-7", Length: 200, CRC: 8}}}}},
	}
}

func TestAManifestReadsBackAsItWasWritten(t *testing.T) {
	b, err := checkpoint.EncodeManifest(full(7))
	if err != nil {
		t.Fatal(err)
	}
	got, err := checkpoint.DecodeManifest(b)
	if err != nil || !reflect.DeepEqual(got, full(7)) {
		t.Errorf("%+v, error %v", got, err)
	}
	golden(t, "manifest-v1", b)
}

func TestAManifestListsEveryFileItNamesOnce(t *testing.T) {
	m := full(7)
	m.Lanes[0].Outboxes = append(m.Lanes[0].Outboxes, checkpoint.Outbox{Number: 6, File: checkpoint.FileRef{Name: "jobs/ab12/snapshot-6"}})
	m.Snapshots = append(m.Snapshots, checkpoint.FileRef{Name: "jobs/ab12/snapshot-7-b"})
	var names []string
	for _, ref := range m.Files() {
		names = append(names, strings.TrimPrefix(ref.Name, "jobs/ab12/"))
	}
	if want := []string{"base-5", "snapshot-7", "snapshot-7-b", "snapshot-6"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}

func TestEveryFlippedBitOfAManifestIsDetected(t *testing.T) {
	whole, err := checkpoint.EncodeManifest(full(7))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := checkpoint.DecodeManifest(b); !errors.Is(err, checkpoint.ErrDamaged) {
			t.Errorf("bit %d of byte %d, %q: %v", bit%8, bit/8, b[bit/8], err)
		}
	}
	for size := range whole {
		if _, err := checkpoint.DecodeManifest(whole[:size]); !errors.Is(err, checkpoint.ErrDamaged) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestAManifestOfALaterFormatIsNewer(t *testing.T) {
	m := full(7)
	m.Format = checkpoint.ManifestVersion + 1
	b, err := checkpoint.EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checkpoint.DecodeManifest(b); !errors.Is(err, checkpoint.ErrNewer) {
		t.Error(err)
	}
}

func FuzzManifest(f *testing.F) {
	b, err := checkpoint.EncodeManifest(full(7))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	held, err := checkpoint.EncodeManifest(inlined(f, 7))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(held)
	f.Add([]byte("{}\nweir-manifest 1 3 00000000\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := checkpoint.DecodeManifest(b)
		if err != nil {
			if !errors.Is(err, checkpoint.ErrDamaged) && !errors.Is(err, checkpoint.ErrNewer) {
				t.Fatal(err)
			}
			return
		}
		again, err := checkpoint.EncodeManifest(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := checkpoint.DecodeManifest(again); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v, error %v", got, err)
		}
	})
}

// begin starts a term.
func begin(t testing.TB, storage checkpoint.Storage) (*checkpoint.Log, *checkpoint.Manifest) {
	t.Helper()
	log := checkpoint.OpenLog(storage, "jobs/ab12")
	latest, err := log.Latest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return log, latest
}

func appendTo(t testing.TB, log *checkpoint.Log, number uint64, files ...string) {
	t.Helper()
	m := &checkpoint.Manifest{Number: number}
	for _, file := range files {
		m.Deltas = append(m.Deltas, checkpoint.FileRef{Name: file})
	}
	if err := log.Append(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, storage checkpoint.Storage, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := storage.Create(t.Context(), name, text(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheLatestManifestIsTheHighest(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	create(t, storage, "jobs/ab12x/manifest-9", "jobs/other/manifest-0000000000000009")
	log, latest := begin(t, storage)
	if latest != nil {
		t.Fatalf("%+v of an empty log", latest)
	}
	for number := range uint64(12) {
		appendTo(t, log, number+1)
	}
	log, latest = begin(t, storage)
	if latest == nil || latest.Number != 12 || latest.Format != 1 {
		t.Fatalf("latest %+v", latest)
	}
	if numbers, err := log.List(t.Context()); err != nil || len(numbers) != 12 || numbers[0] != 1 || numbers[11] != 12 {
		t.Errorf("numbers %v, error %v", numbers, err)
	}
	if m, err := log.Get(t.Context(), 5); err != nil || m.Number != 5 {
		t.Errorf("manifest %+v, error %v", m, err)
	}
	if _, err := log.Get(t.Context(), 13); !errors.Is(err, checkpoint.ErrNotExist) {
		t.Errorf("manifest 13: %v", err)
	}
}

func TestALogMayBeginAboveOne(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	log, _ := begin(t, storage)
	appendTo(t, log, 41)
	appendTo(t, log, 42)
	if _, latest := begin(t, storage); latest.Number != 42 {
		t.Errorf("latest %d", latest.Number)
	}
}

func TestADamagedLogIsRefusedByNameAndNothingIsGuessed(t *testing.T) {
	name := func(number int) string { return fmt.Sprintf("jobs/ab12/manifest-%016d", number) }
	for what, test := range map[string]struct {
		damage func(*checkpoint.MemoryStorage)
		names  string
	}{
		"the highest has a flipped bit": {func(s *checkpoint.MemoryStorage) { s.Flip(name(3), 77) }, name(3)},
		"the highest is torn":           {func(s *checkpoint.MemoryStorage) { s.Tear(name(3), 20) }, name(3)},
		"the highest is empty":          {func(s *checkpoint.MemoryStorage) { s.Tear(name(3), 0) }, name(3)},
		"one is missing":                {func(s *checkpoint.MemoryStorage) { _ = s.Delete(t.Context(), name(2)) }, name(2)},
		"one has a strange name":        {func(s *checkpoint.MemoryStorage) { create(t, s, "jobs/ab12/manifest-4") }, "manifest-4"},
		"one has the wrong number": {func(s *checkpoint.MemoryStorage) {
			b, _ := checkpoint.EncodeManifest(full(7))
			create(t, s)
			_ = s.Create(t.Context(), name(4), text(string(b)))
		}, name(4)},
	} {
		storage := &checkpoint.MemoryStorage{}
		log, _ := begin(t, storage)
		for number := range uint64(3) {
			appendTo(t, log, number+1)
		}
		test.damage(storage)
		latest, err := checkpoint.OpenLog(storage, "jobs/ab12").Latest(t.Context())
		if !errors.Is(err, checkpoint.ErrDamaged) || latest != nil || !strings.Contains(err.Error(), test.names) {
			t.Errorf("%s: latest %+v, error %v", what, latest, err)
		}
	}
}

func TestANumberTakenByAnotherCoordinatorEndsTheTerm(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	paused, _ := begin(t, storage)
	appendTo(t, paused, 1)
	leader, _ := begin(t, storage)
	appendTo(t, leader, 2)
	if err := paused.Append(t.Context(), &checkpoint.Manifest{Number: 2}); !errors.Is(err, checkpoint.ErrExists) {
		t.Errorf("append of a taken number: %v", err)
	}
	if err := paused.Append(t.Context(), &checkpoint.Manifest{Number: 2}); err == nil {
		t.Error("a term went on after its end")
	}
	if err := paused.Sweep(t.Context(), 1, func(string) bool { return false }); err == nil {
		t.Error("a term that has ended sweeps")
	}
	appendTo(t, leader, 3)
}

func TestAnUnclearAppendEndsTheTerm(t *testing.T) {
	lost := errors.New("answer lost")
	for _, step := range []string{"create", "write", "sync", "ack"} {
		storage := &checkpoint.MemoryStorage{}
		log, _ := begin(t, storage)
		appendTo(t, log, 1)
		storage.Fail = func(at, _ string) error {
			if at == step {
				return lost
			}
			return nil
		}
		if err := log.Append(t.Context(), &checkpoint.Manifest{Number: 2}); !errors.Is(err, lost) || errors.Is(err, checkpoint.ErrExists) {
			t.Errorf("%s: %v", step, err)
		}
		storage.Fail = nil
		if err := log.Append(t.Context(), &checkpoint.Manifest{Number: 2}); !errors.Is(err, lost) {
			t.Errorf("%s: the next append: %v", step, err)
		}
		storage.Crash()
		next, latest := begin(t, storage) // whatever the storage kept is whole
		appendTo(t, next, latest.Number+1)
	}
}

func TestSweepKeepsWhatTheKeptManifestsName(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	create(t, storage, "jobs/ab12/orphan", "jobs/other/file", "jobs/ab12/busy")
	log, _ := begin(t, storage)
	create(t, storage, "jobs/ab12/base", "jobs/ab12/d1", "jobs/ab12/d2", "jobs/ab12/d3", "jobs/ab12/in-progress")
	appendTo(t, log, 1, "jobs/ab12/base", "jobs/ab12/d1")
	appendTo(t, log, 2, "jobs/ab12/base", "jobs/ab12/d2")
	appendTo(t, log, 3, "jobs/ab12/base", "jobs/ab12/d3", "jobs/other/file")
	busy := func(name string) bool { return name == "jobs/ab12/busy" }
	if err := log.Sweep(t.Context(), 2, busy); err != nil {
		t.Fatal(err)
	}
	want := []string{"jobs/ab12/base", "jobs/ab12/busy", "jobs/ab12/d2", "jobs/ab12/d3", "jobs/ab12/in-progress",
		"jobs/ab12/manifest-0000000000000002", "jobs/ab12/manifest-0000000000000003", "jobs/other/file"}
	if got, _ := storage.List(t.Context(), ""); !slices.Equal(got, want) {
		t.Errorf("left %q", got)
	}
	log, _ = begin(t, storage)
	appendTo(t, log, 4)
	if err := log.Sweep(t.Context(), 1, func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if got, _ := storage.List(t.Context(), ""); !slices.Equal(got, []string{"jobs/ab12/manifest-0000000000000004", "jobs/other/file"}) {
		t.Errorf("left %q", got)
	}
}

func TestSweepDeletesNothingWhenAKeptManifestIsDamaged(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	log, _ := begin(t, storage)
	create(t, storage, "jobs/ab12/d1", "jobs/ab12/orphan")
	for number := range uint64(4) {
		appendTo(t, log, number+1, "jobs/ab12/d1")
	}
	log, _ = begin(t, storage)
	storage.Flip("jobs/ab12/manifest-0000000000000003", 9)
	before, _ := storage.List(t.Context(), "")
	if err := log.Sweep(t.Context(), 2, func(string) bool { return false }); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("sweep: %v", err)
	}
	if after, _ := storage.List(t.Context(), ""); !slices.Equal(before, after) {
		t.Errorf("left %q", after)
	}
}

func TestVerifyNamesEveryFileThatIsMissingOrDamaged(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	content, ref := encode(t, everyKind)
	var m checkpoint.Manifest
	for _, name := range []string{"good", "torn", "flipped", "missing"} {
		if name != "missing" {
			if err := storage.Create(t.Context(), name, text(string(content))); err != nil {
				t.Fatal(err)
			}
		}
		ref.Name = name
		m.Bases = append(m.Bases, ref)
	}
	storage.Tear("torn", len(content)-1)
	storage.Flip("flipped", 8*9) // in a section
	log := checkpoint.OpenLog(storage, "jobs/ab12")
	for deep, want := range map[bool][]string{false: {"torn", "missing"}, true: {"torn", "flipped", "missing"}} {
		err := log.Verify(t.Context(), &m, deep)
		if !errors.Is(err, checkpoint.ErrDamaged) {
			t.Fatalf("deep %v: %v", deep, err)
		}
		for _, name := range []string{"good", "torn", "flipped", "missing"} {
			if named := strings.Contains(err.Error(), "snapshot "+name+":"); named != slices.Contains(want, name) {
				t.Errorf("deep %v: %s is named: %v, in %v", deep, name, named, err)
			}
		}
	}
}

// A random history of terms, appends, failures, crashes and sweeps: whatever a manifest names that can be read is there.
func TestNothingThatAManifestNamesIsEverDeleted(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := &history{t: t, r: r}
		h.log, _ = begin(t, &h.storage)
		h.next = 1
		r.Repeat(map[string]func(*rapid.T){"epoch": h.epoch, "sweep": h.sweep, "": h.check})
	})
}

type history struct {
	t       *testing.T
	r       *rapid.T
	storage checkpoint.MemoryStorage
	log     *checkpoint.Log
	files   []string // named by the latest manifest
	made    int
	next    uint64
}

// epoch makes a file and appends a manifest that names it and some of the last one's: a fold let the others go.
func (h *history) epoch(*rapid.T) {
	h.made++
	file := fmt.Sprint("jobs/ab12/file-", h.made)
	create(h.t, &h.storage, file)
	named := append([]string{file}, h.files...)
	if n := rapid.IntRange(1, 4).Draw(h.r, "named"); len(named) > n {
		named = named[:n]
	}
	m := &checkpoint.Manifest{Number: h.next}
	for _, name := range named {
		m.Deltas = append(m.Deltas, checkpoint.FileRef{Name: name})
	}
	failing := rapid.SampledFrom([]string{"", "", "", "write", "sync", "ack"}).Draw(h.r, "fail")
	h.failAt(func(step string) bool { return step == failing })
	err := h.log.Append(h.t.Context(), m)
	h.storage.Fail = nil
	if err == nil {
		h.files, h.next = named, h.next+1
		return
	}
	h.storage.Crash()
	h.files, h.next = nil, 1
	var latest *checkpoint.Manifest
	if h.log, latest = begin(h.t, &h.storage); latest != nil {
		h.next = latest.Number + 1
		for _, ref := range latest.Deltas {
			h.files = append(h.files, ref.Name)
		}
	}
}

func (h *history) failAt(when func(step string) bool) {
	h.storage.Fail = func(step, _ string) error {
		if when(step) {
			return errors.New("injected")
		}
		return nil
	}
}

// sweep may be interrupted at any deletion.
func (h *history) sweep(*rapid.T) {
	keep := rapid.IntRange(1, 3).Draw(h.r, "keep")
	left := rapid.IntRange(0, 6).Draw(h.r, "deletions")
	interrupted := false
	h.failAt(func(step string) bool {
		if step == "delete" {
			left--
		}
		interrupted = interrupted || left < 0
		return step == "delete" && left < 0
	})
	err := h.log.Sweep(h.t.Context(), keep, func(string) bool { return false })
	h.storage.Fail = nil
	if (err != nil) != interrupted {
		h.r.Fatalf("sweep: %v, interrupted %v", err, interrupted)
	}
}

func (h *history) check(r *rapid.T) {
	numbers, err := h.log.List(h.t.Context())
	if err != nil {
		r.Fatal(err)
	}
	for _, number := range numbers {
		m, err := h.log.Get(h.t.Context(), number)
		if err != nil {
			r.Fatal(err)
		}
		for _, ref := range m.Files() {
			f, err := h.storage.Open(h.t.Context(), ref.Name)
			if err != nil {
				r.Fatalf("manifest %d: %v", number, err)
			}
			_ = f.Close()
		}
	}
}

func BenchmarkEncodeManifest(b *testing.B) {
	m := full(7)
	for i := range 64 {
		m.Deltas = append(m.Deltas, checkpoint.FileRef{Name: fmt.Sprint("jobs/ab12/snapshot-", i), Length: 4000, CRC: 77, Number: 7})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := checkpoint.EncodeManifest(m); err != nil {
			b.Fatal(err)
		}
	}
}
