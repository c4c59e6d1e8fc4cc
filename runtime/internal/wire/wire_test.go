package wire_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

func TestFramesSurviveTheWire(t *testing.T) {
	barrier := wire.Barrier{Trigger: 7, Switch: 3, Final: true}
	f, err := wire.ParseFrame(wire.AppendBarrier(nil, 1, 2, 9, barrier))
	if err != nil || f.Kind != wire.FrameBarrier || f.From != 1 || f.To != 2 || f.Attempt != 9 || f.Barrier() != barrier {
		t.Fatalf("%+v %v", f, err)
	}
	f, err = wire.ParseFrame(wire.AppendCredit(nil, 1, 2, 9, 4096))
	if err != nil || f.Kind != wire.FrameCredit || f.Credit() != 4096 {
		t.Fatalf("%+v %v", f, err)
	}
	f, err = wire.ParseFrame(append(wire.AppendFrame(nil, wire.FrameData, 1, 2, 9), "abc"...))
	if err != nil || f.Kind != wire.FrameData || string(f.Payload) != "abc" {
		t.Fatalf("%+v %v", f, err)
	}
}

func TestControlMessagesSurviveTheWire(t *testing.T) {
	sent := &wire.Trigger{Attempt: wire.Attempt{Job: "ab", Attempt: 3}, Trigger: 5, Final: true}
	got, err := wire.Decode(wire.Encode(sent))
	if err != nil || !reflect.DeepEqual(got, sent) {
		t.Fatalf("%+v %v", got, err)
	}
	for _, bad := range []string{"", "Trigger", "Nonsense\x00{}", "Trigger\x00{", "Trigger\x00{}\x00\x01a\x00", "Deploy\x00{}\x00\x01a\x00", "Fold\x00{}\x00\x01a\x01"} {
		if m, err := wire.Decode([]byte(bad)); err == nil {
			t.Errorf("%q decoded to %+v", bad, m)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(wire.AppendBarrier(nil, 1, 2, 9, wire.Barrier{Trigger: 7}))
	f.Add(wire.AppendCredit(nil, 1, 2, 9, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := wire.ParseFrame(b)
		if err != nil {
			return
		}
		switch frame.Kind {
		case wire.FrameBarrier:
			if again := wire.AppendBarrier(nil, frame.From, frame.To, frame.Attempt, frame.Barrier()); len(again) != len(b) {
				t.Fatalf("barrier of %d bytes became %d", len(b), len(again))
			}
		case wire.FrameCredit:
			if frame.Credit() < 0 {
				t.Fatal("negative credit")
			}
		case wire.FrameData:
			if !bytes.HasSuffix(b, frame.Payload) {
				t.Fatal("payload is not of the frame")
			}
		}
	})
}

func TestMessagesCarryFiles(t *testing.T) {
	files := map[string][]byte{"jobs/ab/data/1": []byte("x\x00\n"), "jobs/ab/data/2": {}}
	for _, sent := range []wire.Message{
		&wire.Acknowledge{Trigger: 5, Inline: files}, &wire.Fold{Name: "base", Inline: files},
		&wire.Deploy{Manifest: &checkpoint.Manifest{Number: 4, Inline: files}}, &wire.Fold{Name: "base"},
	} {
		got, err := wire.Decode(wire.Encode(sent))
		if err != nil || !reflect.DeepEqual(got, sent) {
			t.Errorf("%+v became %+v, error %v", sent, got, err)
		}
	}
}

func FuzzControl(f *testing.F) {
	f.Add(wire.Encode(&wire.Want{Urgent: true}))
	f.Add(wire.Encode(&wire.Fold{Name: "base", Inline: map[string][]byte{"a": []byte("x")}}))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = wire.Decode(b) })
}

func TestAnEndpointThatRejoinsReplacesItsPredecessor(t *testing.T) {
	n := wire.NewNetwork()
	old, sender := n.Join("x"), n.Join("y")
	sender.Send("x", &wire.Start{})
	fresh := n.Join("x")
	sender.Send("x", &wire.Halt{})
	got, err := fresh.Receive()
	if err != nil || len(got) != 1 || got[0].From != "y" {
		t.Fatalf("%+v %v", got, err)
	}
	if got, _ := old.Receive(); len(got) != 1 {
		t.Fatalf("old endpoint has %+v", got)
	}
}
