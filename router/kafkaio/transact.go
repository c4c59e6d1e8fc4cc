package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/router"
)

const (
	// produceTimeoutMillis is how long the broker waits for its replicas before it says so.
	produceTimeoutMillis = 10_000
	// requestBytes bounds one produce request, far below the broker's socket.request.max.bytes of 100 MiB.
	requestBytes = 16 << 20
	// brokerPause is the broker's add.partitions.to.txn.retry.backoff.ms: what a produce request waits that comes while the
	// last commit is being told to its partitions.
	brokerPause = 20 * time.Millisecond
	// waryEpochs is for how many epochs after such a wait a lane asks whether its commit is complete before it writes again.
	// Measured at epochs of 10 ms on a busy machine, alternating: p90 of a publication 6.6 ms instead of 45 ms. Where commits
	// keep ahead of epochs nothing is asked.
	waryEpochs = 100
)

// splitError says that a batch is too large for its topic, though its records may not be.
type splitError struct {
	topic string
	limit int // to be tried
}

func (e *splitError) Error() string { return "batch is too large for topic " + e.topic }

// request sends one request, with the client library's retries, within requestTimeout.
func request[R kmsg.Response](ctx context.Context, to interface {
	Request(context.Context, kmsg.Request) (kmsg.Response, error)
}, req kmsg.Request) (R, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := to.Request(ctx, req)
	if err != nil {
		var none R
		return none, err
	}
	return resp.(R), nil
}

// retry waits before try n+1 when err heals by itself: an outage is waited for until ctx ends. Otherwise it returns err.
func retry(ctx context.Context, n int, err error) error {
	if ctx.Err() != nil || !heals(err) {
		return err
	}
	return pause(ctx, n)
}

// heals says whether the same request may succeed later: the cluster says so, or no answer came at all.
func heals(err error) bool {
	if isAuth(err) || errors.Is(err, kgo.ErrClientClosed) {
		return false
	}
	var said *kerr.Error
	if errors.As(err, &said) {
		return said.Retriable || said == kerr.ConcurrentTransactions
	}
	return true
}

// initialise takes the hand's transactional id, with an epoch above every earlier one: who held it is fenced, and what
// was left open is ended before this returns. As somebody, it succeeds only for the present holder.
func (l *Lane) initialise(ctx context.Context, as producer) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.TransactionalID = &l.hand.id
	req.TransactionTimeoutMillis = int32(min(l.e.cfg.TxnTimeout.Milliseconds(), math.MaxInt32))
	req.ProducerID, req.ProducerEpoch = as.id, as.epoch
	for n := 1; ; n++ {
		resp, err := request[*kmsg.InitProducerIDResponse](ctx, l.cl, req)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			l.become(producer{resp.ProducerID, resp.ProducerEpoch})
			return nil
		}
		if err := retry(ctx, n, err); err != nil {
			return fmt.Errorf("initialise the producer: %w", err)
		}
	}
}

// giveUp ends what is open without its records, and gives the producer a new epoch, so that nothing late of it is taken. It
// aborts first: a broker of transaction version 1 ends a transaction that initialise finds open by fencing its own producer.
func (l *Lane) giveUp(ctx context.Context) error {
	if l.open {
		// Another holder must not be asked to step back; whatever else went wrong, initialise meets too.
		if err := l.end(ctx, false); fenced(err) {
			return err
		}
	}
	return l.initialise(ctx, l.who)
}

// become takes an identity, of which no transaction is open; sequences start again.
func (l *Lane) become(who producer) {
	l.who, l.open, l.head = who, false, 0
	for _, to := range l.targets {
		for _, p := range to.parts {
			p.sequences[l.hand.number] = 0
		}
	}
}

// transact writes an outbox and its marker in one transaction, if Prepare has not done so, and ends it. It returns nil only
// when the broker has said that all of it is committed; after any error, what happened is known only by the marker.
func (l *Lane) transact(ctx context.Context, number uint64, outbox [][]byte) error {
	if l.head == 0 || l.head != number || time.Since(l.began) > l.e.cfg.TxnTimeout/2 { // else the broker may end it first
		if err := l.write(ctx, number, outbox); err != nil {
			return err
		}
	}
	l.head = 0
	if err := l.end(ctx, true); err != nil {
		return err
	}
	l.change()
	return nil
}

// write stages an outbox and its marker, and writes them into a transaction of their own, which stays open.
func (l *Lane) write(ctx context.Context, number uint64, outbox [][]byte) error {
	if l.open { // with what is not wanted any more
		if err := l.giveUp(ctx); err != nil {
			return err
		}
	}
	if err := l.stage(ctx, number, outbox); err != nil {
		return err
	}
	l.open, l.began = true, time.Now()
	if !l.implicit {
		keys := make([]partitionKey, len(l.staged))
		for n, p := range l.staged {
			keys[n] = p.partitionKey
		}
		if err := l.addPartitions(ctx, keys); err != nil {
			return err
		}
	}
	l.told()
	start := time.Now()
	if err := l.send(ctx); err != nil {
		return err
	}
	if time.Since(start) >= brokerPause {
		l.wary = waryEpochs
	}
	return nil
}

