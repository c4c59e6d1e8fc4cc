package taskmanager

import (
	"time"

	"github.com/weir-run/weir/functions"
)

// idleWait is how long a task with nothing due sleeps: it is woken by events, so any long time does.
const idleWait = time.Hour

// retries holds the addresses whose head message failed and waits for its next attempt, with everything that came for
// them since. The message stays at the head until its effects apply or it is dead-lettered, so order is kept, and a failing
// address does not stop its neighbours.
type retries struct {
	blocked map[string]*blockedAddress
	due     int64 // unix ms of the earliest; 0 is none
	bytes   int   // of all that is held
}

// parkedLimit is how much may wait behind failed messages before the ingress is held back: many addresses with a few
// messages each, while one that is hot and fails for long cannot fill the memory, nor every snapshot.
const parkedLimit = 32 << 20

type blockedAddress struct {
	name  string
	due   int64
	queue mailbox
}

func addressKey(b []byte, m *functions.Message) []byte {
	b = append(b, byte(m.Target), byte(m.Target>>8))
	return append(b, m.Key...)
}

// holds says whether the message's address is blocked, and then queues it there.
func (r *retries) holds(m *functions.Message) bool {
	if len(r.blocked) == 0 {
		return false
	}
	var buffer [128]byte
	address, ok := r.blocked[string(addressKey(buffer[:0], m))]
	if ok {
		address.queue.append(m)
		r.bytes += m.Size()
	}
	return ok
}

// block parks a failed message and its address until due.
func (r *retries) block(m *functions.Message, due int64) {
	if r.blocked == nil {
		r.blocked = map[string]*blockedAddress{}
	}
	address := &blockedAddress{name: string(addressKey(nil, m)), due: due, queue: mailbox{small: true}}
	address.queue.append(m)
	r.bytes += m.Size()
	r.blocked[address.name] = address
	if r.due == 0 || due < r.due {
		r.due = due
	}
}

// wait is how long the task may sleep.
func (r *retries) wait(now int64) time.Duration {
	if r.due == 0 {
		return idleWait
	}
	return max(time.Duration(r.due-now)*time.Millisecond, 0)
}

// capture returns the parked messages for a snapshot, heads first.
func (r *retries) capture() []part {
	var captured []part
	for _, address := range r.blocked {
		captured = runParts(captured, address.queue.chunks)
	}
	return captured
}

// wakeRetries brings the messages of addresses that are due back, ahead of the mailbox.
func (t *task) wakeRetries() {
	r := &t.retries
	if r.due == 0 || r.due > t.now {
		return
	}
	r.due = 0
	var first [][]byte
	for name, address := range r.blocked {
		if address.due > t.now {
			if r.due == 0 || address.due < r.due {
				r.due = address.due
			}
			continue
		}
		delete(r.blocked, name)
		r.bytes -= address.queue.bytes
		first = append(first, address.queue.chunks...)
	}
	t.mailbox.prepend(first)
	t.worked = true
}

// fail decides what becomes of a message whose invocation failed: another attempt later, or the dead-letter topic.
func (t *task) fail(m *functions.Message, cause string) error {
	t.stats.failures.Add(1)
	t.meter.failed(t, m.Target)
	t.spans.failed(m, cause)
	function := &t.program.functions[m.Target]
	m.Attempts++
	if int(m.Attempts) < function.retry.Attempts {
		wait := function.retry.Backoff << (m.Attempts - 1)
		if wait > function.retry.MaxBackoff || wait <= 0 {
			wait = function.retry.MaxBackoff
		}
		t.retries.block(m, t.now+max(wait.Milliseconds(), 1))
		return nil
	}
	text := cause
	if m.Kind == functions.KindRequest {
		t.answer(m, failureAnswer(function.name.String(), m.Attempts, text))
	}
	letter := letter{
		topic: function.deadLetter, cluster: t.program.deadLetterCluster, key: m.Key, value: m.Value, ext: headersOf(m.Ext), cause: text, where: origin(m.Ext),
		function: function.name.String(), address: string(m.Key), attempts: int(m.Attempts),
		kind: m.Kind, idempotency: string(functions.Ext(m.Ext, functions.TagIdempotency)), valueType: string(functions.Ext(m.Ext, functions.TagType)),
	}
	return t.bury(&letter)
}
