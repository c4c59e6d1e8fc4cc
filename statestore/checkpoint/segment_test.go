package checkpoint_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weir-run/weir/statestore/checkpoint"
)

var twoSegments = []checkpoint.Segment{
	{File: checkpoint.FileRef{Name: "jobs/ab12/spill/3-2-1-tm", Length: 200, CRC: 8}, Taken: 7, From: 0, To: 64},
	{File: checkpoint.FileRef{Name: "jobs/ab12/spill/3-2-2-tm", Length: 300, CRC: 9}, From: 64, To: 128},
}

func TestASegmentReadsBackFromWhereItIsReferredTo(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	ref, err := checkpoint.CreateSegment(t.Context(), storage, "spill/1-1-1-tm", 3, [][]byte{[]byte("one"), []byte("two"), []byte("three")})
	if err != nil {
		t.Fatal(err)
	}
	for skip, want := range map[int64]string{0: "onetwothree", 3: "twothree", 11: ""} {
		got, err := checkpoint.ReadSegment(t.Context(), storage, &checkpoint.Segment{File: ref, Taken: skip, To: 1})
		if err != nil || string(got) != want {
			t.Errorf("from %d: %q %v, want %q", skip, got, err, want)
		}
	}
	if _, err := checkpoint.ReadSegment(t.Context(), storage, &checkpoint.Segment{File: ref, Taken: 12, To: 1}); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("from behind its end: %v", err)
	}
	other, err := checkpoint.CreateSegment(t.Context(), storage, "spill/1-1-1-tm", 3, nil)
	if !errors.Is(err, checkpoint.ErrExists) {
		t.Errorf("a second time: %+v %v", other, err)
	}
	content, err := storage.Open(t.Context(), ref.Name)
	if err != nil {
		t.Fatal(err)
	}
	whole := make([]byte, content.Size())
	if _, err := content.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	golden(t, "segment-v1", whole)
	for bit := range 8 * len(whole) {
		storage.Flip(ref.Name, bit)
		if _, err := checkpoint.ReadSegment(t.Context(), storage, &checkpoint.Segment{File: ref, To: 1}); !errors.Is(err, checkpoint.ErrDamaged) && !errors.Is(err, checkpoint.ErrNewer) {
			t.Errorf("bit %d of byte %d: %v", bit%8, bit/8, err)
		}
		storage.Flip(ref.Name, bit)
	}
}

func TestReferencesToSegmentsReadBackAsTheyWereWritten(t *testing.T) {
	b, err := checkpoint.EncodeSegments(twoSegments)
	if err != nil {
		t.Fatal(err)
	}
	got, err := checkpoint.DecodeSegments(b)
	if err != nil || !reflect.DeepEqual(got, twoSegments) {
		t.Errorf("%+v %v", got, err)
	}
	golden(t, "references-v1", b)
	for _, change := range []func(*checkpoint.Segment){
		func(s *checkpoint.Segment) { s.File.Name = "../manifest" },
		func(s *checkpoint.Segment) { s.Taken = -1 },
		func(s *checkpoint.Segment) { s.Taken = 201 },
		func(s *checkpoint.Segment) { s.To = s.From },
		func(s *checkpoint.Segment) { s.To = 1<<15 + 1 },
	} {
		bad := slices.Clone(twoSegments)
		change(&bad[0])
		if b, err = checkpoint.EncodeSegments(bad); err != nil {
			t.Fatal(err)
		}
		if _, err := checkpoint.DecodeSegments(b); !errors.Is(err, checkpoint.ErrDamaged) {
			t.Errorf("%+v: %v", bad[0], err)
		}
	}
}

func FuzzSegments(f *testing.F) {
	b, err := checkpoint.EncodeSegments(twoSegments)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("[{}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		segments, err := checkpoint.DecodeSegments(b)
		if err != nil {
			if !errors.Is(err, checkpoint.ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := checkpoint.EncodeSegments(segments)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := checkpoint.DecodeSegments(again); err != nil || !reflect.DeepEqual(got, segments) {
			t.Fatalf("%+v, error %v", got, err)
		}
	})
}

// withSegments is a manifest of the format that names segments.
func withSegments(number uint64) *checkpoint.Manifest {
	m := full(number)
	m.Format = 2
	m.Segments = []checkpoint.FileRef{{Name: "jobs/ab12/spill/3-2-1-tm", Length: 200, CRC: 8}, {Name: "jobs/ab12/spill/3-2-2-tm", Length: 300, CRC: 9}}
	return m
}

func TestAManifestWithSegmentsIsOfFormat2(t *testing.T) {
	b, err := checkpoint.EncodeManifest(withSegments(7))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest-v2", b)
	got, err := checkpoint.DecodeManifest(b)
	if err != nil || !reflect.DeepEqual(got, withSegments(7)) || len(got.Files()) != 4 {
		t.Fatalf("%+v %v", got, err)
	}
	storage := &checkpoint.MemoryStorage{}
	log := checkpoint.OpenLog(storage, "jobs/ab12")
	if _, err := log.Latest(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*checkpoint.Manifest{full(1), withSegments(2), full(3)} {
		want := 1
		if len(m.Segments) > 0 {
			want = 2
		}
		m.Format = 0
		if err := log.Append(t.Context(), m); err != nil || m.Format != want {
			t.Errorf("manifest %d has format %d, want %d: %v", m.Number, m.Format, want, err)
		}
	}
}

func TestFilesOfAnEndedAttemptAreReclaimedUnlessTheyAreNamed(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	log := checkpoint.OpenLog(storage, "jobs/ab12")
	if _, err := log.Latest(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"3-1-1-tm", "3-2-1-tm", "3-2-2-tm", "3-3-1-tm"} {
		if _, err := checkpoint.CreateSegment(t.Context(), storage, "jobs/ab12/spill/"+name, 0, [][]byte{bytes.Repeat([]byte("x"), 10)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Append(t.Context(), withSegments(1)); err != nil {
		t.Fatal(err)
	}
	ours := func(name string) bool { return strings.Contains(name, "/3-3-") }
	if err := errors.Join(log.Reclaim(t.Context(), "spill", ours), log.Sweep(t.Context(), 1, func(string) bool { return false })); err != nil {
		t.Fatal(err)
	}
	names, err := storage.List(t.Context(), "jobs/ab12/spill/")
	want := []string{"jobs/ab12/spill/3-2-1-tm", "jobs/ab12/spill/3-2-2-tm", "jobs/ab12/spill/3-3-1-tm"}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("left are %q %v, want %q", names, err, want)
	}
}
