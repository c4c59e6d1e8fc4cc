package kafkaio

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/router"
)

// Send implements router.Egress. It does not bound what is in flight: the records are those of the caller's snapshot,
// and the caller stops its ingress when they are too many. Records leave while Run goes on; Close ends those that are
// not acknowledged by then.
func (e *Egress) Send(encoded []byte, done func(error)) { e.sender.accept(encoded, done) }

// sender is the at-least-once output of an egress. A record is appended to the batch of its partition when it is sent.
// Each leader has one request under way at most, with the next batch of every partition that it leads; what comes
// meanwhile makes the next request. So a lone record leaves at once and a flood leaves in large batches, and no batch
// overtakes another of its partition: producer id, epoch and sequence only keep a broker from taking one twice or late.
// More requests under way would gain little: a broker handles those of a connection one by one.
type sender struct {
	e    *Egress
	wake chan struct{} // capacity 1: there may be something for run to do
	pool sync.Pool     // *parcel

	mu        sync.Mutex // guards what follows, and all that topics and partitions hold
	who       producer   // of partitions that begin; nobody has to be asked for
	topics    map[string]*sendTopic
	ready     []*sendPart    // have a batch and no request under way
	busy      map[int32]bool // leaders with a request under way
	stale     bool           // leaders or topics have to be asked for
	looking   bool           // they are being asked for
	looks     int            // in a row that left something unknown
	lookAfter time.Time
	over      []*outgoing // to be told by unlock
	closed    bool
}

// sendTopic is the output to one topic.
type sendTopic struct {
	name     string
	asOf     *map[string]*topic // what seen was taken from
	seen     *topic             // nil: unknown
	parts    []*sendPart
	sticky   int // partition of records without key, until its batch is full or leaves
	maxBytes int // of seen
	limit    int // of a batch, in bytes
	parked   []parked
	missing  int // looks in a row that did not find it though records wait
}

// parked is a record whose topic is unknown. Its bytes belong to the egress while its Send is not over.
type parked struct {
	record []byte
	index  int32
	out    *outgoing
}

// sendPart is the output to one partition.
type sendPart struct {
	topic    *sendTopic
	id       int32
	who      producer // nobody before the first batch
	sequence int32    // of the next batch
	queue    []*parcel
	flying   bool      // queue[0] is under way
	queued   bool      // in sender.ready
	stale    bool      // waits for a look
	failures int       // in a row
	unknown  int       // of those, in a row, by a broker that does not know the partition
	after    time.Time // the next try
}

// outgoing is one Send.
type outgoing struct {
	done func(error)
	open int // records that are not acknowledged
	over bool
	err  error
}

func newSender(e *Egress) *sender {
	return &sender{e: e, wake: make(chan struct{}, 1), who: nobody, topics: map[string]*sendTopic{}, busy: map[int32]bool{}}
}

// unlock releases the lock and tells every Send that is over.
func (s *sender) unlock() {
	over := s.over
	s.over = nil
	s.mu.Unlock()
	for _, out := range over {
		out.done(out.err)
	}
}

// end notes that a Send is over, once.
func (s *sender) end(out *outgoing, err error) {
	if !out.over {
		out.over, out.err = true, err
		s.over = append(s.over, out)
	}
}

// refuse ends a Send with the error of one of its records.
func (s *sender) refuse(out *outgoing, index int32, topic string, err error) {
	if out.over {
		return
	}
	err = fmt.Errorf("send record %d to %s: %w", index, topic, err)
	if refused(err) {
		err = fmt.Errorf("%w: %w", router.ErrRefused, err)
	}
	s.end(out, err)
}

func (s *sender) accept(encoded []byte, done func(error)) {
	out := &outgoing{done: done, open: 1} // the one is for what is still to be read of encoded
	s.mu.Lock()
	defer s.unlock()
	if s.closed {
		s.end(out, fmt.Errorf("send: %w", kgo.ErrClientClosed))
		return
	}
	var r router.EgressRecord
	var t *sendTopic
	was := len(s.ready)
	for index := int32(0); len(encoded) > 0; index++ {
		n, err := router.ParseEgress(encoded, &r)
		if err != nil {
			s.end(out, fmt.Errorf("send: %w", err))
			return
		}
		if t == nil || t.name != string(r.Topic) {
			t = s.topic(r.Topic)
		}
		out.open++
		if t.seen == nil {
			t.parked = append(t.parked, parked{encoded[:n], index, out})
			s.stale = true
		} else {
			s.append(t, &r, n, index, out)
		}
		encoded = encoded[n:]
	}
	if out.open--; out.open == 0 {
		s.end(out, nil)
	}
	if s.stale || len(s.ready) > was {
		token(s.wake)
	}
}

