package taskmanager

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/router"
)

// outboxes collects an epoch's exactly-once output, by cluster, in chunks that are never moved.
type outboxes struct {
	chunks [][][]byte
	bytes  int // of the epoch
}

func newOutboxes(clusters int) outboxes { return outboxes{chunks: make([][][]byte, clusters)} }

func (o *outboxes) append(cluster int, record *router.EgressRecord) {
	o.chunks[cluster] = appendChunk(o.chunks[cluster], record)
	o.bytes += record.Size()
}

// take returns the epoch's output and starts the next epoch's.
func (o *outboxes) take() [][][]byte {
	taken := o.chunks
	o.bytes = 0
	o.chunks = make([][][]byte, len(taken))
	return taken
}

func appendChunk(chunks [][]byte, record *router.EgressRecord) [][]byte {
	size := record.Size()
	last := len(chunks) - 1
	if last < 0 || cap(chunks[last])-len(chunks[last]) < size {
		chunks = append(chunks, make([]byte, 0, max(nextChunk(chunks), size)))
		last++
	}
	chunks[last] = router.AppendEgress(chunks[last], record)
	return chunks
}

// nextChunk grows chunks from 4 KiB, so that an epoch with one record is small, to chunkBytes.
func nextChunk(chunks [][]byte) int { return min(4<<10<<min(len(chunks), 4), chunkBytes) }

// unacked is at-least-once output: sent at once, and kept until the broker has it, so that a snapshot can hold what is
// still on its way.
type unacked struct {
	open  []*sending // per cluster, being filled
	sent  [][]*sending
	spare [][]byte // chunks of output that brokers have
	bytes int      // of all
}

// spareChunks bounds what is kept for later output: a few turns' worth, on their way to a broker that answers.
const spareChunks = 64

// sending is one batch of at-least-once output.
type sending struct {
	cluster  int
	batch    [][]byte
	bytes    int
	captured bool // a snapshot may still be reading its chunks
}

func newUnacked(clusters int) unacked {
	return unacked{open: make([]*sending, clusters), sent: make([][]*sending, clusters)}
}

func (u *unacked) append(cluster int, record *router.EgressRecord) {
	if u.open[cluster] == nil {
		u.open[cluster] = &sending{cluster: cluster}
	}
	s, size := u.open[cluster], record.Size()
	last := len(s.batch) - 1
	if n := len(u.spare); n > 0 && size <= chunkBytes && (last < 0 || cap(s.batch[last])-len(s.batch[last]) < size) {
		s.batch = append(s.batch, u.spare[n-1])
		u.spare = u.spare[:n-1]
	}
	s.batch = appendChunk(s.batch, record)
	s.bytes += size
	u.bytes += size
}

// flush hands what was collected in this turn to the brokers.
func (u *unacked) flush(t *task) {
	for cluster, s := range u.open {
		if s == nil {
			continue
		}
		u.open[cluster] = nil
		u.sent[cluster] = append(u.sent[cluster], s)
		t.transmit(s)
	}
}

// transmit sends a batch; the egress calls back from its own goroutines, chunk by chunk.
func (t *task) transmit(s *sending) {
	var left atomic.Int64
	left.Store(int64(len(s.batch)))
	t.worker.unsent.Add(1)
	published := t.spans.publish(t)
	for _, chunk := range s.batch {
		t.program.clusters[s.cluster].egress.Send(chunk, func(err error) {
			if err != nil {
				t.worker.fail(fmt.Errorf("send at-least-once output: %w", err))
				return
			}
			if left.Add(-1) != 0 {
				return
			}
			published()
			t.commands.Put(command{acked: s})
			if w := t.worker; w.unsent.Add(-1) == 0 && w.ending.Load() {
				w.events.Put(func() error { w.reportFinished(); return nil })
			}
		})
	}
}

func (u *unacked) remove(s *sending) {
	list := u.sent[s.cluster]
	for i := range list {
		if list[i] == s {
			u.bytes -= s.bytes
			u.sent[s.cluster] = slices.Delete(list, i, i+1)
			u.keep(s)
			return
		}
	}
}

// keep takes the chunks of output that is done back.
func (u *unacked) keep(s *sending) {
	for _, chunk := range s.batch {
		if !s.captured && cap(chunk) == chunkBytes && len(u.spare) < spareChunks {
			u.spare = append(u.spare, chunk[:0])
		}
	}
}

