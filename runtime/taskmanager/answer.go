package taskmanager

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore"
)

const (
	statusOK        = http.StatusOK
	statusNoContent = http.StatusNoContent
)

// idempotencyTTL is how long an answer is kept for retries with the same Idempotency-Key: a day, as payment interfaces do.
const idempotencyTTL = 24 * time.Hour

// reply is an answer that waits for the commit point of its epoch.
type reply struct {
	correlation uint64
	answer      router.Answer
}

// hold keeps an answer until the epoch that holds its effects is committed, so that no client sees what a crash takes back.
func (t *task) hold(m *functions.Message, answer router.Answer) {
	if c := functions.Ext(m.Ext, functions.TagCorrelation); len(c) == 8 {
		if planted.Is(planted.ReplyBeforeCommit) {
			t.worker.manager.front.answer(binary.LittleEndian.Uint64(c), answer)
		}
		if len(t.samples) < epochSamples {
			t.samples = append(t.samples, m.Time)
		}
		t.replies = append(t.replies, reply{correlation: binary.LittleEndian.Uint64(c), answer: answer})
		t.waiting = true
	}
}

// answer holds the answer to a request, and keeps it in the state for retries when the request has an Idempotency-Key.
func (t *task) answer(m *functions.Message, answer router.Answer) {
	if key := functions.Ext(m.Ext, functions.TagIdempotency); key != nil && !planted.Is(planted.IdempotencyOutsideTheEpoch) {
		entry := t.idempotencyEntry(m, key)
		entry.Present, entry.Value, entry.Expires = true, encodeAnswer(answer), t.now+idempotencyTTL.Milliseconds()
		if redriven(m) {
			entry.Expires = 0 // its letter stays in the dead-letter topic for as long as its owner likes
		}
		if err := t.state.Write([]statestore.Entry{entry}); err != nil {
			t.worker.fail(fmt.Errorf("keep the answer to a request: %w", err))
			return
		}
		t.changed()
	}
	t.hold(m, answer)
}

func redriven(m *functions.Message) bool { return functions.Ext(m.Ext, functions.TagRedrive) != nil }

// encodeAnswer writes an answer for the state; JSON, as it is rare and read by people who debug.
func encodeAnswer(answer router.Answer) []byte {
	b, err := json.Marshal(answer)
	if err != nil {
		panic(fmt.Sprintf("taskmanager: encode answer: %v", err))
	}
	return b
}

func decodeAnswer(b []byte) (router.Answer, error) {
	var answer router.Answer
	if err := json.Unmarshal(b, &answer); err != nil {
		return answer, fmt.Errorf("stored answer to a request: %w", err)
	}
	return answer, nil
}

func failureAnswer(function string, attempts uint8, cause string) router.Answer {
	return router.Answer{Status: http.StatusInternalServerError, Problem: &router.Problem{
		Type: "invocation-failed", Title: "the function failed", Status: http.StatusInternalServerError,
		Detail: fmt.Sprintf("%s failed in %d attempts, and nothing of it applied: %s", function, attempts, firstLine(cause)),
		Docs:   "docs/errors.md#invocation-failed",
	}}
}

// serveReads answers linearizable state reads: after every invocation that came before them, at the next commit point.
func (t *task) serveReads() error {
	for i := range t.reads {
		m := &t.reads[i]
		function := &t.program.functions[m.Target]
		hash := functions.Hash(m.Key)
		entries := make([]statestore.Entry, len(function.states))
		for j, id := range function.states {
			entries[j] = statestore.Entry{Group: functions.GroupOf(hash, t.groups), State: id, Hash: hash, Key: m.Key}
		}
		if err := t.state.Read(t.now, entries); err != nil {
			return err
		}
		values := make([]wire.Value, len(entries))
		for j := range entries {
			values[j] = wire.Value{Present: entries[j].Present, Bytes: append([]byte(nil), entries[j].Value...)}
		}
		body, err := json.Marshal(values)
		if err != nil {
			panic(fmt.Sprintf("taskmanager: encode state: %v", err))
		}
		t.hold(m, router.Answer{Status: statusOK, Body: body})
	}
	clear(t.reads)
	t.reads = t.reads[:0]
	return nil
}
