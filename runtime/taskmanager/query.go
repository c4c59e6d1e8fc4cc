package taskmanager

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
)

// logLines is how many guest lines are kept per job: enough to see what went wrong, little to hold.
const logLines = 2000

// logRing holds the newest lines that the guests of a worker wrote.
type logRing struct {
	mu    sync.Mutex // guards what follows; a leaf
	lines []wire.Line
	next  uint64
}

func newLogRing() *logRing { return &logRing{next: 1} }

func (r *logRing) add(task, level int, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := wire.Line{Sequence: r.next, Time: time.Now(), Level: level, Task: task, Text: string(text)}
	r.next++
	if len(r.lines) < logLines {
		r.lines = append(r.lines, line)
		return
	}
	r.lines[int(line.Sequence-1)%logLines] = line
}

// from returns the lines kept, from a sequence number on, oldest first.
func (r *logRing) from(sequence uint64) []wire.Line {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := uint64(1)
	if r.next > logLines {
		oldest = r.next - logLines
	}
	var lines []wire.Line
	for s := max(sequence, oldest); s < r.next; s++ {
		lines = append(lines, r.lines[int(s-1)%logLines])
	}
	return lines
}

// guestLog is where the instances of a task write.
func (w *worker) guestLog(task int) func(level int, text []byte) {
	return func(level int, text []byte) { w.logs.add(task, level, text) }
}

// query answers the JobManager's questions about this attempt.
func (w *worker) query(q *wire.Query) {
	answer := &wire.Answer{Attempt: w.attempt, ID: q.ID}
	if q.Stats {
		answer.Stats = w.stats()
	}
	if q.LogsFrom > 0 {
		answer.Logs = w.logs.from(q.LogsFrom)
	}
	if q.Key == nil {
		w.send(answer)
		return
	}
	id, known := w.functionID(q.Function.String())
	if !known {
		answer.Problem = "no function " + q.Function.String()
		w.send(answer)
		return
	}
	correlation := w.manager.front.wait(w, func(a router.Answer) {
		answer.Number = a.Epoch
		if a.Problem != nil {
			answer.Problem = a.Problem.Error()
		} else if err := json.Unmarshal(a.Body, &answer.State); err != nil {
			answer.Problem = err.Error()
		}
		w.send(answer)
	})
	m := &functions.Message{Target: id, Sender: functions.NoSender, Kind: functions.KindRead, Key: q.Key, Time: time.Now().UnixMilli()}
	m.Ext = functions.AppendExt(nil, functions.TagCorrelation, binary.LittleEndian.AppendUint64(nil, correlation))
	if !w.enqueue(m) {
		w.manager.front.forget(correlation)
		answer.Problem = "the job is starting"
		w.send(answer)
	}
}

// latencySamples is how many arrivals the percentile is taken of: some seconds of a busy job.
const latencySamples = 1024

// latency is the time from arrival to commit of the newest messages sampled.
type latency struct {
	millis []int64
	next   int
}

func (l *latency) add(arrivals []int64) {
	now := time.Now().UnixMilli()
	for _, at := range arrivals {
		if len(l.millis) < latencySamples {
			l.millis = append(l.millis, max(now-at, 0))
			continue
		}
		l.millis[l.next%latencySamples] = max(now-at, 0)
		l.next++
	}
}

func (l *latency) p99() float64 {
	if len(l.millis) == 0 {
		return 0
	}
	sorted := slices.Clone(l.millis)
	slices.Sort(sorted)
	return float64(sorted[len(sorted)*99/100])
}

func (w *worker) stats() *wire.Stats {
	s := &wire.Stats{P99Millis: w.latency.p99()}
	if running := w.running.Load(); running != nil {
		s.Tasks = len(*running)
	}
	for _, t := range w.local {
		s.In += t.stats.in.Load()
		s.Out += t.stats.out.Load()
		s.Invocations += t.stats.invocations.Load()
		s.Fuel += t.stats.fuel.Load()
		s.Failures += t.stats.failures.Load()
		s.DeadLetters += t.stats.deadLetters.Load()
		s.Skipped += t.stats.skipped.Load()
		s.Stale += t.stats.stale.Load()
		s.Keys += t.stats.keys.Load()
		s.StateBytes += t.stats.stateBytes.Load()
		s.Lag += t.stats.lag.Load()
	}
	for _, p := range w.publishers {
		oldest, bytes := p.pending()
		s.Lanes = append(s.Lanes, wire.Lane{ID: p.id, Pending: oldest, Bytes: bytes})
	}
	return s
}

// observe copies the gauges of the state to where others may read them.
func (t *task) observe() {
	s := t.state.Stats()
	t.stats.keys.Store(s.Keys)
	t.stats.stateBytes.Store(s.Bytes)
	t.meter.sealed(t)
}