func (u *unacked) capture() [][][]byte {
	captured := make([][][]byte, len(u.sent))
	if planted.Is(planted.UnacknowledgedForgotten) {
		return captured
	}
	for cluster, list := range u.sent {
		for _, s := range list {
			s.captured = true
			captured[cluster] = append(captured[cluster], s.batch...)
		}
		if u.open[cluster] != nil {
			u.open[cluster].captured = true
			captured[cluster] = append(captured[cluster], u.open[cluster].batch...)
		}
	}
	return captured
}

// letter is a message or record on its way to a dead-letter topic.
type letter struct {
	topic             string
	cluster           int // index into program.clusters; -1: the job has no Kafka
	key, value, ext   []byte
	cause, where      string
	function, address string
	attempts          int
	kind              functions.Kind
	idempotency       string
	valueType         string
	bare              bool // without what did not fit
}

// bareCauseBytes is what a stripped letter says of its cause: a line.
const bareCauseBytes = 256

// strip leaves out what makes a letter too large for its topic. Without value and function it tells what happened and
// where the message came from, and is not redriven; the job goes on, which a message must not be able to stop.
func (l *letter) strip() {
	cause := firstLine(l.cause)
	l.cause = fmt.Sprintf("%s (%s: its value of %d bytes does not fit into the dead-letter topic and is left out)",
		cause[:min(len(cause), bareCauseBytes)], l.function, len(l.value))
	l.value, l.ext, l.function, l.bare = []byte{}, nil, "", true
}

// Headers of a dead letter, beside the headers that the record had.
const (
	LetterCause       = "weir-cause"
	LetterFunction    = "weir-function"
	LetterKey         = "weir-key"
	LetterWhere       = "weir-coordinates"
	LetterAttempts    = "weir-attempts"
	LetterTime        = "weir-time"
	LetterJob         = "weir-job"
	LetterIdempotency = "weir-idempotency-key"
	LetterType        = "weir-value-type"
)

// maxCauseBytes bounds a cause with its stack, so that a dead letter is never much larger than the record it is about.
const maxCauseBytes = 8 << 10

// bury puts a dead letter into the outbox: exactly once, in the epoch in which the message leaves its mailbox.
func (t *task) bury(l *letter) error {
	if !l.bare {
		t.stats.deadLetters.Add(1)
	}
	if len(l.cause) > maxCauseBytes {
		l.cause = l.cause[:maxCauseBytes]
	}
	t.log.Warn("dead letter", "address", l.function+"/"+l.address, "from", l.where, "cause", firstLine(l.cause))
	t.changed()
	if l.cluster < 0 {
		return nil
	}
	ext := append([]byte(nil), l.ext...)
	for _, h := range [][2]string{{LetterCause, l.cause}, {LetterFunction, l.function}, {LetterKey, l.address}, {LetterWhere, l.where},
		{LetterAttempts, strconv.Itoa(l.attempts)}, {LetterTime, time.UnixMilli(t.now).UTC().Format(time.RFC3339Nano)},
		{LetterJob, t.worker.job}, {LetterIdempotency, l.idempotency}, {LetterType, l.valueType}} {
		if h[1] != "" {
			ext = functions.AppendHeader(ext, []byte(h[0]), []byte(h[1]))
		}
	}
	record := router.EgressRecord{Topic: []byte(l.topic), Key: l.key, Value: l.value, Time: t.now, Ext: ext}
	err := t.program.clusters[l.cluster].egress.Check(&record)
	if errors.Is(err, router.ErrTooLarge) && !l.bare {
		bare := *l
		bare.strip()
		return t.bury(&bare)
	}
	if err != nil {
		return fatal(fmt.Errorf("dead letter of %s %s to topic %s: %w", l.function, l.where, l.topic, err))
	}
	t.emit(l.cluster, functions.ExactlyOnce, &record)
	return nil
}

func firstLine(s string) string {
	for i := range len(s) {
		if s[i] == '\n' {
			return s[:i]
		}
	}
	return s
}

// headersOf copies the headers among a message's extensions.
func headersOf(ext []byte) []byte {
	var headers []byte
	for tag, v := range functions.Exts(ext) {
		if tag == functions.TagHeader {
			headers = functions.AppendExt(headers, tag, v)
		}
	}
	return headers
}
