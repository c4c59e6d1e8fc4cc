package jobmanager

import (
	"time"

	"github.com/weir-run/weir/functions"
)

// JobState is a state of the job's life cycle (Flink's names).
type JobState string

const (
	Created    JobState = "created"
	Running    JobState = "running"
	Failing    JobState = "failing"
	Restarting JobState = "restarting"
	Cancelling JobState = "cancelling"
	Canceled   JobState = "canceled"
	Failed     JobState = "failed"
	Finished   JobState = "finished"
	Suspended  JobState = "suspended"
)

// JobView is a job as the API shows it.
type JobView struct {
	Name        string        `json:"name"`
	Namespace   string        `json:"namespace"`
	UID         string        `json:"uid"`
	State       JobState      `json:"state"`
	Waiting     string        `json:"waiting,omitempty" doc:"what the job waits for, such as a broker that does not answer"`
	Error       string        `json:"error,omitempty" doc:"why the last attempt ended"`
	Version     int           `json:"version"`
	Parallelism int           `json:"parallelism"`
	KeyGroups   int           `json:"keyGroups"`
	Tasks       int           `json:"tasks" doc:"tasks that run"`
	Attempt     uint64        `json:"attempt"`
	Restarts    int           `json:"restarts"`
	Checkpoint  uint64        `json:"checkpoint" doc:"number of the last committed checkpoint"`
	CommittedAt time.Time     `json:"committedAt,omitzero"`
	Restored    *RestoredView `json:"restored,omitempty"`
	In          uint64        `json:"in" doc:"messages taken from ingresses in this attempt"`
	Out         uint64        `json:"out" doc:"egress records published in this attempt"`
	Invocations uint64        `json:"invocations" doc:"messages given to functions in this attempt"`
	Fuel        uint64        `json:"fuel" doc:"units of fuel that they spent: docs/sandbox.md has what a unit is"`
	InRate      float64       `json:"inRate" doc:"per second, over the last interval"`
	OutRate     float64       `json:"outRate"`
	Lag         int64         `json:"lag" doc:"records between position and high watermark"`
	EpochMillis float64       `json:"epochMillis" doc:"time from trigger to commit, median of the last epochs"`
	P99Millis   float64       `json:"p99Millis" doc:"time from arrival to commit, of the last epochs"`
	Keys        int64         `json:"keys" doc:"values of state: one per key and state of a function, and one per answer that is kept for an Idempotency-Key"`
	StateBytes  int64         `json:"stateBytes"`
	DeadLetters uint64        `json:"deadLetters"`
	CreatedAt   time.Time     `json:"createdAt"`
}

// RestoredView tells what an attempt started from.
type RestoredView struct {
	Checkpoint uint64  `json:"checkpoint"`
	Millis     float64 `json:"millis"`
	Keys       int64   `json:"keys" doc:"values of state, as in the job"`
	Messages   int64   `json:"messages" doc:"messages taken from mailboxes and channels of the checkpoint; those that wait on disk are not counted"`
	Outboxes   int     `json:"outboxes" doc:"outboxes that recovery had to publish"`
}

// VersionView is one deployed version of a job.
type VersionView struct {
	Version   int           `json:"version"`
	CreatedAt time.Time     `json:"createdAt"`
	Current   bool          `json:"current"`
	Spec      functions.Job `json:"spec" doc:"the job with every default filled in; durations are in nanoseconds"`
}

// DeployedView is the answer to a deployment.
type DeployedView struct {
	Job        string   `json:"job"`
	Version    int      `json:"version"`
	Previous   int      `json:"previous" doc:"0 for a new job"`
	Checkpoint uint64   `json:"checkpoint" doc:"the epoch from which this version runs"`
	Restarted  bool     `json:"restarted" doc:"false when the modules were swapped at a barrier"`
	Unchanged  bool     `json:"unchanged" doc:"the version that runs is the same; nothing was done"`
	DryRun     bool     `json:"dryRun"`
	Waiting    string   `json:"waiting,omitempty" doc:"what the job waits for before it runs, such as a broker that does not answer"`
	Checked    []string `json:"checked"`
	Functions  []string `json:"functions"`
}

// CheckpointView is one manifest that is kept.
type CheckpointView struct {
	Number  uint64    `json:"number"`
	Attempt uint64    `json:"attempt" doc:"life of the job between two recoveries, counted from 1"`
	Term    uint64    `json:"term" doc:"counts who has written the job's manifests: one more with every start of the server, and after a write whose result was unclear"`
	Version int       `json:"version"`
	Time    time.Time `json:"time"`
	Epoch   bool      `json:"epoch" doc:"false for an entry without changes: of a new term or attempt, or one that records that all output is published"`
	Files   int       `json:"files" doc:"files that hold its state, positions and output; small ones are in the manifest itself and not counted"`
	Bytes   int64     `json:"bytes" doc:"of those files, and of what is in the manifest itself"`
	Pending int       `json:"pending" doc:"outboxes not known to be published when it was written"`
}

// StateView is the committed state of one address.
type StateView struct {
	Function   string       `json:"function"`
	Key        string       `json:"key"`
	Checkpoint uint64       `json:"checkpoint"`
	Age        float64      `json:"ageMillis" doc:"milliseconds since that checkpoint was committed"`
	States     []StateValue `json:"states"`
}

// StateValue is one named state; Value is JSON for int64, string and json, base64 text for others.
type StateValue struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Present bool   `json:"present"`
	Value   any    `json:"value,omitempty"`
}

// LaneView is one publisher of exactly-once output.
type LaneView struct {
	ID        string `json:"id"`
	Task      int    `json:"task"`
	Cluster   string `json:"cluster" doc:"address of the Kafka cluster"`
	Published uint64 `json:"published"`
	Pending   uint64 `json:"pending" doc:"epoch waiting to be published; 0 is none"`
	Bytes     int64  `json:"bytes"`
	Error     string `json:"error,omitempty"`
}

// Event is one line of a job's history.
type Event struct {
	Time    time.Time `json:"time"`
	Attempt uint64    `json:"attempt"`
	Kind    string    `json:"kind"`
	Detail  string    `json:"detail"`
}

// LogLine is one line that a guest wrote.
type LogLine struct {
	Time     time.Time `json:"time"`
	Level    string    `json:"level"`
	Function string    `json:"function,omitempty"`
	Key      string    `json:"key,omitempty"`
	Task     int       `json:"task"`
	Text     string    `json:"text"`
}

// DeployOptions changes what a deployment does.
type DeployOptions struct {
	DryRun bool // check everything and change nothing
}

// DeadLetterView is one message that failed for good, as its dead-letter topic holds it.
type DeadLetterView struct {
	ID       string    `json:"id" doc:"topic[partition]@offset of the dead letter itself; names it when it is redriven"`
	Time     time.Time `json:"time"`
	Function string    `json:"function,omitempty" doc:"absent when the record never became a message"`
	Key      string    `json:"key"`
	Source   string    `json:"source,omitempty" doc:"topic[partition]@offset of the record it came from"`
	Attempts int       `json:"attempts"`
	Cause    string    `json:"cause"`
	Where    string    `json:"where,omitempty" doc:"place in the guest's source, when known"`
	Value    []byte    `json:"value,omitempty" doc:"the original bytes"`
}

// RedriveView tells what a redrive did.
type RedriveView struct {
	Redriven int `json:"redriven" doc:"messages that were sent again"`
	Skipped  int `json:"skipped" doc:"messages that had been redriven before"`
	Unfit    int `json:"unfit" doc:"letters without a function, left where they are: their records never became messages, or were too large to keep"`
}
