package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// small is a snapshot file of a few bytes, with one change of key group 1.
func small(t testing.TB, name string, key int) (checkpoint.FileRef, []byte) {
	t.Helper()
	changes := statestore.NewBlockWriter(1, nil)
	k := fmt.Append(nil, key)
	changes.Add(&statestore.Entry{Group: 1, Hash: functions.Hash(k), Key: k, Value: []byte("x"), Present: true})
	var b bytes.Buffer
	w := checkpoint.NewWriter(&b)
	if err := w.Section(checkpoint.KindDelta, 0, 1, "", changes.Bytes()); err != nil {
		t.Fatal(err)
	}
	ref := checkpoint.FileRef{Name: "jobs/ab12/data/" + name}
	if err := w.Close(&ref); err != nil {
		t.Fatal(err)
	}
	return ref, b.Bytes()
}

// inlined is a manifest that holds its one file of changes.
func inlined(t testing.TB, number uint64) *checkpoint.Manifest {
	ref, content := small(t, "3-2-7-tm-delta", 1)
	m := full(number)
	m.Format, m.Deltas, m.Inline = 3, []checkpoint.FileRef{ref}, map[string][]byte{ref.Name: content}
	return m
}

func TestAManifestThatHoldsFilesIsOfFormat3(t *testing.T) {
	m := inlined(t, 7)
	b, err := checkpoint.EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest-v3", b)
	got, err := checkpoint.DecodeManifest(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("%+v %v", got, err)
	}
	for _, ref := range got.Files() {
		if ref.Name == m.Deltas[0].Name {
			t.Errorf("%s is said to be in the storage", ref.Name)
		}
	}
	log, _ := begin(t, &checkpoint.MemoryStorage{})
	m.Number, m.Format = 1, 0
	if err := log.Append(t.Context(), m); err != nil || m.Format != 3 {
		t.Errorf("format %d: %v", m.Format, err)
	}
}

func TestWhatAManifestHoldsIsRestoredVerifiedAndFoldedAsFilesAre(t *testing.T) {
	storage := &checkpoint.MemoryStorage{}
	held, content := small(t, "1-1-2-tm-delta", 2)
	stored, file := small(t, "1-1-1-tm", 1)
	if err := storage.Create(t.Context(), stored.Name, func(w io.Writer) error { _, err := w.Write(file); return err }); err != nil {
		t.Fatal(err)
	}
	m := &checkpoint.Manifest{Number: 1, Deltas: []checkpoint.FileRef{stored, held}, Inline: map[string][]byte{held.Name: content}}
	log, _ := begin(t, storage)
	if err := errors.Join(log.Append(t.Context(), m), log.Verify(t.Context(), m, true)); err != nil {
		t.Fatal(err)
	}
	restored := 0
	load := func(functions.KeyGroup, []byte) error { restored++; return nil }
	if err := checkpoint.Restore(t.Context(), storage, m, 0, 4, load); err != nil || restored != 2 {
		t.Errorf("%d blocks, %v", restored, err)
	}
	joined, err := checkpoint.MergeFiles(t.Context(), checkpoint.WithInline(storage, m.InlineOf(m.Deltas)), "jobs/ab12/base/1", m.Deltas, 0, 4)
	if err != nil || joined.Length == 0 {
		t.Errorf("%+v %v", joined, err)
	}
	m.Inline[held.Name] = bytes.Replace(content, []byte("x"), []byte("y"), 1)
	if err := log.Verify(t.Context(), m, true); !errors.Is(err, checkpoint.ErrDamaged) || !strings.Contains(err.Error(), held.Name) {
		t.Errorf("a changed byte: %v", err)
	}
}

func TestAManifestKeepsOnlyWhatItNames(t *testing.T) {
	m := inlined(t, 7)
	kept, content := small(t, "3-2-8-tm-delta", 2)
	next := full(8)
	next.Deltas = []checkpoint.FileRef{kept}
	next.KeepInline(m.Inline, map[string][]byte{kept.Name: content})
	if len(next.Inline) != 1 || !bytes.Equal(next.Inline[kept.Name], content) {
		t.Errorf("%d files are kept", len(next.Inline))
	}
	next.Deltas = nil
	if next.KeepInline(next.Inline); next.Inline != nil {
		t.Errorf("%v is left", next.Inline)
	}
}

