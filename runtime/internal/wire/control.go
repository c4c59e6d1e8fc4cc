package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// Message is a control message: one of the structs of this file, by pointer.
type Message any

// Attempt names one life of a job's tasks.
type Attempt struct {
	Job     string `json:"job"` // uid
	Attempt uint64 `json:"attempt"`
}

// Version is a deployed version of a job, with the ids that messages and state carry.
type Version struct {
	Number     int                  `json:"number"`
	Job        functions.Job        `json:"job"`
	Dictionary functions.Dictionary `json:"dictionary"`
}

// From JobManager to TaskManager.
type (
	// Deploy asks for tasks restored from a manifest; the answer is Deployed or Failed. Nothing runs before Start.
	Deploy struct {
		Attempt
		Version  Version              `json:"version"`
		Tasks    []int                `json:"tasks"`            // those of this TaskManager
		Prefix   string               `json:"prefix"`           // of the job's files in the checkpoint storage
		Term     uint64               `json:"term"`             // part of file names, so that they are unique
		Manifest *checkpoint.Manifest `json:"manifest"`         // what to restore; never nil
		Orphans  []checkpoint.Lane    `json:"orphans"`          // lanes of tasks that no longer exist, to be recovered here
		Divert   []Refused            `json:"divert,omitempty"` // records of pending outboxes that go to the dead-letter topic instead
	}
	// Start lets the tasks run: every TaskManager of the attempt has answered Deployed.
	Start struct{ Attempt }
	// Prepare loads the modules of another version ahead of a switch; the answer is Prepared or Failed.
	Prepare struct {
		Attempt
		Version Version `json:"version"`
	}
	// Trigger starts an epoch's end: every task seals.
	Trigger struct {
		Attempt
		Trigger uint64 `json:"trigger"`
		Number  uint64 `json:"number"` // that the epoch's manifest would have, so that its output can be prepared
		Switch  int    `json:"switch,omitempty"`
		Final   bool   `json:"final,omitempty"`
		Inline  int    `json:"inline,omitempty"` // bytes of this TaskManager's files that the manifest would hold
		Trace   string `json:"trace,omitempty"`  // traceparent of an epoch that is traced
	}
	// Complete tells that the manifest of a trigger is written: outboxes and replies leave.
	Complete struct {
		Attempt
		Trigger uint64 `json:"trigger"`
		Number  uint64 `json:"number"`
	}
	// Abort tells that a trigger's epoch failed: what it sealed joins the next one.
	Abort struct {
		Attempt
		Trigger uint64 `json:"trigger"`
	}
	// Fold asks for one base out of files; the answer is Folded.
	Fold struct {
		Attempt
		Name   string               `json:"name"`
		Bases  []checkpoint.FileRef `json:"bases"`
		Deltas []checkpoint.FileRef `json:"deltas"`
		Groups int                  `json:"groups"`
		Merge  bool                 `json:"merge"` // one delta out of deltas; the bases stay
		Inline map[string][]byte    `json:"-"`     // those of the files that the manifest holds
	}
	// Halt ends an attempt's tasks at once; the answer is Halted.
	Halt struct{ Attempt }
	// Forget tells that a job is deleted: its functions are unknown from then on.
	Forget struct {
		Job string `json:"job"` // uid
	}
	// Query reads committed state, statistics or logs; the answer is Answer with the same ID.
	Query struct {
		Attempt
		ID       uint64             `json:"id"`
		Function functions.TypeName `json:"function,omitzero"` // with Key: a linearizable read of one address
		Key      []byte             `json:"key,omitempty"`
		Stats    bool               `json:"stats,omitempty"`
		LogsFrom uint64             `json:"logsFrom,omitempty"` // sequence number of the first line wanted, from 1
	}
)

