package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"

	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// logs is the broker of a run: topics of partitions, and the lanes' markers. It outlives processes. A transaction's records
// and its marker become visible in one step of the scheduler.
type logs struct {
	published func(l *lane, number uint64) // told of every commit before it is visible

	mu      sync.Mutex // guards what follows; a leaf
	topics  map[string][][]Record
	markers map[string]uint64
	holders map[string]int   // by lane: how often it was taken
	newest  map[string]*lane // who took it last
	readers []*ingress
}

func newLogs(partitions int, topics ...string) *logs {
	b := &logs{topics: map[string][][]Record{}, markers: map[string]uint64{}, holders: map[string]int{}, newest: map[string]*lane{}}
	for _, t := range topics {
		b.topics[t] = make([][]Record, partitions)
	}
	return b
}

// append adds a record and says in which partition.
func (b *logs) append(topic, key, value string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	partitions := b.topics[topic]
	p := int(h.Sum32() % uint32(len(partitions)))
	partitions[p] = append(partitions[p], Record{key, value})
	return p
}

// produce appends a record as somebody else does, and wakes who reads.
func (b *logs) produce(topic, key, value string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.append(topic, key, value)
	for _, r := range b.readers {
		r.signal()
	}
	return p
}

// ingress implements router.Ingress over one task's partitions.
type ingress struct {
	logs        *logs
	limit       int // of records per Poll
	start, next []router.Position
	ready       chan struct{}
	turn        int
	fetch       router.Fetch
}

func (p *process) ingress(r *taskmanager.IngressRequest) (router.Ingress, error) {
	if p.world.options.Broker != nil {
		return p.world.options.Broker.Ingress(r)
	}
	b := p.world.logs
	in := &ingress{logs: b, limit: p.world.plan.poll, ready: make(chan struct{}, 1)}
	topic := r.Spec.Topics[0].Topic
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.topics[topic] {
		if id%r.Tasks != r.Task {
			continue
		}
		position := router.Position{Partition: router.Partition{Ingress: r.Spec.ID, Topic: topic, ID: int32(id)}}
		for _, known := range r.Positions {
			if known.Partition == position.Partition {
				position = known
			}
		}
		in.next = append(in.next, position)
	}
	in.start = append(in.start, in.next...)
	b.readers = append(b.readers, in)
	in.signal()
	return in, nil
}

func (i *ingress) signal() {
	select {
	case i.ready <- struct{}{}:
	default: // a token is there
	}
}

func (i *ingress) Run(ctx context.Context) error        { <-ctx.Done(); return nil }
func (i *ingress) Ready() <-chan struct{}               { return i.ready }
func (i *ingress) Positions() ([]router.Position, bool) { return i.start, true }
func (i *ingress) Committed([]router.Position)          {}
func (i *ingress) Done() bool                           { return false }

func (i *ingress) Poll(limit int) *router.Fetch {
	i.logs.mu.Lock()
	defer i.logs.mu.Unlock()
	for range i.next {
		i.turn = (i.turn + 1) % len(i.next)
		p := &i.next[i.turn]
		log := i.logs.topics[p.Topic][p.ID]
		if int(p.Offset) >= len(log) {
			continue
		}
		i.fetch = router.Fetch{Partition: p.Partition, HighWater: int64(len(log))}
		for len(i.fetch.Records) < min(limit, i.limit) && int(p.Offset) < len(log) {
			r := log[p.Offset]
			i.fetch.Records = append(i.fetch.Records, router.Record{Key: []byte(r.Key), Value: []byte(r.Value), Offset: p.Offset})
			p.Offset++
		}
		i.fetch.Next = *p
		return &i.fetch
	}
	return nil
}

// egress implements router.Egress.
type egress struct {
	process *process
	closed  atomic.Bool

	mu    sync.Mutex            // guards what follows; a leaf
	sends map[string][]*sending // by key, in order
}

func (p *process) egress(r *taskmanager.EgressRequest) (router.Egress, error) {
	if p.world.options.Broker != nil {
		return p.world.options.Broker.Egress(r)
	}
	return &egress{process: p, sends: map[string][]*sending{}}, nil
}

func (e *egress) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (e *egress) Close() error                  { e.closed.Store(true); return nil }

func (e *egress) Check(r *router.EgressRecord) error {
	if e.process.world.logs.topics[string(r.Topic)] == nil { // topics never change
		return router.ErrUnknownTopic
	}
	return nil
}

func (e *egress) Lane(id string) (router.Lane, error) {
	return &lane{process: e.process, logs: e.process.world.logs, id: id}, nil
}

// lane implements router.Lane as router/kafkaio does: take the id over, which fences who held it; read the marker; write
// records and marker in one transaction; after any doubt take the id again, as oneself, and read the marker.
type lane struct {
	process *process
	logs    *logs
	id      string
	holder  int
	open    bool   // a transaction may be, with something in it
	head    uint64 // the outbox that it holds whole; 0: none
}

var (
	errBroker = errors.New("the broker does not answer")
	errFenced = errors.New("the lane is held by somebody else")
)

func (l *lane) Cookie() []byte { return nil }
func (l *lane) Close() error   { return nil }

// ask is one request to the broker: done says whether it had its effect. late is what becomes of it when the process ends
// while it is on its way.
func (l *lane) ask(ctx context.Context, what string, late func()) (done bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	switch l.process.world.scheduler.holdLate(l.process, broker, fmt.Sprintf("%d/lane/%s/%s", l.process.number, l.id, what), late) {
	case died:
		return false, errDied
	case refuse:
		return false, errBroker
	case doubt:
		return true, errBroker
	}
	return true, nil
}

