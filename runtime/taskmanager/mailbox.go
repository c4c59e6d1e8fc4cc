package taskmanager

import "github.com/weir-run/weir/functions"

// chunkBytes is the size of a mailbox chunk: large enough that allocating one costs nothing per message, small enough
// that a task with one waiting message holds little.
const chunkBytes = 64 << 10

// reuseBytes is the room in an empty chunk that is worth keeping it for.
const reuseBytes = 4 << 10

// mailbox is a task's queue of messages in bytes, oldest first. Chunks are only ever appended to, so that a snapshot
// captures the queue as slices, without a copy. Whole frames of other tasks become chunks as they are.
type mailbox struct {
	chunks [][]byte // the first may have been read in part; the last is written to when own
	own    bool     // the last chunk is ours to append to
	small  bool     // one of many: chunks grow from a small one
	bytes  int
}

// append adds one message.
func (m *mailbox) append(message *functions.Message) {
	size := message.Size()
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
	m.bytes += size
}

// add takes a run of encoded messages over; the caller never writes to it again.
func (m *mailbox) add(run []byte) {
	if len(run) == 0 {
		return
	}
	m.chunks = append(m.chunks, run)
	m.own = false
	m.bytes += len(run)
}

// next reads the oldest message into message, as a view that stays valid, and takes it off the queue.
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

// capture returns what is queued, oldest first: slices that later appends do not change.
func (m *mailbox) capture() [][]byte {
	captured := make([][]byte, 0, len(m.chunks))
	for _, c := range m.chunks {
		if len(c) > 0 {
			captured = append(captured, c[:len(c):len(c)])
		}
	}
	return captured
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
