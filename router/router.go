// Package router is how messages enter and leave a job: the Ingress and Egress contracts, the records they carry as views
// into batches of bytes, and the encoding of egress records in an outbox.
//
// It hides every protocol behind two contracts, each crossed once per batch. Positions are owned by the checkpoint: an
// adapter starts where it is told and never remembers. It is not the routing of messages between tasks
// (runtime/taskmanager).
package router

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Partition is one ordered input of an ingress.
type Partition struct {
	Ingress string `json:"ingress"` // functions.Ingress.ID
	Topic   string `json:"topic"`
	ID      int32  `json:"partition"`
}

// Position is where a partition resumes, with what proves that it is still the same log.
type Position struct {
	Partition
	TopicID     [16]byte `json:"topicId"`
	Offset      int64    `json:"offset"`        // the next record to read
	LeaderEpoch int32    `json:"leaderEpoch"`   // of the last record read; -1 unknown
	End         int64    `json:"end,omitempty"` // of a bounded ingress: the first offset that is not read; 0: it has none, -1: nothing is read
}

// Record is one record as a view into the fetch that brought it: valid until the next Poll.
type Record struct {
	Key       []byte // nil: no key
	Value     []byte // nil: a tombstone
	Headers   []Header
	Time      int64 // unix ms
	Offset    int64
	Oversized bool // larger than the ingress allows: still whole, for the dead letter
}

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Fetch is a run of records of one partition, in order. Next is the position after its last record: control records and
// aborted ones are left out but moved past, so Records may be empty.
type Fetch struct {
	Partition Partition
	Topic     int // index into functions.Ingress.Topics
	Records   []Record
	Next      Position
	HighWater int64
}

// Ingress reads one ingress for one task. Run is called once, from a goroutine of the task manager; Poll and Positions
// from the task's. It never blocks the task.
type Ingress interface {
	// Run fetches until ctx is done, and joins what it started. An error ends the attempt (ErrTopicGone, ErrTruncated,
	// ErrAuth are named); a broker that cannot be reached is waited for, with a warning in the log.
	Run(ctx context.Context) error
	// Ready has a token when Poll may have something.
	Ready() <-chan struct{}
	// Poll returns the next fetch of up to about max records, or nil. The last one is given back by this call.
	Poll(max int) *Fetch
	// Positions are those from which this task starts, one for every partition it owns, as far as they are known: called
	// at every seal; the task overrides them with the Next of what it has consumed. Settled says that the start of
	// every partition known so far has been resolved.
	Positions() (p []Position, settled bool)
	// Done says that the ingress is bounded, that every partition of this task has been handed out up to its end, and that
	// none will come: Poll returns nil from then on. It stays true. An ingress without an end is never done.
	Done() bool
	// Committed tells that the positions are in a committed checkpoint: for the consumer group's offsets, in background.
	Committed(p []Position)
}

// Lane publishes exactly-once output in the order of epochs. Calls come from one goroutine.
type Lane interface {
	// Recover fences every earlier holder of the lane's id, reads its marker, and publishes in order those pending outboxes
	// that lie above it. The first act of a new lane is marker 0. known says that a manifest names this lane; last is
	// that manifest's number. ErrMarker when the marker is absent though known, or above last.
	Recover(ctx context.Context, known bool, last uint64, cookie []byte, pending []Pending) error
	// Cookie is kept in the manifest of the next outbox and handed to Recover with it.
	Cookie() []byte
	// Prepare is a head start for the Publish with the same number and outbox, while the epoch is still undecided: it may write
	// both into a transaction, which it leaves open, so that nothing is visible. What fails in it is for Publish to meet again.
	Prepare(ctx context.Context, number uint64, outbox [][]byte)
	// Discard gives up what Prepare began: its epoch failed. Without it the next Publish or Prepare does.
	Discard(ctx context.Context)
	// Publish writes one outbox and its marker in one transaction, or ends the one that Prepare with the same number began; when
	// it returns nil they are visible under read_committed. It retries what can heal; any error ends the attempt. ErrRefused
	// names a record refused for good.
	Publish(ctx context.Context, number uint64, outbox [][]byte) error
	// Close gives the connections back; it publishes nothing.
	Close() error
}

