package taskmanager

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// front brings calls to tasks and answers back to who waits. One serves all workers of a TaskManager.
type front struct {
	mu      sync.Mutex // guards what follows; a leaf
	owners  map[string]*worker
	known   map[string]string // functions of jobs that have been here, by uid, though no task may run now
	waiters map[uint64]waiter
	next    uint64
}

// waiter is told once: an answer, or that its worker is gone.
type waiter struct {
	worker *worker
	tell   func(router.Answer)
}

func newFront() *front {
	return &front{owners: map[string]*worker{}, known: map[string]string{}, waiters: map[uint64]waiter{}}
}

func ownerKey(tenant, functionType string) string { return tenant + "\x00" + functionType }

// expect notes the functions of a job that is about to run: who calls them early is told to come back.
func (f *front) expect(uid string, job *functions.Job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range job.Modules {
		for _, spec := range job.Modules[i].Description.Functions {
			f.known[ownerKey(job.Namespace, spec.Type.String())] = uid
		}
	}
}

// gone forgets the functions of a job that is deleted.
func (f *front) gone(uid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.known, func(_, job string) bool { return job == uid })
}

// open lets calls in for the functions of a worker that has started, or that has switched to another version.
func (f *front) open(w *worker, p *program) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.disown(w)
	for i := range p.functions {
		key := ownerKey(p.job.Namespace, p.functions[i].name.String())
		if p.functions[i].module < 0 {
			delete(f.known, key)
			continue
		}
		f.owners[key], f.known[key] = w, w.attempt.Job
	}
}

// close turns calls away, and tells those who wait that their attempt has ended.
func (f *front) close(w *worker) {
	f.mu.Lock()
	f.disown(w)
	var left []waiter
	for id, waiting := range f.waiters {
		if waiting.worker == w {
			delete(f.waiters, id)
			left = append(left, waiting)
		}
	}
	f.mu.Unlock()
	for _, waiting := range left {
		waiting.tell(router.Answer{Status: http.StatusServiceUnavailable, Problem: &router.Problem{
			Type: "attempt-ended", Title: "the job is recovering", Status: http.StatusServiceUnavailable,
			Detail: "the attempt that had this request ended before its effects were committed; they may still take effect: try again with the same Idempotency-Key",
		}})
	}
}

func (f *front) disown(w *worker) {
	for key, owner := range f.owners {
		if owner == w {
			delete(f.owners, key)
		}
	}
}

// wait registers who is told about an answer, and returns its correlation.
func (f *front) wait(w *worker, tell func(router.Answer)) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	f.waiters[f.next] = waiter{worker: w, tell: tell}
	return f.next
}

func (f *front) forget(id uint64) {
	f.mu.Lock()
	delete(f.waiters, id)
	f.mu.Unlock()
}

func (f *front) answer(id uint64, answer router.Answer) {
	f.mu.Lock()
	waiting, ok := f.waiters[id]
	delete(f.waiters, id)
	f.mu.Unlock()
	if ok {
		waiting.tell(answer)
	}
}

func (f *front) dispatch(ctx context.Context, call *router.Call) (router.Answer, error) {
	f.mu.Lock()
	key := ownerKey(call.Namespace, call.Type)
	w := f.owners[key]
	_, known := f.known[key]
	f.mu.Unlock()
	if w == nil && known {
		return refusal(http.StatusServiceUnavailable, "job-not-running", "the job does not run right now",
			"the job that has "+call.Type+" is starting, recovering or at rest (weir jobs shows it): try again, with the same Idempotency-Key if you sent one"), nil
	}
	if w == nil {
		return refusal(http.StatusNotFound, "function-not-running", "no running job has this function",
			fmt.Sprintf("function %s of tenant %s is not deployed, or its job is not running: see weir jobs", call.Type, call.Namespace)), nil
	}
	id, known := w.functionID(call.Type)
	switch {
	case w.overloaded():
		return refusal(http.StatusServiceUnavailable, "overloaded", "the job has more to do than it gets done",
			"output or messages of the job wait, for a broker or for their turn: try again later"), nil
	case !known:
		return refusal(http.StatusNotFound, "function-not-running", "no running job has this function", call.Type), nil
	case len(call.Key) == 0 || len(call.Key) > maxKeyBytes:
		return refusal(http.StatusBadRequest, "bad-key", "the key does not fit", fmt.Sprintf("key of %d bytes; it must have 1 to %d", len(call.Key), maxKeyBytes)), nil
	}
	answered := make(chan router.Answer, 1)
	correlation := f.wait(w, func(a router.Answer) { answered <- a })
	message := callMessage(call, id, correlation)
	if !w.enqueue(message) {
		f.forget(correlation)
		return refusal(http.StatusServiceUnavailable, "attempt-ended", "the job is recovering", "try again with the same Idempotency-Key"), nil
	}
	select {
	case answer := <-answered:
		if call.Async && answer.Problem == nil {
			answer.Status, answer.Body = http.StatusAccepted, nil
		}
		return answer, nil
	case <-ctx.Done():
		f.forget(correlation)
		return router.Answer{}, ctx.Err()
	}
}

func refusal(status int, kind, title, detail string) router.Answer {
	return router.Answer{Status: status, Problem: &router.Problem{Type: kind, Title: title, Status: status, Detail: detail}}
}

func callMessage(call *router.Call, target uint16, correlation uint64) *functions.Message {
	m := &functions.Message{
		Target: target, Sender: functions.NoSender, Kind: functions.KindRequest, Time: time.Now().UnixMilli(),
		Key: append([]byte(nil), call.Key...), Value: append([]byte(nil), call.Body...), Ext: append([]byte(nil), call.Ext...),
	}
	m.Ext = functions.AppendExt(m.Ext, functions.TagCorrelation, binary.LittleEndian.AppendUint64(nil, correlation))
	if call.Idempotency != "" {
		m.Ext = functions.AppendExt(m.Ext, functions.TagIdempotency, []byte(call.Idempotency))
	}
	if call.Redrive {
		m.Ext = functions.AppendExt(m.Ext, functions.TagRedrive, nil)
	}
	return m
}
