package abi_test

import (
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/weir-run/weir/sdk/abi"
)

// FuzzReader reads any bytes as a batch; what it accepts, written again, it reads back equal.
func FuzzReader(f *testing.F) {
	for _, v := range batches() {
		in, _ := encode(v.Now, v.Seed, v.Groups)
		f.Add(in)
		for _, d := range damagedBatches {
			if len(in) >= 112 {
				f.Add(d.apply(in))
			}
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		now, seed, groups, err := read(in)
		if err != nil {
			return
		}
		again, _ := encode(now, seed, groups)
		now2, seed2, groups2, err := read(again)
		if err != nil || now2 != now || seed2 != seed || show(groups2) != show(groups) {
			t.Fatalf("read again: %v\n%s\nwant\n%s", err, show(groups2), show(groups))
		}
	})
}

// FuzzResult reads any bytes as a result; what it accepts keeps the promises that package runtime relies on, and written
// again reads back equal.
func FuzzResult(f *testing.F) {
	out := make([]byte, 4096)
	for _, v := range results() {
		n := write(out, v.Outcomes)
		f.Add(append([]byte(nil), out[:n]...), uint8(len(v.Counts)), uint8(1))
		for _, d := range damagedResults {
			if n >= 160 {
				f.Add(d.apply(out[:n]), uint8(len(v.Counts)), uint8(2))
			}
		}
	}
	f.Fuzz(func(t *testing.T, out []byte, groups, messages uint8) {
		counts := make([]int, groups)
		for i := range counts {
			counts[i] = int(messages)
		}
		outcomes, err := open(out, counts)
		if err != nil {
			if fault(err) == "" {
				t.Fatalf("an error of another type: %v", err)
			}
			return
		}
		for i, o := range outcomes {
			if (o.Code == 0) != (o.Done == counts[i]) {
				t.Fatalf("group %d: %d of %d done, failure %d", i, o.Done, counts[i], o.Code)
			}
			for _, op := range o.Ops {
				if op.Message < 0 || op.Message >= o.Done {
					t.Fatalf("group %d: an op of message %d, %d done", i, op.Message, o.Done)
				}
			}
		}
		buffer := make([]byte, 2*len(out)+256)
		n := write(buffer, outcomes)
		again, err := open(buffer[:n], counts)
		if err != nil || show(again) != show(outcomes) {
			t.Fatalf("open again: %v\n%s\nwant\n%s", err, show(again), show(outcomes))
		}
	})
}

// FuzzRoundTrip sends parts of any content through both directions.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), []byte("ns/name"), []byte{}, int64(-1), uint64(1))
	f.Fuzz(func(t *testing.T, key, value, name, ext []byte, when int64, id uint64) {
		if len(name) > 0xFFFF {
			name = name[:0xFFFF]
		}
		want := []group{{Function: int(id & 0xFFFF), Key: key, States: []state{{true, value}, {}}, Messages: []message{
			{Kind: uint8(id), Time: when, ID: id, Type: name, SenderType: name, SenderKey: key, Value: value, Ext: ext},
		}}}
		in, counts := encode(when, id, want)
		_, _, got, err := read(in)
		if err != nil || show(got) != show(want) {
			t.Fatalf("batch %s: %v\n%s\nwant\n%s", hex.EncodeToString(in), err, show(got), show(want))
		}
		effects := []outcome{{Done: 1, States: []stateWrite{{Index: int(id & 0xFFFF), Value: value}}, Ops: []op{
			{Kind: abi.Egress, Target: name, Key: key, Value: value, Topic: name, Type: name, Ext: ext, Delay: when},
			{Kind: abi.Send, Target: name, Key: value, Value: key},
		}}}
		out := make([]byte, len(in)*4+1024)
		var w abi.Writer
		w.Reset(out)
		w.Group()
		w.Op(effects[0].Ops[0].abi())
		w.Put(abi.PutSend, string(name), string(value), key)
		w.Commit()
		w.State(effects[0].States[0].Index, value, false)
		outcomes, err := open(out[:w.Finish()], counts)
		if err != nil || show(outcomes) != show(effects) {
			t.Fatalf("result: %v\n%s\nwant\n%s", err, show(outcomes), show(effects))
		}
	})
}

// puts are the ops of Put by what they write.
var puts = map[abi.OpKind]abi.PutOp{abi.Send: abi.PutSend, abi.Egress: abi.PutRecord, abi.Reply: abi.PutReply}

func TestPutWritesWhatOpWrites(t *testing.T) {
	for _, o := range []op{
		{Kind: abi.Send, Target: text("a/b"), Key: text("k"), Value: text("12345678")},
		{Kind: abi.Send, Target: text("a/b"), Value: text("1")},
		{Kind: abi.Egress, Target: text("counts"), Key: text("k")},
		{Kind: abi.Egress, Target: text("counts"), NoKey: true, NoValue: true},
		{Kind: abi.Reply, NoKey: true, Value: text("")},
	} {
		results := make([][]byte, 2)
		for i := range results {
			out := []byte(dirty)
			var w abi.Writer
			w.Reset(out)
			w.Group()
			switch {
			case i == 0:
				w.Op(o.abi())
			case o.NoValue:
				w.PutTombstone(abi.PutRecord, string(o.Target), string(o.Key))
			default:
				w.Put(puts[o.Kind], string(o.Target), string(o.Key), o.Value)
			}
			w.Commit()
			results[i] = out[:w.Finish()]
		}
		if !reflect.DeepEqual(results[0], results[1]) {
			t.Errorf("%+v:\nop  %x\nput %x", o, results[0], results[1])
		}
	}
}