// Pending is an outbox that may or may not have been published.
type Pending struct {
	Number uint64
	Outbox [][]byte // each a run of AppendEgress encodings
}

// Egress is one Kafka cluster as seen by one job in one worker: several egress ids may share it.
type Egress interface {
	// Run keeps metadata fresh until ctx is done.
	Run(ctx context.Context) error
	// Check says whether the broker would take the record: topic known, size within its limit. It is called when effects
	// apply, from task goroutines, and must not block; an error fails the invocation.
	Check(r *EgressRecord) error
	// Lane opens the exactly-once publisher with this id. Nothing is sent before Recover.
	Lane(id string) (Lane, error)
	// Send sends encoded records at once (at-least-once) and calls done, from any goroutine, when all of them are
	// acknowledged or one failed for good. batch belongs to the egress until done. Order is kept per partition.
	Send(batch []byte, done func(error))
	Close() error
}

// Call is one request for an address, as HTTP and other request ingresses make it.
type Call struct {
	Namespace   string // tenant
	Type        string // namespace/name
	Key         []byte
	Body        []byte
	ContentType string
	Idempotency string // Idempotency-Key, or empty
	Async       bool   // answer 202, without the reply, when the effects are committed
	Ext         []byte // more extensions of the message, such as headers
	Redrive     bool   // the call is a dead letter that is tried again
}

// Answer is what a call gets back after the commit point of its effects.
type Answer struct {
	Status int // HTTP status: 200 with a reply, 204 without, 202 for Async; 4xx and 5xx with Problem
	Body   []byte
	Epoch  uint64 // the checkpoint that committed it
	// Replayed says that this is the stored answer to an earlier request with the same Idempotency-Key.
	Replayed bool
	// Problem is set instead of Body when the invocation failed or could not be accepted.
	Problem *Problem
}

// Problem is an error as RFC 9457 tells it.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Docs   string `json:"docs,omitempty"`
}

// Dispatch brings a call to the owner of its address and waits for the answer. It fails only when ctx ends; all else is a Problem.
type Dispatch func(ctx context.Context, call *Call) (Answer, error)

var (
	// ErrTopicGone: a topic was deleted, or re-created under the same name, while its position is in the checkpoint.
	ErrTopicGone = errors.New("topic is gone or was re-created")
	// ErrTruncated: the position lies outside of the log.
	ErrTruncated = errors.New("position is outside of the log")
	// ErrAuth: the broker refuses the credentials.
	ErrAuth = errors.New("credentials are refused")
	// ErrMarker: a lane's marker is absent, or above the manifest.
	ErrMarker = errors.New("lane marker does not fit the manifest")
	// ErrStart: what the job says of where an ingress starts can never be resolved.
	ErrStart = errors.New("start position is not valid")
	// ErrRefused: the broker refuses a committed record for good.
	ErrRefused = errors.New("record is refused by the broker")
	// ErrUnknownTopic: the topic of an egress record does not exist.
	ErrUnknownTopic = errors.New("topic does not exist")
	// ErrTooLarge: the record is larger than the topic takes.
	ErrTooLarge = errors.New("record is too large for the topic")
)

// DiscoveryInterval is how often new topics and partitions are looked for: Flink's default is 5 minutes, Kafka's
// metadata.max.age.ms too; ten seconds costs one small request.
const DiscoveryInterval = 10 * time.Second

// Error makes a Problem an error, so that a refusal travels as one from where it is found to who asked.
func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Title + ": " + p.Detail
}

// Refused says which record of a committed outbox a broker refuses for good. It wraps ErrRefused.
type Refused struct {
	Number uint64 // of the outbox; 0 when it is not an outbox
	Record int    // in the outbox, from 0
	Topic  string
	Err    error
}

func (r *Refused) Error() string {
	return fmt.Sprintf("%v: record %d of outbox %d to topic %s: %v", ErrRefused, r.Record, r.Number, r.Topic, r.Err)
}

func (r *Refused) Unwrap() []error { return []error{ErrRefused, r.Err} }
