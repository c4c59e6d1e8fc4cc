package jobmanager

import (
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
)

func TestExponentialDelayGrowsAndForgetsAfterStableTime(t *testing.T) {
	r := restarts{policy: functions.Restart{Strategy: exponentialDelay, Delay: 100 * time.Millisecond, MaxDelay: time.Second, Multiplier: 2, ResetAfter: time.Hour}}
	now := start
	for i, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		if got, ok := r.failed(now, now, 0.5); got != want*time.Millisecond || !ok {
			t.Fatalf("failure %d: %v %v, want %v ms", i, got, ok, int(want))
		}
	}
	if got, _ := r.failed(now.Add(time.Hour), now, 0.5); got != 100*time.Millisecond {
		t.Fatalf("after a stable hour: %v", got)
	}
}

func TestFailureRateGivesUpWithinItsWindowOnly(t *testing.T) {
	r := restarts{policy: functions.Restart{Strategy: failureRate, Failures: 2, Interval: time.Minute, Delay: time.Second}}
	for i, c := range []struct {
		at int
		ok bool
	}{{0, true}, {1, true}, {70, true}, {71, true}, {72, false}} {
		if _, ok := r.failed(start.Add(time.Duration(c.at)*time.Second), start, 0); ok != c.ok {
			t.Fatalf("failure %d: %v", i, ok)
		}
	}
}

func TestFixedDelayCountsAttempts(t *testing.T) {
	r := restarts{policy: functions.Restart{Strategy: fixedDelay, Attempts: 2, Delay: time.Second}}
	for i, want := range []bool{true, true, false} {
		if _, ok := r.failed(start, start, 0); ok != want {
			t.Fatalf("failure %d: %v", i, ok)
		}
	}
}

func TestNoRestartMeansNone(t *testing.T) {
	r := restarts{policy: functions.Restart{Strategy: noRestart}}
	if _, ok := r.failed(start, start, 0); ok {
		t.Fatal("restarted")
	}
}