// topic is the output to a topic, with what is known of it.
func (s *sender) topic(name []byte) *sendTopic {
	t := s.topics[string(name)]
	if t == nil {
		t = &sendTopic{name: string(name)}
		s.topics[t.name] = t
		if _, declared := s.e.declared[t.name]; !declared {
			s.e.want(t.name)
		}
	}
	s.refresh(t)
	return t
}

// refresh takes over what was learnt of a topic, and sends what waited for it.
func (s *sender) refresh(t *sendTopic) {
	all := s.e.topics.Load()
	if all == t.asOf {
		return
	}
	t.asOf, t.seen = all, (*all)[t.name]
	if t.seen == nil || len(t.seen.leaders) == 0 {
		t.seen = nil
		return
	}
	if t.seen.maxBytes != t.maxBytes {
		t.maxBytes = t.seen.maxBytes
		t.limit = min(t.maxBytes, batchBytes)
	}
	for id := int32(len(t.parts)); int(id) < len(t.seen.leaders); id++ {
		t.parts = append(t.parts, &sendPart{topic: t, id: id, who: nobody})
	}
	t.sticky %= len(t.seen.leaders)
	waited := t.parked
	t.parked = nil
	var r router.EgressRecord
	for _, w := range waited {
		if w.out.over { // its bytes are the caller's again
			continue
		}
		if n, err := router.ParseEgress(w.record, &r); err != nil {
			s.end(w.out, fmt.Errorf("send: %w", err))
		} else {
			s.append(t, &r, n, w.index, w.out)
		}
	}
}

// append puts a record into the batch of its partition. size is that of its encoding.
func (s *sender) append(t *sendTopic, r *router.EgressRecord, size int, index int32, out *outgoing) {
	if size > requestBytes && size > t.maxBytes {
		s.refuse(out, index, t.name, fmt.Errorf("%w: it takes %d bytes, the record has %d", router.ErrTooLarge, t.maxBytes, size))
		return
	}
	p := t.part(r, size)
	b := p.open()
	if b == nil || !b.add(r, index, t.limit) {
		b = s.parcel()
		b.add(r, index, t.limit)
		p.queue = append(p.queue, b)
	}
	b.share(out)
	s.enqueue(p)
}

// part is the partition of a record.
func (t *sendTopic) part(r *router.EgressRecord, size int) *sendPart {
	leaders := t.seen.leaders
	if r.Key != nil {
		return t.parts[keyPartition(r.Key, len(leaders))]
	}
	if b := t.parts[t.sticky].open(); b == nil || len(b.plain)+size > t.limit {
		for range leaders { // prefers one that can be sent to
			t.sticky = (t.sticky + 1) % len(leaders)
			if leaders[t.sticky] >= 0 {
				break
			}
		}
	}
	return t.parts[t.sticky]
}

// open is the batch that records are appended to, or nil.
func (p *sendPart) open() *parcel {
	if n := len(p.queue); n > 0 && !p.queue[n-1].tried {
		return p.queue[n-1]
	}
	return nil
}

// leader is the partition's, or -1.
func (p *sendPart) leader() int32 {
	if t := p.topic.seen; t != nil && int(p.id) < len(t.leaders) {
		return t.leaders[p.id]
	}
	return -1
}

// absent says that no look found the partition.
func (p *sendPart) absent() bool {
	return p.topic.seen == nil || int(p.id) >= len(p.topic.seen.leaders)
}

func (s *sender) enqueue(p *sendPart) {
	if !p.queued && !p.flying && len(p.queue) > 0 {
		p.queued = true
		s.ready = append(s.ready, p)
	}
}

// drop fails every record that waits for a partition, the batch under way included.
func (s *sender) drop(p *sendPart, err error) {
	for _, b := range p.queue {
		b.eachShare(func(out *outgoing, from, _ int32) { s.refuse(out, b.index[from], p.topic.name, err) })
	}
	p.queue = nil
}

// close ends every Send that is not over.
func (s *sender) close() {
	s.mu.Lock()
	defer s.unlock()
	s.closed, s.ready = true, nil
	for _, t := range s.topics {
		s.giveUp(t, kgo.ErrClientClosed)
		for _, p := range t.parts {
			s.drop(p, kgo.ErrClientClosed)
		}
	}
}

// refused says whether the broker will never take the record, however often it is asked.
func refused(err error) bool {
	for _, e := range []error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.TopicAuthorizationFailed,
		kerr.UnsupportedForMessageFormat, kerr.InvalidTopicException, kerr.UnsupportedCompressionType, kerr.PolicyViolation,
		kerr.InvalidRequiredAcks, router.ErrUnknownTopic, router.ErrTooLarge,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