// watch asks, beside what the lane does, until the broker has told the commit to the partitions, which goes on after the
// commit is answered. A produce request that comes before is put aside for brokerPause, because it is the broker that adds
// the partitions to the transaction, and may not yet. Nothing but time depends on the answer.
func (l *Lane) watch(ctx context.Context) {
	telling := make(chan bool, 1)
	l.telling = telling
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{l.hand.id}
	go func() { // ends by itself, within brokerPause and a request; told and Close wait for it
		slow := false
		defer func() { telling <- slow }()
		for range int(brokerPause / firstBackoff) {
			if pause(ctx, 1) != nil {
				return
			}
			resp, err := request[*kmsg.DescribeTransactionsResponse](ctx, l.cl, req)
			if err != nil || len(resp.TransactionStates) != 1 || !strings.HasPrefix(resp.TransactionStates[0].State, "Prepare") {
				return
			}
			slow = true
		}
	}()
}

// told waits for watch, if it is under way.
func (l *Lane) told() {
	if l.telling != nil {
		if <-l.telling {
			l.wary = waryEpochs
		}
		l.telling = nil
	}
}

// allTold waits for every watch.
func (l *Lane) allTold() {
	for range l.hands {
		l.told()
		l.change()
	}
}

// addPartitions names the partitions of the transaction to its coordinator.
func (l *Lane) addPartitions(ctx context.Context, keys []partitionKey) error {
	byTopic := map[string][]int32{}
	for _, key := range keys {
		byTopic[key.topic] = append(byTopic[key.topic], key.id)
	}
	for n := 1; ; n++ {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = l.hand.id, l.who.id, l.who.epoch
		for name, ids := range byTopic {
			t := kmsg.NewAddPartitionsToTxnRequestTopic()
			t.Topic, t.Partitions = name, ids
			req.Topics = append(req.Topics, t)
		}
		resp, err := request[*kmsg.AddPartitionsToTxnResponse](ctx, l.cl, req)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					// One that was not tried because of another is not what went wrong.
					if e := kerr.ErrorForCode(p.ErrorCode); e != nil && (err == nil || errors.Is(err, kerr.OperationNotAttempted)) {
						err = fmt.Errorf("%s[%d]: %w", t.Topic, p.Partition, e)
					}
				}
			}
		}
		if err == nil {
			return nil
		}
		if errors.Is(err, kerr.UnknownTopicOrPartition) && n >= unknownTries || errors.Is(err, kerr.TopicAuthorizationFailed) {
			return fmt.Errorf("%w: %w", router.ErrRefused, err)
		}
		if err := retry(ctx, n, err); err != nil {
			return fmt.Errorf("add partitions to the transaction: %w", err)
		}
	}
}

// end commits or aborts the transaction. The request is repeated until an answer comes: to a broker that has done it
// already, it is the same request.
func (l *Lane) end(ctx context.Context, commit bool) error {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = l.hand.id, l.who.id, l.who.epoch, commit
	for n := 1; ; n++ {
		resp, err := request[*kmsg.EndTxnResponse](ctx, l.cl, req)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			l.open = false
			if l.implicit && resp.ProducerID >= 0 { // the broker gives each transaction an epoch of its own
				l.become(producer{resp.ProducerID, resp.ProducerEpoch})
			}
			if l.implicit && l.wary > 0 {
				l.wary--
				l.watch(ctx)
			}
			return nil
		}
		if err := retry(ctx, n, err); err != nil {
			return fmt.Errorf("end the transaction: %w", err)
		}
	}
}

// send produces all staged batches: one batch per partition at a time, all partitions of all leaders together.
func (l *Lane) send(ctx context.Context) error {
	failures, unknown := 0, 0
	for {
		requests := l.requests()
		if requests == nil {
			return nil
		}
		answers := make([]answer, len(requests))
		var group errgroup.Group
		for n, r := range requests {
			group.Go(func() error {
				answers[n].resp, answers[n].err = request[*kmsg.ProduceResponse](ctx, l.cl.Broker(int(r.leader)), r.req)
				return nil
			})
		}
		_ = group.Wait() // errors are in the answers
		var soft error
		for n, r := range requests {
			err := l.acknowledge(r, answers[n])
			if err == nil {
				continue
			}
			if !heals(err) {
				return err
			}
			soft = err
		}
		if soft == nil && len(requests) > 0 {
			failures, unknown = 0, 0
			continue
		}
		if failures++; errors.Is(soft, kerr.UnknownTopicOrPartition) || errors.Is(soft, kerr.UnknownTopicID) {
			if unknown++; unknown >= unknownTries {
				return fmt.Errorf("%w: %w", router.ErrRefused, soft)
			}
		}
		if err := pause(ctx, failures); err != nil {
			return err
		}
		if !errors.Is(soft, kerr.ConcurrentTransactions) {
			if err := l.e.look(ctx); err != nil && !heals(err) {
				return err
			}
		}
	}
}

