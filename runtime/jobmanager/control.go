package jobmanager

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

const (
	// logPoll is how often a followed log is looked at, while somebody follows it.
	logPoll = 200 * time.Millisecond
	// readLimit bounds a state read: it waits for one commit point.
	readLimit = 10 * time.Second
	// dispatchLimit bounds one redriven message.
	dispatchLimit = 30 * time.Second
)

// ask1 runs do in the master's goroutine and returns its answer.
func ask1[T any](ctx context.Context, j *master, do func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	j.inbox.Put(func(context.Context) error {
		v, err := do()
		answered <- answer{v, err}
		return nil
	})
	select {
	case a := <-answered:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// with runs do in the goroutine of a job's master.
func with[T any](ctx context.Context, m *Manager, name string, do func(*master) (T, error)) (T, error) {
	j := m.master(name)
	if j == nil {
		var none T
		return none, unknownJob(name)
	}
	return ask1(ctx, j, func() (T, error) { return do(j) })
}

// Jobs lists all jobs by name.
func (m *Manager) Jobs(ctx context.Context) ([]JobView, error) {
	views := []JobView{}
	for _, j := range m.all() {
		v, err := m.Job(ctx, j.name)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return views, nil
}

// Job describes one job; its figures are asked of its tasks.
func (m *Manager) Job(ctx context.Context, name string) (JobView, error) {
	j := m.master(name)
	if j == nil {
		return JobView{}, unknownJob(name)
	}
	answers := m.query(ctx, j, wire.Query{Stats: true})
	return ask1(ctx, j, func() (JobView, error) { return j.show(answers), nil })
}

// Versions lists the versions that are kept, the oldest first.
func (m *Manager) Versions(ctx context.Context, name string) ([]VersionView, error) {
	return with(ctx, m, name, func(j *master) ([]VersionView, error) {
		views := []VersionView{}
		for _, v := range j.record.Versions {
			views = append(views, VersionView{Version: v.Number, CreatedAt: v.CreatedAt, Current: v.Number == j.record.Current, Spec: v.Job})
		}
		return views, nil
	})
}

// Checkpoints lists the manifests that are kept, the oldest first.
func (m *Manager) Checkpoints(ctx context.Context, name string) ([]CheckpointView, error) {
	manifests, err := with(ctx, m, name, func(j *master) (*checkpoint.Log, error) { return j.manifests, nil })
	if err != nil {
		return nil, err
	}
	kept, err := manifests.List(ctx)
	if err != nil {
		return nil, err
	}
	views := []CheckpointView{}
	for _, number := range kept {
		c, err := manifests.Get(ctx, number)
		if err != nil {
			continue // swept since it was listed
		}
		view := CheckpointView{Number: c.Number, Attempt: c.Attempt, Term: c.Term, Version: c.Version, Time: c.Time, Epoch: c.Epoch}
		for _, f := range c.Files() {
			view.Files++
			view.Bytes += f.Length
		}
		for _, b := range c.Inline {
			view.Bytes += int64(len(b))
		}
		for _, lane := range c.Lanes {
			view.Pending += len(lane.Outboxes)
		}
		views = append(views, view)
	}
	return views, nil
}

// Events is a job's history, the oldest first.
func (m *Manager) Events(ctx context.Context, name string) ([]Event, error) {
	return with(ctx, m, name, func(j *master) ([]Event, error) { return append([]Event{}, j.events...), nil })
}

// Lanes shows the publishers of a job's exactly-once output.
func (m *Manager) Lanes(ctx context.Context, name string) ([]LaneView, error) {
	j := m.master(name)
	if j == nil {
		return nil, unknownJob(name)
	}
	answers := m.query(ctx, j, wire.Query{Stats: true})
	return ask1(ctx, j, func() ([]LaneView, error) {
		addresses := addressesOf(&j.version().Job)
		live := map[string]wire.Lane{}
		for _, a := range answers {
			for _, lane := range a.Stats.Lanes {
				live[lane.ID] = lane
			}
		}
		views := []LaneView{}
		if j.manifest == nil { // the log is damaged, or in doubt until a new term reads it
			return views, nil
		}
		for _, lane := range j.manifest.Lanes {
			view := LaneView{ID: lane.ID, Task: lane.Task, Cluster: addresses[lane.Cluster], Published: lane.Published}
			if l, running := live[lane.ID]; running {
				view.Pending, view.Bytes, view.Error = l.Pending, l.Bytes, l.Error
				if l.Pending == 0 {
					view.Published = j.manifest.Number
				}
			} else if len(lane.Outboxes) > 0 {
				view.Pending = lane.Outboxes[0].Number
			}
			if r := j.refusedRecord; r != nil && r.Lane == lane.ID {
				view.Error = fmt.Sprintf("record %d to topic %s is refused: %s", r.Record, r.Topic, r.Cause)
			}
			views = append(views, view)
		}
		return views, nil
	})
}

// addressesOf are the addresses of a job's clusters, by the key that lanes name them with.
func addressesOf(job *functions.Job) map[string]string {
	addresses := map[string]string{}
	for i := range job.Egresses {
		addresses[wire.ClusterKey(job.Egresses[i].Cluster)] = job.Egresses[i].Cluster.Address
	}
	for i := range job.Ingresses {
		addresses[wire.ClusterKey(job.Ingresses[i].Cluster)] = job.Ingresses[i].Cluster.Address
	}
	return addresses
}

// query asks every TaskManager of a running job, and returns the answers that come before ctx ends.
func (m *Manager) query(ctx context.Context, j *master, q wire.Query) []*wire.Answer {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	answers := make(chan *wire.Answer, 1)
	asked, err := ask1(ctx, j, func() (int, error) {
		if j.phase != running { // TaskManagers that restore do not answer before they are done
			return 0, nil
		}
		answers = make(chan *wire.Answer, len(j.workers))
		for w := range j.workers {
			j.nextQuery++
			j.queries[j.nextQuery] = answers
			q.Attempt, q.ID = j.attempt, j.nextQuery
			m.endpoint.Send(w, &q)
		}
		return len(j.workers), nil
	})
	if err != nil {
		return nil
	}
	var all []*wire.Answer
	for range asked {
		select {
		case a := <-answers:
			if a.Problem == "" {
				all = append(all, a)
			}
		case <-ctx.Done():
			return all
		}
	}
	return all
}

// State reads one address's state through its mailbox: linearizable, and answered at the next commit point.
func (m *Manager) State(ctx context.Context, name string, function functions.TypeName, key string) (StateView, error) {
	j := m.master(name)
	if j == nil {
		return StateView{}, unknownJob(name)
	}
	specs, err := ask1(ctx, j, func() ([]functions.StateSpec, error) { return j.states(function) })
	if err != nil {
		return StateView{}, err
	}
	answers := m.query(ctx, j, wire.Query{Function: function, Key: []byte(key)})
	if len(answers) == 0 {
		return StateView{}, j.unread(ctx)
	}
	return ask1(ctx, j, func() (StateView, error) {
		a := answers[0]
		view := StateView{Function: function.String(), Key: key, Checkpoint: a.Number, Age: float64(time.Since(j.committed).Microseconds()) / 1000, States: []StateValue{}}
		for i, spec := range specs {
			value := StateValue{Name: spec.Name, Type: spec.Type}
			if i < len(a.State) && a.State[i].Present {
				value.Present, value.Value = true, readable(spec.Type, a.State[i].Bytes)
			}
			view.States = append(view.States, value)
		}
		return view, nil
	})
}

// states are the declared states of a function of the current version.
func (j *master) states(function functions.TypeName) ([]functions.StateSpec, error) {
	job := &j.version().Job
	for i := range job.Modules {
		for _, f := range job.Modules[i].Description.Functions {
			if f.Type == function {
				return f.States, nil
			}
		}
	}
	return nil, refusal(http.StatusNotFound, "unknown-function", "no such function",
		fmt.Sprintf("job %s has no function %s; it has %v", j.record.Name, function, functionNames(job)))
}

// readable shows a state's bytes by its type.
func readable(kind string, b []byte) any {
	switch {
	case kind == "int64" && len(b) == 8:
		var v int64
		for i := 7; i >= 0; i-- {
			v = v<<8 | int64(b[i])
		}
		return v
	case kind == "string":
		return string(b)
	case kind == "json" && json.Valid(b):
		return json.RawMessage(b)
	}
	return b
}

// Logs yields the lines that a job's guests wrote.
func (m *Manager) Logs(ctx context.Context, name string, follow bool, yield func(LogLine) bool) error {
	j := m.master(name)
	if j == nil {
		return unknownJob(name)
	}
	next, attempt := uint64(1), uint64(0)
	for {
		for _, a := range m.query(ctx, j, wire.Query{LogsFrom: next}) {
			if a.Attempt.Attempt != attempt {
				attempt, next = a.Attempt.Attempt, 1
			}
			for _, line := range a.Logs {
				next = max(next, line.Sequence+1)
				if !yield(LogLine{Time: line.Time, Level: levelName(line.Level), Task: line.Task, Text: line.Text}) {
					return nil
				}
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(logPoll):
		}
	}
}

func levelName(level int) string { return strings.ToLower(slog.Level(level).String()) }

// DeadLetters reads a job's dead-letter topics.
func (m *Manager) DeadLetters(ctx context.Context, name string, limit int) ([]DeadLetterView, error) {
	letters, err := m.letters(ctx, name, limit)
	views := []DeadLetterView{}
	for i := range letters {
		views = append(views, letters[i].DeadLetterView)
	}
	return views, err
}

func (m *Manager) letters(ctx context.Context, name string, limit int) ([]Letter, error) {
	job, err := with(ctx, m, name, func(j *master) (functions.Job, error) { return j.version().Job, nil })
	if err != nil {
		return nil, err
	}
	return m.config.Letters(ctx, &job, limit)
}
