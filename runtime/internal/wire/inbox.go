package wire

import "sync"

// Inbox is a queue of frames or messages with one reader, in the order of Put. Put never blocks.
type Inbox[T any] struct {
	ready chan struct{}

	mu     sync.Mutex // guards what follows; a leaf, never held while blocking
	items  []T
	closed bool
}

// NewInbox makes an inbox. It signals ready, a channel of capacity 1 or more that several inboxes may share, after
// every Put to an empty inbox; nil makes one of its own.
func NewInbox[T any](ready chan struct{}) *Inbox[T] {
	if ready == nil {
		ready = make(chan struct{}, 1)
	}
	return &Inbox[T]{ready: ready}
}

// Put appends an item; after Close it is dropped.
func (q *Inbox[T]) Put(item T) {
	q.mu.Lock()
	first := len(q.items) == 0
	if !q.closed {
		q.items = append(q.items, item)
	}
	q.mu.Unlock()
	if first {
		select {
		case q.ready <- struct{}{}:
		default: // a token is there already, and the reader takes all there is
		}
	}
}

// Take returns everything queued. spare becomes the queue's next buffer, so that two buffers go back and forth.
func (q *Inbox[T]) Take(spare []T) []T {
	q.mu.Lock()
	items := q.items
	q.items = spare[:0]
	q.mu.Unlock()
	return items
}

// Ready has a token when Take may return something.
func (q *Inbox[T]) Ready() <-chan struct{} { return q.ready }

// Close drops what is queued and whatever is put later.
func (q *Inbox[T]) Close() {
	q.mu.Lock()
	q.items, q.closed = nil, true
	q.mu.Unlock()
}