// From TaskManager to JobManager.
type (
	Deployed struct {
		Attempt
		Millis   float64 `json:"millis"`
		Keys     int64   `json:"keys"`
		Messages int64   `json:"messages"`
		Outboxes int     `json:"outboxes"`
	}
	Prepared struct {
		Attempt
		Number int    `json:"number"`
		Error  string `json:"error,omitempty"` // the attempt goes on with what it has
	}
	// Failed ends the attempt. Fatal says that a restart cannot help.
	Failed struct {
		Attempt
		Error   string   `json:"error"`
		Fatal   bool     `json:"fatal"`
		Refused *Refused `json:"refused,omitempty"` // a broker takes a committed record for no attempt: a person decides
	}
	// Waiting tells what keeps the tasks from starting, such as a broker that does not answer; empty when it is over.
	Waiting struct {
		Attempt
		For string `json:"for"`
	}
	// Want tells that something changed since the last seal, or (Urgent) that something waits for the commit point.
	Want struct {
		Attempt
		Urgent bool `json:"urgent"`
		Lone   bool `json:"lone"` // nothing else is queued: the floor of auto epochs does not bind
	}
	// Acknowledge tells that a trigger's file is durable. Error instead declines the trigger.
	Acknowledge struct {
		Attempt
		Trigger uint64             `json:"trigger"`
		File    checkpoint.FileRef `json:"file"`
		Delta   checkpoint.FileRef `json:"delta,omitzero"` // the file with state changes, which may be the same; without a name there are none
		Lanes   []LaneOutput       `json:"lanes"`          // one for every lane of this TaskManager
		Cost    time.Duration      `json:"cost"`           // CPU time that the epoch took here
		Seal    time.Duration      `json:"seal"`           // the longest pause of a task here
		Write   time.Duration      `json:"write"`          // until the file was durable
		Idle    bool               `json:"idle,omitempty"` // every ingress of these tasks is done, and the file holds no message
		Error   string             `json:"error,omitempty"`
		// Inline holds File and Delta when they are small: the manifest is to hold them.
		Inline map[string][]byte `json:"-"`
		// Segments are files beside File that it refers to.
		Segments []checkpoint.FileRef `json:"segments,omitempty"`
	}
	Published struct {
		Attempt
		Lane   string `json:"lane"`
		Number uint64 `json:"number"`
	}
	Folded struct {
		Attempt
		Merge bool               `json:"merge"` // as in Fold
		File  checkpoint.FileRef `json:"file"`
		Error string             `json:"error,omitempty"`
	}
	Halted struct{ Attempt }
	// Finished tells that a final trigger's tasks have ended and everything of theirs is published.
	Finished struct{ Attempt }
	// Answer answers a Query.
	Answer struct {
		Attempt
		ID      uint64  `json:"id"`
		Problem string  `json:"problem,omitempty"`
		State   []Value `json:"state,omitempty"` // in the order of the function's states
		Number  uint64  `json:"number,omitempty"`
		Stats   *Stats  `json:"stats,omitempty"`
		Logs    []Line  `json:"logs,omitempty"`
	}
)

// Refused names a record of a committed outbox that its broker refuses for good.
type Refused struct {
	Lane   string `json:"lane"`
	Number uint64 `json:"number"`
	Record int    `json:"record"`
	Topic  string `json:"topic"`
	Cause  string `json:"cause"`
}

// LaneOutput says what a lane has in an acknowledged file.
type LaneOutput struct {
	ID      string `json:"id"`
	Cluster string `json:"cluster"`
	Task    int    `json:"task"`
	Cookie  []byte `json:"cookie,omitempty"`
	Output  bool   `json:"output"`
	// Published is the epoch up to which everything of the lane was out when its cookie was taken.
	Published uint64 `json:"published"`
}

// Value is one state of a queried address.
type Value struct {
	Present bool   `json:"present"`
	Bytes   []byte `json:"bytes,omitempty"`
}

// Stats are counters since the attempt began, and gauges.
type Stats struct {
	Tasks       int     `json:"tasks"`
	In          uint64  `json:"in"`
	Out         uint64  `json:"out"`
	Invocations uint64  `json:"invocations"`
	Fuel        uint64  `json:"fuel,omitempty"` // units that guests spent
	Failures    uint64  `json:"failures"`
	DeadLetters uint64  `json:"deadLetters"`
	Skipped     uint64  `json:"skipped"`
	Stale       uint64  `json:"stale"`
	Keys        int64   `json:"keys"`
	StateBytes  int64   `json:"stateBytes"`
	Lag         int64   `json:"lag"`
	P99Millis   float64 `json:"p99Millis"` // arrival to commit
	Lanes       []Lane  `json:"lanes"`
}

