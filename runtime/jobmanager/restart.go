package jobmanager

import (
	"time"

	"github.com/weir-run/weir/functions"
)

// Restart strategies, by Flink's names.
const (
	exponentialDelay = "exponential-delay"
	fixedDelay       = "fixed-delay"
	failureRate      = "failure-rate"
	noRestart        = "none"
)

// restarts decides whether and when a job that failed starts again (Flink's restart strategies). Pure: time and chance
// are arguments.
type restarts struct {
	policy   functions.Restart
	failures []time.Time // of the failure-rate window, or the failures in a row
	delay    time.Duration
}

// failed notes a failure. ok is false when the job is to stay down. chance in [0,1) spreads restarts by the jitter.
func (r *restarts) failed(now, runningSince time.Time, chance float64) (delay time.Duration, ok bool) {
	switch r.policy.Strategy {
	case noRestart:
		return 0, false
	case fixedDelay:
		r.failures = append(r.failures, now)
		return r.policy.Delay, r.policy.Attempts == 0 || len(r.failures) <= r.policy.Attempts
	case failureRate:
		recent := r.failures[:0]
		for _, at := range r.failures {
			if now.Sub(at) < r.policy.Interval {
				recent = append(recent, at)
			}
		}
		r.failures = append(recent, now)
		return r.policy.Delay, len(r.failures) <= r.policy.Failures
	}
	if !runningSince.IsZero() && now.Sub(runningSince) >= r.policy.ResetAfter {
		r.failures, r.delay = nil, 0
	}
	r.failures = append(r.failures, now)
	if r.policy.Attempts > 0 && len(r.failures) > r.policy.Attempts {
		return 0, false
	}
	if r.delay == 0 {
		r.delay = r.policy.Delay
	} else {
		r.delay = min(time.Duration(float64(r.delay)*r.policy.Multiplier), r.policy.MaxDelay)
	}
	return time.Duration(float64(r.delay) * (1 + r.policy.Jitter*(2*chance-1))), true
}
