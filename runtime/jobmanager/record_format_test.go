package jobmanager

import (
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

func recorded() *record {
	return &record{
		Format: recordFormat, Sequence: 3, Name: "counts", UID: "ab12", Desired: wantRunning, Current: 1,
		Versions: []deployedVersion{{
			Version:   wire.Version{Number: 1, Job: functions.Job{Name: "counts", Namespace: "default", KeyGroups: 128, Parallelism: 2}},
			CreatedAt: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC),
		}},
	}
}

func TestEveryFlippedBitOfAJobRecordIsDetected(t *testing.T) {
	whole, err := recorded().encode()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeRecord(whole); err != nil || !reflect.DeepEqual(r, recorded()) {
		t.Fatalf("%+v, error %v", r, err)
	}
	for bit := range 8 * len(whole) {
		b := append([]byte(nil), whole...)
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := decodeRecord(b); !errors.Is(err, checkpoint.ErrDamaged) {
			t.Fatalf("bit %d flipped: error %v", bit, err)
		}
	}
	newer := checkpoint.SealText(recordWord, recordFormat+1, []byte("{}\n"))
	if _, err := decodeRecord(newer); !errors.Is(err, checkpoint.ErrNewer) {
		t.Errorf("a later format: error %v", err)
	}
	golden, err := os.ReadFile("testdata/record-v1")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeRecord(golden); err != nil || !reflect.DeepEqual(r, recorded()) {
		t.Errorf("the golden file is %+v, error %v", r, err)
	}
}

func FuzzRecord(f *testing.F) {
	b, err := recorded().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeRecord(b); err != nil && !errors.Is(err, checkpoint.ErrDamaged) && !errors.Is(err, checkpoint.ErrNewer) {
			t.Fatal(err)
		}
	})
}
