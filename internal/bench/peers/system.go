package main

import (
	"context"
	"time"
)

const (
	weirName    = "weir"
	exactlyOnce = "exactly-once"
	atLeastOnce = "at-least-once"
	// auto lets Weir choose its epochs, which is its default.
	auto = "auto"
)

// entry is a system in one setting.
type entry struct {
	System   string `json:"system"`
	Delivery string `json:"delivery"`
	Interval string `json:"interval"` // between checkpoints or commits: auto, or milliseconds
	Timed    bool   `json:"-"`        // takes part in the latency runs: each system at its fastest
	Slow     bool   `json:"-"`        // drains 1/slowPart of the records: the time is what warms it up, and nobody waits an hour
}

// slowPart brings the run of a slow system to the length of the others'.
const slowPart = 10

// lineup is who runs, in the order of running. The intervals are those that the systems' own documentation uses, and a
// tenth of it where a user would lower it for output that comes sooner. Weir runs before and behind the others of a
// guarantee: where its two rows differ, the machine did not hold still between them.
var lineup = []entry{
	{System: weirName, Delivery: exactlyOnce, Interval: auto, Timed: true},
	{System: "flink", Delivery: exactlyOnce, Interval: "1000"},
	{System: "flink", Delivery: exactlyOnce, Interval: "100", Timed: true},
	{System: "kstreams", Delivery: exactlyOnce, Interval: "100", Timed: true},
	{System: "statefun", Delivery: exactlyOnce, Interval: "1000", Slow: true},
	{System: "statefun", Delivery: exactlyOnce, Interval: "100", Slow: true, Timed: true},
	{System: weirName, Delivery: exactlyOnce, Interval: auto, Timed: true},
	{System: weirName, Delivery: atLeastOnce, Interval: auto},
	{System: "flink", Delivery: atLeastOnce, Interval: "1000"},
	{System: "kstreams", Delivery: atLeastOnce, Interval: "1000"},
	{System: "statefun", Delivery: atLeastOnce, Interval: "1000", Slow: true},
	{System: weirName, Delivery: atLeastOnce, Interval: auto},
}

// assignment is one job for one system: count the records of topic in, from its beginning, into topic out.
type assignment struct {
	entry
	id      string // names the job, its consumer group, its transactions and its directory; no other run has it
	in, out string
	brokers string
	dir     string // exists, is empty and takes the state and the log
	tasks   int
}

// system is one that can count. Calls come one after the other, prepare first.
type system interface {
	// prepare fetches and builds what start needs, and tells the version.
	prepare(ctx context.Context) (string, error)
	// start starts the job. It need not have begun to read when start returns. The caller stops it, also when ctx ends.
	start(ctx context.Context, a assignment) (process, error)
}

// process is a system at work. It is used from one goroutine.
type process interface {
	pid() int
	// ended is nil while the process lives, and what is known of its end behind that.
	ended() error
	// stop ends it and returns when it is gone.
	stop() error
}

const (
	// stopLimit is how long a peer may take to end before it is killed: its figures are taken already.
	stopLimit = 20 * time.Second
	// startLimit is how long the first output may take: a JVM on a busy machine loads its classes for more than a minute.
	startLimit = 4 * time.Minute
	// stall is how long output may stand still behind that before a run is given up.
	stall = time.Minute
	// look is the pause between two looks at offsets and processes: short against the part of a run that is measured.
	look = 100 * time.Millisecond
)

// patience is how long to wait for output when so much of it is there.
func patience(done int64) time.Duration {
	if done == 0 {
		return startLimit
	}
	return stall
}
