package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/weir-run/weir/router"
)

const (
	// transactTries bounds how often one outbox is tried after the producer had to be initialised again: each try ends
	// in a definite answer, and one that differs every time is no outage but a fault.
	transactTries = 8
	// unknownTries is how often a topic may be unknown before its records count as refused: with pauses that grow to a
	// second, half a minute, in which a restarted broker has long loaded its metadata.
	unknownTries = 40
)

// producer is the identity under which a transaction is written.
type producer struct {
	id    int64
	epoch int16
}

var nobody = producer{-1, -1}

// hand is one of the transactional ids that a lane writes under. A broker tells the partitions of a commit after it has
// answered, and takes nothing more of that id before: so a lane writes with one hand while the other's commit is told. Only
// one of them has a transaction that is not decided, and the marker is read when neither has anything open.
type hand struct {
	number  int    // index in Lane.hands
	id      string // the transactional id
	who     producer
	open    bool      // the broker may have an open transaction of this producer
	began   time.Time // of that transaction
	telling chan bool // of the commit that is watched; nil: none
}

// maxHands is how many hands a lane has: what one is not told in the time of a transaction is the broker's limit anyway.
const maxHands = 2

// Lane implements router.Lane.
type Lane struct {
	e        *Egress
	id       string
	cl       *kgo.Client
	implicit bool                             // the broker adds partitions to a transaction by itself (transaction version 2)
	hands    []*hand                          // one with the embedded broker, whose torn outboxes are told by their producer
	*hand                                     // of hands: whose turn it is
	wary     int                              // commits that are watched from here on
	targets  map[string]*target               // all that this producer has written to, by topic
	pool     sync.Pool                        // of *batch
	staged   []*outPart                       // those of the outbox in work, in the order of first use
	head     uint64                           // the outbox that the open transaction holds whole; 0: none
	limit    int                              // of a batch, in bytes; 0 is the topic's
	base     []byte                           // embedded, while recovering: the manifest's cookie
	owed     []router.Pending                 // while recovering: the manifest's outboxes
	done     uint64                           // the last outbox known to be published
	there    map[uint64]map[partitionKey]bool // embedded: partitions of torn outboxes that need no sending
	ends     map[partitionKey]int64           // embedded: offsets above all that is published

	mu     sync.Mutex // guards cookie, which is read while an outbox is published
	cookie []byte
}

// Lane implements router.Egress.
func (e *Egress) Lane(id string) (router.Lane, error) {
	if id == "" {
		return nil, errors.New("open lane: it has no id")
	}
	return newLane(e, id), nil
}

func newLane(e *Egress, id string) *Lane {
	l := &Lane{e: e, id: id, targets: map[string]*target{}}
	// The first has the lane's name, as a lane of one hand has.
	for n, name := range []string{id, id + ".other"} {
		if n == 0 || !e.cfg.Embedded {
			l.hands = append(l.hands, &hand{number: n, id: name, who: nobody})
		}
	}
	l.hand = l.hands[0]
	return l
}

// change gives the other hand its turn.
func (l *Lane) change() { l.hand = l.hands[(l.hand.number+1)%len(l.hands)] }

// Recover implements router.Lane.
func (l *Lane) Recover(ctx context.Context, known bool, last uint64, cookie []byte, pending []router.Pending) error {
	if err := l.recover(ctx, known, last, cookie, pending); err != nil {
		return fmt.Errorf("recover lane %s: %w", l.id, authError(err))
	}
	return nil
}

func (l *Lane) recover(ctx context.Context, known bool, last uint64, cookie []byte, pending []router.Pending) error {
	if err := l.connect(ctx); err != nil {
		return err
	}
	for range l.hands {
		if err := l.initialise(ctx, nobody); err != nil {
			return err
		}
		l.change()
	}
	if err := l.sweep(ctx, pending); err != nil {
		return err
	}
	marker, found, err := l.marker(ctx)
	switch {
	case err != nil:
		return err
	case found && marker > last:
		return fmt.Errorf("%w: marker is %d, manifest %d", router.ErrMarker, marker, last)
	case !found && known && (!l.e.cfg.Embedded || len(cookie) == 0): // the cookie says as much as the marker
		return fmt.Errorf("%w: there is none, manifest %d names the lane", router.ErrMarker, last)
	}
	l.done, l.base, l.owed = marker, cookie, pending
	if err := l.mend(ctx, cookie, pending); err != nil {
		return err
	}
	if !found {
		if err := l.publish(ctx, 0, nil); err != nil {
			return fmt.Errorf("write the first marker: %w", err)
		}
	}
	for _, p := range pending {
		if found && p.Number <= marker && !l.torn(p.Number) {
			continue
		}
		if err := l.publish(ctx, p.Number, p.Outbox); err != nil {
			return err
		}
	}
	l.base, l.owed, l.there = nil, nil, nil
	return l.remember(ctx)
}

// Cookie implements router.Lane. It may be called while Publish runs.
func (l *Lane) Cookie() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cookie
}

// Publish implements router.Lane. The commit stands when it returns; a broker of several processes or threads shows it to
// readers as soon as it has told the partitions, a few milliseconds later.
func (l *Lane) Publish(ctx context.Context, number uint64, outbox [][]byte) error {
	if l.cl == nil {
		panic("kafkaio: Publish before Recover of lane " + l.id)
	}
	return authError(l.publish(ctx, number, outbox))
}

