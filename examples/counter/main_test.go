package main

import (
	"testing"

	"github.com/weir-run/weir/sdk/go/weirtest"
)

func TestCountsAreKeptPerKey(t *testing.T) {
	h := weirtest.New(t)
	for _, step := range []struct {
		key       string
		add, want int64
	}{{"ann", 3, 3}, {"ann", 4, 7}, {"bob", 1, 1}, {"ann", -7, 0}} {
		if got := h.Invoke("example/counter", step.key, step.add); got.Err() != nil || got.Int64() != step.want {
			t.Errorf("%s %+d: %s %v, want %d", step.key, step.add, got, got.Err(), step.want)
		}
	}
}

func TestARecordOfClicksGoesOutAsACount(t *testing.T) {
	h := weirtest.New(t)
	h.Deliver("clicks", "ann", int64(5))
	h.Deliver("clicks", "ann", int64(5))
	records := h.Egress("counts")
	if len(records) != 2 || records[1].Key != "ann" || records[1].String() != "10" {
		t.Errorf("egress counts: %v", records)
	}
	if n, _ := weirtest.Get(h, count, "example/counter", "ann"); n != 10 {
		t.Errorf("state count: %d, want 10", n)
	}
}

func TestAValueThatIsNoNumberChangesNothing(t *testing.T) {
	h := weirtest.New(t)
	if got := h.Invoke("example/counter", "ann", "three"); got.Err() == nil {
		t.Error("the invocation succeeded")
	}
	if _, ok := weirtest.Get(h, count, "example/counter", "ann"); ok || len(h.Egress("counts")) != 0 {
		t.Error("the failed invocation has effects")
	}
}
