package kafkaio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/router"
)

const (
	// fetchBytes bounds one fetch of one broker, and so what is buffered: one fetch per broker and the one in work.
	fetchBytes = 8 << 20
	// fetchPartitionBytes is the protocol's usual share of one partition; a larger batch still comes whole.
	fetchPartitionBytes = 1 << 20
	// fetchWait is how long a broker holds a fetch for which it has nothing. It answers as soon as one byte is there, so
	// a long wait costs no latency and makes idle partitions free; a change of partitions cuts it short.
	fetchWait = 5 * time.Second
	// fetchGap is the least time between two fetches of one broker, unless the last one was full: under a steady trickle
	// a broker would otherwise answer each record on its own, which costs it more than to write them. A record that
	// comes after a pause meets a fetch that waits for it.
	fetchGap = 2 * time.Millisecond
	// fullBytes is the size of a fetch after which the next follows at once: there is a backlog to be read.
	fullBytes = 256 << 10
	// sourceRetry is the back-off step at which the retries of one partition begin, 16 ms: a new leader is elected, and
	// known, in tens of milliseconds.
	sourceRetry = 4
	// namedFetch is the last version of the protocol that names topics and does not need their ids.
	namedFetch = 12
)

var errHalf = errors.New("broker sent no whole batch")

// mark is a place in the log of a partition.
type mark struct {
	offset int64 // the next record to read
	epoch  int32 // of the leader that appended the last record read; -1 unknown
}

// source is one partition that the task owns. What changes is guarded by Ingress.mu; at is written by the fetcher that
// holds the source busy, and read by that one without the lock.
type source struct {
	start router.Position
	rule  int // index into functions.Ingress.Topics

	at       mark
	leader   int32 // the broker that is fetched from; -1 is nobody
	epoch    int32 // of that leader; -1 unknown
	unproved bool  // the leader has changed, and has not shown that its log goes up to at
	busy     bool  // part of a request that is under way
	failures int   // in a row
	until    time.Time
}

func (s *source) key() partitionKey { return partitionKey{s.start.Topic, s.start.ID} }

// ask is a source as it is asked for in one request.
type ask struct {
	src      *source
	epoch    int32 // the leader's, as far as it is known
	answered bool
	failed   bool
}

// round is one request and what it asks for.
type round struct {
	asked    []ask
	unproved bool          // it only proves them
	wait     time.Duration // how long the broker may hold it, or, with nothing asked for, until there may be something
}

// fetcher reads from one broker the partitions of this task that it leads: one request at a time, and one delivery that
// the task has not taken yet.
type fetcher struct {
	in    *Ingress
	node  int32
	wake  chan struct{} // capacity 1: the sources have changed
	taken chan struct{} // capacity 1: the task has taken the delivery

	failures int       // in a row; owned by run, as the fields below
	sent     time.Time // when the last fetch was sent
	full     bool      // the last fetch was full
	turn     int       // which source is first in the next request, so that each gets its share

	sources []*source          // led by node, by topic and partition; guarded by Ingress.mu, as the fields below
	cancel  context.CancelFunc // of the request under way; nil when there is none
	spare   *delivery          // one that the task has given back
}

