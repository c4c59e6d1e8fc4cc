package taskmanager

import (
	"slices"

	"github.com/weir-run/weir/functions"
)

// chunkBytes is the size of a mailbox chunk: large enough that allocating one costs nothing per message, small enough
// that a task with one waiting message holds little.
const chunkBytes = 64 << 10

// reuseBytes is the room in an empty chunk that is worth keeping it for.
const reuseBytes = 4 << 10

// mailbox is a task's queue of messages in bytes, oldest first. Chunks are only ever appended to, so that a snapshot
// captures the queue as slices, without a copy. Whole frames of other tasks become chunks as they are. What does not fit
// into memory lies behind the chunks, in over.
type mailbox struct {
	chunks [][]byte // the first may have been read in part; the last is written to when own
	own    bool     // the last chunk is ours to append to; never with over
	small  bool     // one of many: chunks grow from a small one
	bytes  int      // of all that waits, over included
	over   *overflow
	loaded []loadedSegment // that chunks are made of
}

// loadedSegment is a segment that has become a chunk: until that is read, snapshots refer to the file.
type loadedSegment struct {
	segment *segment
	whole   []byte
}

// append adds one message.
func (m *mailbox) append(message *functions.Message) {
	size := message.Size()
	m.bytes += size
	if m.over != nil {
		m.over.behind.append(message)
		return
	}
	if n := len(m.chunks); !m.own || n == 0 || cap(m.chunks[n-1])-len(m.chunks[n-1]) < size {
		room := chunkBytes
		if m.small {
			room = nextChunk(m.chunks)
		}
		m.chunks = append(m.chunks, make([]byte, 0, max(room, size)))
		m.own = true
	}
	last := len(m.chunks) - 1
	m.chunks[last] = functions.AppendMessage(m.chunks[last], message)
}

// add takes a run of encoded messages over; the caller never writes to it again.
func (m *mailbox) add(run []byte) {
	if len(run) == 0 {
		return
	}
	m.bytes += len(run)
	if m.over != nil {
		m.over.behind.add(run)
		return
	}
	m.chunks = append(m.chunks, run)
	m.own = false
}

// next reads the oldest message into message, as a view that stays valid, and takes it off the queue. It finds none also
// when the oldest are in a segment that has not come back yet.
func (m *mailbox) next(message *functions.Message) (bool, error) {
	for len(m.chunks) > 0 && len(m.chunks[0]) == 0 {
		if len(m.chunks) == 1 && m.own && cap(m.chunks[0]) >= reuseBytes {
			return false, nil // there is room for what comes next
		}
		m.drop()
	}
	if len(m.chunks) == 0 {
		return false, nil
	}
	n, err := functions.ParseMessage(m.chunks[0], message)
	if err != nil {
		return false, err
	}
	m.chunks[0] = m.chunks[0][n:]
	m.bytes -= n
	return true, nil
}

func (m *mailbox) drop() {
	if len(m.chunks) == 1 {
		m.own = false
	}
	m.chunks[0] = nil
	m.chunks = m.chunks[1:]
}

// capture returns what is queued, oldest first: slices that later appends do not change, and segments.
func (m *mailbox) capture() []part {
	captured := make([]part, 0, len(m.chunks))
	for _, c := range m.chunks {
		if len(c) > 0 {
			captured = append(captured, m.part(c))
		}
	}
	if m.over != nil {
		captured = m.over.capture(captured)
	}
	return captured
}

// part is a chunk as a snapshot has it: by reference when a file holds it.
func (m *mailbox) part(chunk []byte) part {
	for i := range m.loaded {
		l := &m.loaded[i]
		if &chunk[len(chunk)-1] == &l.whole[len(l.whole)-1] {
			l.segment.named = true
			return part{segment: l.segment, skip: len(l.whole) - len(chunk)}
		}
	}
	return part{run: chunk[:len(chunk):len(chunk)]}
}

// prepend puts runs of messages ahead of everything queued, in their order.
func (m *mailbox) prepend(runs [][]byte) {
	for _, run := range runs {
		m.bytes += len(run)
	}
	if len(m.chunks) == 0 {
		m.own = false
	}
	m.chunks = append(runs, m.chunks...)
}

// head is how many bytes wait ahead of what has been moved out of memory.
func (m *mailbox) head() int {
	if m.over == nil {
		return m.bytes
	}
	return m.bytes - m.over.away - m.over.behind.bytes
}

// shed takes the youngest runs out of memory, all but keep bytes of the oldest. They still count as waiting, in away,
// and are to be put into segments of over.
func (m *mailbox) shed(keep int) [][]byte {
	if m.over != nil {
		return m.over.shed()
	}
	at, kept := 0, 0
	for at < len(m.chunks) && kept < keep {
		kept += len(m.chunks[at])
		at++
	}
	if at == len(m.chunks) {
		return nil
	}
	m.over, m.own = &overflow{}, false
	runs := slices.Clone(m.chunks[at:])
	clear(m.chunks[at:])
	m.chunks = m.chunks[:at]
	return m.over.count(runs)
}

// join ends an overflow whose segments have all come back: what is behind them follows.
func (m *mailbox) join() {
	behind := m.over.behind
	m.over = nil
	if len(behind.chunks) == 0 {
		return
	}
	m.chunks = append(m.chunks, behind.chunks...)
	m.own = behind.own
}
