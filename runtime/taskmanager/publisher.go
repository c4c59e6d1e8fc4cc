package taskmanager

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/failpoint"
	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
)

const (
	// aheadTime is how long a prepared outbox waits for its epoch, which takes milliseconds: its open transaction holds back
	// readers, and the broker would end it, and the attempt with it, when a storage hangs for the transaction's time-out. That
	// is a second at least.
	aheadTime = time.Second / 2
	// leaveTime is how long the end of an attempt waits for a broker to end what is open.
	leaveTime = time.Second
)

// publisher writes the outboxes of one lane, in the order of epochs. What an undecided epoch holds for the lane goes to the
// broker while its manifest is written, in a transaction that ends only behind the commit.
type publisher struct {
	id      string
	task    int
	cluster *cluster
	lane    router.Lane
	inbox   *wire.Inbox[publication]
	tracing *telemetry.Tracing
	ahead   uint64 // trigger of the epoch whose outbox is prepared; 0: none. The publisher's goroutine's own

	mu        sync.Mutex // guards what follows; a leaf
	owed      []owed     // committed and not known to be out, the oldest first
	published uint64     // everything up to this epoch is out
}

// owed is an outbox that waits to be published, or is being published.
type owed struct {
	number uint64
	bytes  int64
}

// publication is what a publisher is to do with an outbox.
type publication struct {
	todo   todo
	epoch  uint64 // the trigger
	number uint64
	outbox [][]byte
	trace  *functions.Trace  // of its epoch, or nil
	links  []functions.Trace // sampled invocations that wrote to it
}

type todo uint8

const (
	publish todo = iota // its epoch is committed
	prepare             // it is not yet, and would be number
	discard             // it never will be
)

// prepare gives the lane the outbox of an epoch that is not decided.
func (p *publisher) prepare(e *epoch, outbox [][]byte) {
	p.inbox.Put(publication{todo: prepare, epoch: e.trigger, number: e.number, outbox: outbox})
}

// discard tells that an epoch failed: its outbox joins the next.
func (p *publisher) discard(trigger uint64) { p.inbox.Put(publication{todo: discard, epoch: trigger}) }

func (p *publisher) put(next *publication) {
	size := 0
	for _, chunk := range next.outbox {
		size += len(chunk)
	}
	p.mu.Lock()
	p.owed = append(p.owed, owed{next.number, int64(size)})
	p.mu.Unlock()
	p.inbox.Put(*next)
}

// out notes that the oldest outbox is published.
func (p *publisher) out(number uint64) {
	p.mu.Lock()
	p.owed, p.published = append(p.owed[:0], p.owed[1:]...), number
	p.mu.Unlock()
}

// through is the epoch up to which everything is out.
func (p *publisher) through() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.published
}

// pending is the oldest epoch that is owed, 0 when none is, and the bytes of all that are.
func (p *publisher) pending() (oldest uint64, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.owed {
		bytes += o.bytes
	}
	if len(p.owed) > 0 {
		oldest = p.owed[0].number
	}
	return oldest, bytes
}

// run publishes until ctx is done; done is called after each outbox.
func (p *publisher) run(ctx context.Context, done func(number uint64)) error {
	defer p.leave(ctx)
	late := time.NewTimer(aheadTime)
	defer late.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-late.C:
			p.giveUp(ctx)
			continue
		case <-p.inbox.Ready():
		}
		for _, next := range p.inbox.Take(nil) {
			if p.ahead != next.epoch || next.todo == discard {
				p.giveUp(ctx)
			}
			switch next.todo {
			case prepare:
				p.ahead = next.epoch
				p.lane.Prepare(ctx, next.number, next.outbox)
				late.Reset(aheadTime)
			case publish:
				p.ahead = 0
				if err := p.publish(ctx, &next); err != nil {
					return fmt.Errorf("publish epoch %d: %w", next.number, &laneError{p.id, err})
				}
				failpoint.Hit("published")
				p.out(next.number)
				done(next.number)
			}
		}
	}
}

// giveUp discards what is prepared, if anything is.
func (p *publisher) giveUp(ctx context.Context) {
	if p.ahead != 0 {
		p.ahead = 0
		p.lane.Discard(ctx)
	}
}

// leave ends what the attempt has open: else it holds back readers, and the recovery of lanes with markers in the same
// partition, until the broker's time-out.
func (p *publisher) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	p.lane.Discard(ctx)
}

// publish writes one outbox, and traces that when something in it is sampled.
func (p *publisher) publish(ctx context.Context, next *publication) error {
	parent := next.trace
	if parent == nil && len(next.links) > 0 {
		parent = &next.links[0]
	}
	if parent != nil && p.tracing != nil {
		span := p.tracing.Start(ctx, parent, "publish", publishOptions(next.links, laneKey.String(p.id), epochKey.Int64(int64(next.number)))...)
		defer span.End()
	}
	return p.lane.Publish(ctx, next.number, next.outbox)
}

// laneError is an error of a lane, with the lane's name.
type laneError struct {
	id  string
	err error
}

func (e *laneError) Error() string { return fmt.Sprintf("lane %s: %v", e.id, e.err) }

func (e *laneError) Unwrap() error { return e.err }