// run fetches until ctx is done. What does not heal ends it with an error.
func (f *fetcher) run(ctx context.Context) error {
	for f.pace(ctx) == nil {
		asking, cancel := context.WithCancel(ctx) // ends when the sources change
		r := f.choose(cancel, time.Now())
		var err error
		switch {
		case len(r.asked) == 0:
			f.rest(ctx, r.wait)
		case r.unproved:
			err = f.prove(ctx, asking, &r)
		default:
			err = f.fetch(ctx, asking, &r)
		}
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// choose takes the sources of the next request, and makes them busy: those that must be proved first, by themselves.
// Should they change, cancel is called.
func (f *fetcher) choose(cancel context.CancelFunc, now time.Time) round {
	r := round{wait: fetchWait}
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	for n := range f.sources {
		src := f.sources[(n+f.turn)%len(f.sources)]
		if src.busy || src.at.offset >= src.limit() {
			continue
		}
		if left := src.until.Sub(now); left > 0 {
			r.wait = min(r.wait, left)
			continue
		}
		if src.unproved && !r.unproved {
			r.asked, r.unproved = r.asked[:0], true
		}
		if src.unproved == r.unproved {
			r.asked = append(r.asked, ask{src: src, epoch: src.epoch})
		}
	}
	for _, a := range r.asked {
		a.src.busy = true
	}
	f.turn++
	f.cancel = cancel
	return r
}

// rest waits until sources have changed, or for as long as wait.
func (f *fetcher) rest(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.wake:
	case <-ctx.Done():
	}
}

// nudge has a fetcher look at its sources again. It is called with Ingress.mu held.
func (f *fetcher) nudge() {
	token(f.wake)
	if f.cancel != nil {
		f.cancel()
	}
}

// pace keeps the distance between fetches.
func (f *fetcher) pace(ctx context.Context) error {
	left := fetchGap - time.Since(f.sent)
	if f.full || left <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetch is one request and its delivery to the task.
func (f *fetcher) fetch(ctx, asking context.Context, r *round) error {
	f.sent, f.full = time.Now(), false
	resp, err := send[*kmsg.FetchResponse](asking, f, compose(r.asked, r.wait))
	if err == nil && resp != nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil || resp == nil {
		f.release(r, nil)
		return f.trouble(ctx, err)
	}
	f.failures = 0
	d, err := f.read(ctx, resp, r.asked)
	f.release(r, d)
	if err != nil || len(d.parts) == 0 {
		return err
	}
	return f.deliver(ctx, d)
}

// send asks the broker of f. A change of sources cuts it short: then there is neither an answer nor an error.
func send[R kmsg.Response](asking context.Context, f *fetcher, req kmsg.Request) (R, error) {
	resp, err := request[R](asking, f.in.cl.Broker(int(f.node)), req)
	if asking.Err() != nil {
		err = nil
	}
	return resp, err
}

// trouble waits after a request that had no answer, when err heals by itself. Nil is no trouble.
func (f *fetcher) trouble(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if !heals(err) {
		return fmt.Errorf("fetch from broker %d: %w", f.node, authError(err))
	}
	// The broker may be gone for good, and its partitions be elsewhere.
	token(f.in.look)
	if f.failures++; f.failures == failuresSaid {
		f.in.cfg.Log.Warn("broker does not answer, asked again", "broker", f.node, "err", err)
	}
	return pause(ctx, f.failures)
}

// release ends a request: what it brought moves its sources on, and they may be asked for again, here or elsewhere.
func (f *fetcher) release(r *round, d *delivery) {
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	f.cancel = nil
	if d != nil {
		for n := range d.parts {
			p := &d.parts[n]
			p.src.at = p.end
		}
	}
	for _, a := range r.asked {
		a.src.busy = false
		if d != nil && !a.failed {
			a.src.failures = 0
		}
		if to := f.in.fetchers[a.src.leader]; to != nil && to != f {
			to.nudge()
		}
	}
}

// deliver waits until the task has taken d.
func (f *fetcher) deliver(ctx context.Context, d *delivery) error {
	f.in.mu.Lock()
	f.in.queue = append(f.in.queue, d)
	f.in.mu.Unlock()
	token(f.in.ready)
	select {
	case <-f.taken:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// namedRequest is a fetch of topics whose ids are not known: an old broker has none.
type namedRequest struct{ *kmsg.FetchRequest }

func (namedRequest) MaxVersion() int16 { return namedFetch }

// compose makes the request. Its partitions stand in the order in which the broker is to fill it.
func compose(asked []ask, wait time.Duration) kmsg.Request {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.SessionEpoch, req.IsolationLevel = -1, -1, readCommitted // no session: see docs/decisions/009
	req.MinBytes, req.MaxBytes, req.MaxWaitMillis = 1, fetchBytes, int32(max(wait.Milliseconds(), 1))
	named := false
	parts := make([]kmsg.FetchRequestTopicPartition, len(asked))
	for n, a := range asked {
		p := &parts[n]
		p.Default()
		p.Partition, p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = a.src.start.ID, a.src.at.offset, a.epoch, fetchPartitionBytes
		last := len(req.Topics) - 1
		if last < 0 || req.Topics[last].Topic != a.src.start.Topic {
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID, t.Partitions = a.src.start.Topic, a.src.start.TopicID, parts[n:n]
			named = named || t.TopicID == [16]byte{}
			req.Topics = append(req.Topics, t)
			last++
		}
		t := &req.Topics[last]
		t.Partitions = t.Partitions[:len(t.Partitions)+1]
	}
	if named {
		return namedRequest{req}
	}
	return req
}

// read takes what a fetch brought, and acts upon the errors of single partitions. The error of one that does not heal
// comes back.
func (f *fetcher) read(ctx context.Context, resp *kmsg.FetchResponse, asked []ask) (*delivery, error) {
	d := f.blank()
	bytes, last := 0, 0
	for t := range resp.Topics {
		topic := &resp.Topics[t]
		for n := range topic.Partitions {
			p := &topic.Partitions[n]
			if last = find(asked, last, topic, p.Partition); last < 0 || asked[last].answered {
				return nil, fmt.Errorf("fetch from broker %d: it answers for partition %d of a topic that was not asked for: %w", f.node, p.Partition, errBatch)
			}
			src := asked[last].src
			asked[last].answered = true
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				if err := f.judge(ctx, &asked[last], p, err); err != nil {
					return nil, err
				}
				continue
			}
			bytes += len(p.RecordBatches)
			err := d.add(src, p)
			if err != nil {
				return nil, fmt.Errorf("fetch %s[%d] at offset %d: %w", src.start.Topic, src.start.ID, src.at.offset, err)
			}
		}
	}
	f.full = bytes >= fullBytes
	if bytes == 0 {
		d.close(resp, asked)
	}
	for n := range asked { // a fetch that was full before it came to a partition leaves it out, or half of a batch in it
		if a := &asked[n]; len(d.parts) == 0 && !a.failed && (bytes > 0 || !a.answered) {
			f.stumble(a, errHalf)
		}
	}
	d.seal()
	return d, nil
}

// find is the index of the ask that a partition of an answer belongs to. Answers keep the order of what was asked, so it
// is looked for from the last one on.
func find(asked []ask, from int, topic *kmsg.FetchResponseTopic, partition int32) int {
	from = max(from, 0)
	for n := range asked {
		at := (from + n) % len(asked)
		s := &asked[at].src.start
		if s.ID == partition && (s.Topic == topic.Topic || topic.Topic == "" && s.TopicID == topic.TopicID) {
			return at
		}
	}
	return -1
}

// judge decides whether the error of a partition ends the attempt (it comes back, named) or heals by itself (nil).
func (f *fetcher) judge(ctx context.Context, a *ask, p *kmsg.FetchResponseTopicPartition, err error) error {
	src := a.src
	switch {
	case isAuth(err):
		return fmt.Errorf("fetch %s[%d]: %w", src.start.Topic, src.start.ID, authError(err))
	case errors.Is(err, kerr.OffsetOutOfRange):
		return f.in.truncated(ctx, src, err)
	case !kerr.IsRetriable(err) && !errors.Is(err, kerr.UnknownTopicID) && !errors.Is(err, kerr.InconsistentTopicID):
		return fmt.Errorf("fetch %s[%d]: %w", src.start.Topic, src.start.ID, err)
	}
	if hint := p.CurrentLeader; hint.LeaderID >= 0 && f.in.follow(src, hint.LeaderID, hint.LeaderEpoch) {
		return nil
	}
	f.stumble(a, err)
	return nil
}

// stumble puts a source off, and has the cluster looked at: discovery finds its leader, compares topic ids, and knows a
// broker that has just started from a topic that is gone.
func (f *fetcher) stumble(a *ask, err error) {
	a.failed = true
	src := a.src
	f.in.mu.Lock()
	src.failures++
	src.until = time.Now().Add(backoff(src.failures + sourceRetry))
	said := src.failures == failuresSaid
	f.in.mu.Unlock()
	token(f.in.look)
	if said {
		f.in.cfg.Log.Warn("partition is not read, tried again", "topic", src.start.Topic, "partition", src.start.ID, "err", err)
	}
}

// truncated names the position that is outside of its log, and the log's range.
func (i *Ingress) truncated(ctx context.Context, src *source, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	topic, id := src.start.Topic, src.start.ID
	bounds := "unknown"
	starts, err := i.adm.ListStartOffsets(ctx, topic)
	if err == nil {
		var ends kadm.ListedOffsets
		if ends, err = i.adm.ListEndOffsets(ctx, topic); err == nil {
			start, _ := starts.Lookup(topic, id)
			end, _ := ends.Lookup(topic, id)
			bounds = fmt.Sprintf("%d to %d", start.Offset, end.Offset)
		}
	}
	return fmt.Errorf("%w: topic %s partition %d at offset %d, the log holds %s: fetch %s[%d]: %w", router.ErrTruncated, topic, id, src.at.offset, bounds, topic, id, cause)
}

// insert keeps the sources of a fetcher in order. It is called with Ingress.mu held.
func (f *fetcher) insert(src *source) {
	n, _ := slices.BinarySearchFunc(f.sources, src.key(), func(s *source, key partitionKey) int { return comparePartitions(s.key(), key) })
	f.sources = slices.Insert(f.sources, n, src)
}

func comparePartitions(a, b partitionKey) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id))
}