// insist asks until the broker answers.
func (l *lane) insist(ctx context.Context, what string, effect func() error) error {
	for {
		done, err := l.ask(ctx, what, nil)
		var failed error
		if done {
			l.logs.mu.Lock()
			failed = effect()
			l.logs.mu.Unlock()
		}
		switch {
		case failed != nil:
			return failed
		case err == nil:
			return nil
		case !errors.Is(err, errBroker):
			return err
		}
	}
}

// take takes the id over; as itself, a lane that was fenced does not get it back.
func (l *lane) take(ctx context.Context, again bool) error {
	return l.insist(ctx, "take", func() error {
		if again && l.logs.holders[l.id] != l.holder && !planted.Is(planted.FenceOff) {
			return errFenced
		}
		if !again {
			if !planted.Is(planted.FenceOff) {
				l.logs.holders[l.id]++
			}
			l.holder, l.logs.newest[l.id] = l.logs.holders[l.id], l
		}
		l.open, l.head = false, 0
		return nil
	})
}

func (l *lane) marker(ctx context.Context) (number uint64, found bool, err error) {
	err = l.insist(ctx, "marker", func() error { number, found = l.logs.markers[l.id]; return nil })
	return number, found, err
}

// Recover implements router.Lane.
func (l *lane) Recover(ctx context.Context, known bool, last uint64, _ []byte, pending []router.Pending) error {
	var marker uint64
	var found bool
	read := func() (err error) { marker, found, err = l.marker(ctx); return err }
	take := func() error { return l.take(ctx, false) }
	order := []func() error{take, read}
	if planted.Is(planted.MarkerReadBeforeFencing) {
		order = []func() error{read, take}
	}
	for _, do := range order {
		if err := do(); err != nil {
			return err
		}
	}
	if known && !found || found && marker > last {
		return fmt.Errorf("%w: marker %d (%v), manifest %d", router.ErrMarker, marker, found, last)
	}
	if !found {
		if err := l.publish(ctx, 0, nil); err != nil {
			return err
		}
	}
	for _, p := range pending {
		if found && p.Number <= marker {
			continue
		}
		if err := l.publish(ctx, p.Number, p.Outbox); err != nil {
			return err
		}
	}
	return nil
}

// Prepare implements router.Lane.
func (l *lane) Prepare(ctx context.Context, number uint64, outbox [][]byte) {
	l.head = 0
	if l.write(ctx) != nil {
		return
	}
	l.head = number
	if planted.Is(planted.PublishedBeforeCommit) {
		_ = l.commit(number, outbox) // Publish meets what is wrong
	}
}

// Discard implements router.Lane.
func (l *lane) Discard(ctx context.Context) {
	l.head = 0
	if l.open {
		_ = l.take(ctx, true) // Publish meets what is wrong
	}
}

// Publish implements router.Lane.
func (l *lane) Publish(ctx context.Context, number uint64, outbox [][]byte) error {
	if l.head == number && planted.Is(planted.PublishedBeforeCommit) {
		l.open = false
		return nil
	}
	return l.publish(ctx, number, outbox)
}

// write sends an outbox into a transaction of its own; what an earlier one left open is ended first.
func (l *lane) write(ctx context.Context) error {
	if l.open {
		if err := l.take(ctx, true); err != nil {
			return err
		}
	}
	l.open = true
	_, err := l.ask(ctx, "write", nil)
	return err // the broker aborts what was written
}

func (l *lane) publish(ctx context.Context, number uint64, outbox [][]byte) error {
	for {
		err := l.transact(ctx, number, outbox)
		if err == nil || !errors.Is(err, errBroker) {
			return err
		}
		if err := l.take(ctx, true); err != nil {
			return err
		}
		marker, found, err := l.marker(ctx)
		if err != nil {
			return err
		}
		if found && marker == number {
			return nil
		}
	}
}

// transact is one transaction: written, ended, and the answer.
func (l *lane) transact(ctx context.Context, number uint64, outbox [][]byte) error {
	if l.head == 0 || l.head != number {
		if err := l.write(ctx); err != nil {
			return err
		}
	}
	l.head = 0
	// What a fenced lane ends late comes to nothing.
	done, err := l.ask(ctx, "end", func() { _ = l.commit(number, outbox) })
	if done {
		if failed := l.commit(number, outbox); failed != nil {
			return failed
		}
	}
	if err != nil {
		return err
	}
	l.open = false
	if planted.Is(planted.MarkerOutsideTheTransaction) {
		return l.insist(ctx, "mark", func() error { l.logs.markers[l.id] = number; return nil })
	}
	_, err = l.ask(ctx, "told", nil)
	return err
}

// commit makes a transaction visible.
func (l *lane) commit(number uint64, outbox [][]byte) error {
	l.logs.mu.Lock()
	defer l.logs.mu.Unlock()
	if l.logs.holders[l.id] != l.holder {
		return errFenced
	}
	l.logs.published(l, number)
	for _, chunk := range outbox {
		for r, err := range router.EgressRecords(chunk) {
			if err != nil {
				return err
			}
			l.logs.append(string(r.Topic), string(r.Key), string(r.Value))
		}
	}
	if !planted.Is(planted.MarkerOutsideTheTransaction) {
		l.logs.markers[l.id] = number
	}
	return nil
}
