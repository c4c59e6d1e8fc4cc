package workload_test

import (
	"testing"

	"github.com/weir-run/weir/internal/e2e/workload"
)

func TestTextsAreReadBack(t *testing.T) {
	in := workload.Input{Seq: 7, Fanout: 3, Hops: 2}
	if got, err := workload.ParseInput(string(in.Append(nil))); err != nil || got != in {
		t.Errorf("%v, %v", got, err)
	}
	for _, http := range []bool{false, true} {
		out := workload.Output{Count: 9, Message: workload.Message{
			Token: workload.Token{HTTP: http, Source: 65535, Seq: 1 << 31, Branch: 2, Hop: 1}, Hops: 2, From: 4, Number: 11,
		}}
		if got, err := workload.ParseOutput(string(out.Append(nil))); err != nil || got != out {
			t.Errorf("%v, %v", got, err)
		}
		if got, err := workload.ParseMessage(string(out.Message.Append(nil))); err != nil || got != out.Message {
			t.Errorf("%v, %v", got, err)
		}
	}
	if n, err := workload.ParseKey(workload.CounterKey(200), 'c'); err != nil || n != 200 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := workload.ParseKey(workload.SourceKey(2), 'c'); err == nil {
		t.Error("the key of a source is read as one of a counter")
	}
}

func TestTargetsSpreadOverAllCounters(t *testing.T) {
	var hits [workload.Counters]int
	for seq := range uint32(100 * workload.Counters) {
		hits[workload.Token{Source: uint16(seq % workload.Sources), Seq: seq, Branch: uint8(seq % 3)}.Target()]++
	}
	for counter, n := range hits {
		if n < 30 {
			t.Errorf("counter %d is hit %d times of about 100", counter, n)
		}
	}
}

func FuzzParseOutput(f *testing.F) {
	f.Add("s 1 2 0 1 2 3 4 5")
	f.Add("h 1 2 0 0 0 1 2 5")
	f.Add("s 1")
	f.Fuzz(func(t *testing.T, text string) {
		if in, err := workload.ParseInput(text); err == nil {
			if again, err := workload.ParseInput(string(in.Append(nil))); err != nil || again != in {
				t.Errorf("%q: %v, then %v, %v", text, in, again, err)
			}
		}
		out, err := workload.ParseOutput(text)
		if err != nil {
			return
		}
		if again, err := workload.ParseOutput(string(out.Append(nil))); err != nil || again != out {
			t.Errorf("%q: %v, then %v, %v", text, out, again, err)
		}
	})
}