// produceRequest is a request for one leader with the next batch of some partitions.
type produceRequest struct {
	leader int32
	req    *kmsg.ProduceRequest
	parts  []*outPart
	bytes  int
}

type answer struct {
	resp *kmsg.ProduceResponse
	err  error
}

// requests are those for the next batch of every partition that has one; nil when all are sent, and empty when none has
// a leader.
func (l *Lane) requests() []*produceRequest {
	var all []*produceRequest
	left := false
	for _, p := range l.staged {
		if p.sent == len(p.batches) {
			continue
		}
		left = true
		t := l.e.known(p.topic)
		if t == nil || int(p.id) >= len(t.leaders) || t.leaders[p.id] < 0 {
			continue
		}
		leader := t.leaders[p.id]
		b := p.batches[p.sent]
		var to *produceRequest
		for _, r := range all {
			if r.leader == leader && r.bytes+len(b.sent) <= requestBytes {
				to = r
			}
		}
		if to == nil {
			req := kmsg.NewPtrProduceRequest()
			req.TransactionID, req.Acks, req.TimeoutMillis = &l.hand.id, -1, produceTimeoutMillis
			to = &produceRequest{leader: leader, req: req}
			all = append(all, to)
		}
		b.seal(l.who, p.sequences[l.hand.number])
		to.add(t, p, b)
	}
	if left && all == nil {
		all = []*produceRequest{}
	}
	return all
}

func (r *produceRequest) add(t *topic, p *outPart, b *batch) {
	r.parts = append(r.parts, p)
	r.bytes += len(b.sent)
	addBatch(r.req, t, p.id, b.sent)
}

// acknowledge moves the partitions of a request past what the broker has taken, and returns the gravest of the rest's
// errors: one that does not heal before one that does.
func (l *Lane) acknowledge(r *produceRequest, a answer) error {
	if a.err != nil {
		for _, p := range r.parts {
			p.batches[p.sent].unanswered()
		}
		return fmt.Errorf("produce: %w", a.err)
	}
	var soft, hard error
	for _, rt := range a.resp.Topics {
		for _, rp := range rt.Partitions {
			p := r.find(rt, rp.Partition)
			if p == nil {
				continue
			}
			err := kerr.ErrorForCode(rp.ErrorCode)
			if err == nil || errors.Is(err, kerr.DuplicateSequenceNumber) {
				b := p.batches[p.sent]
				l.passed(p.partitionKey, rp.BaseOffset, b.count)
				next := &p.sequences[l.hand.number]
				*next = (*next + b.count) & math.MaxInt32 // as brokers wrap it
				p.sent++
				continue
			}
			if err = l.sort(p, rp, err); heals(err) {
				soft = err
			} else if hard == nil {
				hard = err
			}
		}
	}
	if hard != nil {
		return hard
	}
	return soft
}

func (r *produceRequest) find(rt kmsg.ProduceResponseTopic, partition int32) *outPart {
	for _, t := range r.req.Topics {
		if rt.Topic != "" && t.Topic != rt.Topic || rt.Topic == "" && t.TopicID != rt.TopicID {
			continue
		}
		for _, p := range r.parts {
			if p.topic == t.Topic && p.id == partition {
				return p
			}
		}
	}
	return nil
}

// sort names what the broker refused: the record, where it says which or there is only one.
func (l *Lane) sort(p *outPart, rp kmsg.ProduceResponseTopicPartition, err error) error {
	b := p.batches[p.sent]
	if !refused(err) {
		return fmt.Errorf("produce to %s[%d]: %w", p.topic, p.id, err)
	}
	if errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) {
		if b.count > 1 {
			return &splitError{p.topic, len(b.plain) / 2}
		}
	}
	index := b.index[0]
	for _, e := range rp.ErrorRecords {
		if e.RelativeOffset >= 0 && int(e.RelativeOffset) < len(b.index) {
			index = b.index[e.RelativeOffset]
			if e.ErrorMessage != nil {
				err = fmt.Errorf("%w: %s", err, *e.ErrorMessage)
			}
			break
		}
	}
	return &router.Refused{Record: int(index), Topic: p.topic, Err: err}
}