// Prepare implements router.Lane. The embedded broker gets no head start: what of an open transaction its files hold after a
// crash is for torn outboxes alone to tell.
func (l *Lane) Prepare(ctx context.Context, number uint64, outbox [][]byte) {
	if l.e.cfg.Embedded {
		return
	}
	l.head = 0
	if err := l.write(ctx, number, outbox); err != nil {
		l.e.cfg.Log.Debug("outbox is not prepared", "lane", l.id, "number", number, "err", err)
		return
	}
	l.head = number
}

// Discard implements router.Lane.
func (l *Lane) Discard(ctx context.Context) {
	l.head = 0
	if l.open {
		// An error leaves it open, and Publish meets it.
		_ = l.giveUp(ctx)
	}
}

// Close implements router.Lane.
func (l *Lane) Close() error {
	if l.cl != nil {
		l.cl.Close()
		l.allTold()
	}
	return nil
}

// connect opens the lane's own connections, so that lanes do not wait for one another, with the protocol versions that
// fit the cluster's transaction version.
func (l *Lane) connect(ctx context.Context) error {
	if err := l.e.ensureMarkers(ctx); err != nil {
		return err
	}
	var err error
	if l.implicit, err = l.e.implicit(ctx); err != nil {
		return err
	}
	opts := l.e.opts[:len(l.e.opts):len(l.e.opts)]
	if !l.implicit {
		// Later versions mean transaction version 2 to a broker, whatever the cluster has agreed on.
		v := kversion.Stable()
		v.SetMaxKeyVersion(kmsg.Produce.Int16(), 11)
		v.SetMaxKeyVersion(kmsg.AddPartitionsToTxn.Int16(), 3)
		v.SetMaxKeyVersion(kmsg.EndTxn.Int16(), 4)
		opts = append(opts, kgo.MaxVersions(v))
	}
	if l.cl != nil {
		l.cl.Close()
	}
	if l.cl, err = kgo.NewClient(opts...); err != nil {
		return err
	}
	return nil
}

// implicit says whether the cluster runs transaction version 2.
func (e *Egress) implicit(ctx context.Context) (bool, error) {
	for n := 1; ; n++ {
		resp, err := request[*kmsg.ApiVersionsResponse](ctx, e.cl, kmsg.NewPtrApiVersionsRequest())
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			for _, f := range resp.FinalizedFeatures {
				if f.Name == "transaction.version" {
					return f.MaxVersionLevel >= 2, nil
				}
			}
			return false, nil
		}
		if err := retry(ctx, n, err); err != nil {
			return false, fmt.Errorf("ask for the transaction version: %w", err)
		}
	}
}

// publish writes one outbox and its marker, however often it takes to know that both are there.
func (l *Lane) publish(ctx context.Context, number uint64, outbox [][]byte) error {
	for try := 1; ; try++ {
		err := l.transact(ctx, number, outbox)
		if err == nil {
			l.settle(number)
			return nil
		}
		err = fmt.Errorf("publish outbox %d of lane %s: %w", number, l.id, err)
		var split *splitError
		switch {
		case ctx.Err() != nil, isAuth(err) && !errors.Is(err, router.ErrRefused), fenced(err), try == transactTries:
			return err
		case errors.Is(err, router.ErrRefused):
			if record := (*router.Refused)(nil); errors.As(err, &record) {
				record.Number = number
			}
			// The transaction's first records are taken back, so that they do not hold back readers.
			return errors.Join(err, l.giveUp(ctx))
		case errors.As(err, &split):
			l.limit = split.limit
		case errors.Is(err, router.ErrOutbox), errors.Is(err, kgo.ErrClientClosed):
			return err
		}
		l.e.cfg.Log.Warn("outbox is published again after its marker is read", "lane", l.id, "number", number, "err", err)
		published, err := l.again(ctx, number, outbox)
		if err != nil {
			return fmt.Errorf("publish outbox %d of lane %s again: %w", number, l.id, err)
		}
		if published {
			l.settle(number)
			return nil
		}
	}
}

// again initialises both producers anew, which ends what they left open and waits until commits are told, and says whether the
// outbox is out already.
func (l *Lane) again(ctx context.Context, number uint64, outbox [][]byte) (bool, error) {
	for range l.hands {
		// With its own id and epoch, a lane that somebody else has taken over is refused and does not take it back.
		err := l.giveUp(ctx)
		if errors.Is(err, kerr.InvalidProducerIDMapping) { // the broker forgot an idle lane
			err = l.initialise(ctx, nobody)
		}
		if err != nil {
			return false, err
		}
		l.change()
	}
	baked, owed := l.base, l.owed
	if owed == nil {
		baked, owed = l.Cookie(), []router.Pending{{Number: number, Outbox: outbox}}
	}
	if err := l.sweep(ctx, owed); err != nil {
		return false, err
	}
	marker, found, err := l.marker(ctx)
	switch {
	case err != nil:
		return false, err
	case found && marker > number:
		return false, fmt.Errorf("%w: marker is %d", router.ErrMarker, marker)
	}
	if err := l.mend(ctx, baked, owed); err != nil {
		return false, err
	}
	return found && marker == number && !l.torn(number), nil
}

// settle notes that an outbox is published.
func (l *Lane) settle(number uint64) {
	l.done = number
	if l.owed == nil { // else nobody asks for the cookie before the end of recovery
		l.bake()
	}
	for _, p := range l.staged {
		l.release(p)
	}
	l.staged = l.staged[:0]
}

// fenced says that somebody else holds the lane's id, or that the broker ended its transaction for taking too long: either
// way the attempt is over, and recovery tells them apart by the marker.
func fenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch)
}
