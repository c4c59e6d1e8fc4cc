package taskmanager

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/failpoint"
	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
)

// publisher writes the outboxes of one lane, in the order of epochs.
type publisher struct {
	id      string
	task    int
	cluster *cluster
	lane    router.Lane
	inbox   *wire.Inbox[publication]
	tracing *telemetry.Tracing
	pending atomic.Uint64 // number of the epoch being published; 0 is none
	bytes   atomic.Int64
}

// publication is one committed outbox.
type publication struct {
	number uint64
	outbox [][]byte
	trace  *functions.Trace  // of its epoch, or nil
	links  []functions.Trace // sampled invocations that wrote to it
}

func (p *publisher) put(next *publication) {
	p.pending.Store(next.number)
	size := 0
	for _, chunk := range next.outbox {
		size += len(chunk)
	}
	p.bytes.Store(int64(size))
	p.inbox.Put(*next)
}

// run publishes until ctx is done; done is called after each outbox.
func (p *publisher) run(ctx context.Context, done func(number uint64)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.inbox.Ready():
		}
		for _, next := range p.inbox.Take(nil) {
			err := p.publish(ctx, &next)
			if err != nil {
				return fmt.Errorf("publish epoch %d: %w", next.number, &laneError{p.id, err})
			}
			failpoint.Hit("published")
			p.pending.Store(0)
			p.bytes.Store(0)
			done(next.number)
		}
	}
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