// Add sums the statistics of several TaskManagers.
func (s *Stats) Add(t *Stats) {
	s.Tasks += t.Tasks
	s.In += t.In
	s.Out += t.Out
	s.Invocations += t.Invocations
	s.Fuel += t.Fuel
	s.Failures += t.Failures
	s.DeadLetters += t.DeadLetters
	s.Skipped += t.Skipped
	s.Stale += t.Stale
	s.Keys += t.Keys
	s.StateBytes += t.StateBytes
	s.Lag += t.Lag
	s.P99Millis = max(s.P99Millis, t.P99Millis)
	s.Lanes = append(s.Lanes, t.Lanes...)
}

// Lane is the state of one lane's publisher.
type Lane struct {
	ID      string `json:"id"`
	Pending uint64 `json:"pending"`
	Bytes   int64  `json:"bytes"`
	Error   string `json:"error,omitempty"`
}

// Line is one line that a guest wrote.
type Line struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	Level    int       `json:"level"`
	Task     int       `json:"task"`
	Text     string    `json:"text"`
}

// Between ResourceManager and the others.
type (
	// Offer is a TaskManager's registration and heartbeat.
	Offer struct {
		Slots int `json:"slots"`
	}
	// Request asks for one slot per task; the answer is Grant or Refuse.
	Request struct {
		Attempt
		Namespace string `json:"namespace"`
		Tasks     int    `json:"tasks"`
	}
	Grant struct {
		Attempt
		TaskManagers []string `json:"taskManagers"` // per task
	}
	Refuse struct {
		Attempt
		Reason string `json:"reason"`
	}
	// Release gives a job's slots back.
	Release struct{ Attempt }
	// Lost tells the JobManager that a TaskManager no longer answers.
	Lost struct {
		TaskManager string `json:"taskManager"`
	}
)

// messages lists every control message by its name on the wire.
var messages = func() map[string]reflect.Type {
	byName := map[string]reflect.Type{}
	for _, m := range []Message{Deploy{}, Start{}, Prepare{}, Trigger{}, Complete{}, Abort{}, Fold{}, Halt{}, Forget{}, Query{},
		Deployed{}, Prepared{}, Failed{}, Waiting{}, Want{}, Acknowledge{}, Published{}, Folded{}, Halted{}, Finished{}, Answer{},
		Offer{}, Request{}, Grant{}, Refuse{}, Release{}, Lost{}} {
		byName[reflect.TypeOf(m).Name()] = reflect.TypeOf(m)
	}
	return byName
}()

// holder is a message with whole files in it. They follow the JSON as they are.
type holder interface{ files() *map[string][]byte } // nil where there is no place for any

func (m *Deploy) files() *map[string][]byte {
	if m.Manifest == nil {
		return nil
	}
	return &m.Manifest.Inline
}

func (m *Fold) files() *map[string][]byte { return &m.Inline }

func (m *Acknowledge) files() *map[string][]byte { return &m.Inline }

// Encode writes a control message: its name, a zero byte, JSON; and, when it holds files, a zero byte and those
// (checkpoint.AppendFiles). Control messages are few per epoch, so that JSON's cost does not count, and a trace of them can
// be read.
func Encode(m Message) []byte {
	body, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("wire: encode %T: %v", m, err))
	}
	name := reflect.TypeOf(m).Elem().Name()
	b := append(append([]byte(name), 0), body...)
	if h, ok := m.(holder); ok {
		if files := h.files(); files != nil && len(*files) > 0 {
			b = checkpoint.AppendFiles(append(b, 0), *files)
		}
	}
	return b
}

// Decode reads what Encode writes; the message is a pointer to one of this package's structs, and its files are views of b.
func Decode(b []byte) (Message, error) {
	name, body, found := bytes.Cut(b, []byte{0})
	if !found {
		return nil, ErrFrame
	}
	kind, known := messages[string(name)]
	if !known {
		return nil, fmt.Errorf("%w: unknown message %q", ErrFrame, name)
	}
	body, held, holds := bytes.Cut(body, []byte{0})
	m := reflect.New(kind).Interface()
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFrame, kind.Name(), err)
	}
	if !holds {
		return m, nil
	}
	h, ok := m.(holder)
	if !ok || h.files() == nil {
		return nil, fmt.Errorf("%w: %s has no place for files", ErrFrame, kind.Name())
	}
	files, err := checkpoint.ReadFiles(held)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFrame, kind.Name(), err)
	}
	*h.files() = files
	return m, nil
}