func TestChangesThatManifestsRepeatAreJoinedInTime(t *testing.T) {
	m := &checkpoint.Manifest{Bases: []checkpoint.FileRef{{Name: "base", Length: 1 << 30}}, Inline: map[string][]byte{}}
	hold := func(n int) {
		for range n {
			ref := checkpoint.FileRef{Name: fmt.Sprint(len(m.Deltas)), Length: 10 << 10}
			m.Deltas, m.Inline[ref.Name] = append(m.Deltas, ref), make([]byte, ref.Length)
		}
	}
	hold(6)
	if got := checkpoint.MergeNeeded(m, 0); got != nil || m.Crowded() {
		t.Errorf("60 KiB: %d to join, crowded %v", len(got), m.Crowded())
	}
	hold(1)
	if got := checkpoint.MergeNeeded(m, 0); len(got) != 7 || m.Crowded() {
		t.Errorf("70 KiB: %d to join, crowded %v", len(got), m.Crowded())
	}
	if got := checkpoint.MergeNeeded(m, 7); got != nil {
		t.Errorf("all are in a fold, and %d are to be joined", len(got))
	}
	hold(19)
	if got := checkpoint.MergeNeeded(m, 7); len(got) != 19 || !m.Crowded() {
		t.Errorf("260 KiB: %d to join, crowded %v", len(got), m.Crowded())
	}
}

func TestALimitedBufferTakesItsLimitAndNoMore(t *testing.T) {
	b := checkpoint.LimitedBuffer{Limit: 4}
	for _, write := range []struct {
		text string
		n    int
	}{{"abc", 3}, {"de", 0}, {"d", 1}, {"e", 0}} {
		if n, err := b.Write([]byte(write.text)); n != write.n || (err == nil) != (write.n > 0) {
			t.Errorf("%q: %d %v", write.text, n, err)
		}
	}
	if string(b.Bytes()) != "abcd" {
		t.Errorf("%q", b.Bytes())
	}
}

func TestFilesInBytesReadBackAsTheyWere(t *testing.T) {
	files := map[string][]byte{"a": nil, "b/c": []byte("x\n\x00"), "b": bytes.Repeat([]byte("y"), 300)}
	b := checkpoint.AppendFiles(nil, files)
	got, err := checkpoint.ReadFiles(b)
	if err != nil || len(got) != len(files) {
		t.Fatalf("%q, error %v", got, err)
	}
	for name, content := range files {
		if !bytes.Equal(got[name], content) {
			t.Errorf("%s is %q, want %q", name, got[name], content)
		}
	}
	whole := map[int]bool{0: true} // where a file ends: less of them is a set of files too
	for _, first := range []map[string][]byte{{"a": nil}, {"a": nil, "b": files["b"]}} {
		whole[len(checkpoint.AppendFiles(nil, first))] = true
	}
	for n := range b {
		if _, err := checkpoint.ReadFiles(b[:n]); errors.Is(err, checkpoint.ErrDamaged) == whole[n] {
			t.Errorf("%d of %d bytes: error %v", n, len(b), err)
		}
	}
	twice := checkpoint.AppendFiles(checkpoint.AppendFiles(nil, map[string][]byte{"b": nil}), map[string][]byte{"a": nil})
	if _, err := checkpoint.ReadFiles(twice); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("files out of order: error %v", err)
	}
}

func TestAManifestOfFormat3HoldsAFile(t *testing.T) {
	m := full(7)
	m.Format = 3
	b, err := checkpoint.EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := checkpoint.DecodeManifest(b); !errors.Is(err, checkpoint.ErrDamaged) {
		t.Errorf("%+v, error %v", m, err)
	}
}
