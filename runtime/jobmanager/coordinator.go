package jobmanager

import (
	"time"

	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/wire"
)

const (
	// quietAfter is how long changes may wait for an epoch when nothing waits for the commit point.
	quietAfter = time.Second
	// settleAfter is how long a job is idle before an entry of its own records that everything is published.
	settleAfter = time.Second
	// cpuShare is the part of the CPU that epochs of interval auto may take while work is queued.
	cpuShare = 0.05
	// maxFloor bounds what one slow epoch (a stalled disk) does to the pace of the next ones.
	maxFloor = 200 * time.Millisecond
	// maxDeclines is how many epochs in a row may fail before the attempt ends.
	maxDeclines = 10
	// maxUnpublished is how many outboxes a lane may owe when the next epoch is cut: one, so that the files of an epoch are
	// written while the outbox of the one before is published. More only queue behind it.
	maxUnpublished = 1
	// declineBackoff is the pause after a failed epoch, times the failures in a row.
	declineBackoff = 100 * time.Millisecond
)

// coordinator decides the epochs of one attempt: when one is triggered, and whether it is committed. At most one is
// undecided, and none is cut while a lane owes more than maxUnpublished outboxes. Pure: time is an argument.
type coordinator struct {
	interval time.Duration // 0 is auto
	cores    int
	workers  []string

	next        uint64 // the next trigger
	open        *openEpoch
	unpublished map[string][]debt // by lane, the oldest first; lanes that owe nothing are not in it
	newest      map[string]uint64 // by lane, the last outbox that a manifest of this attempt names
	unsettled   bool              // publications not yet recorded in a manifest

	wantSince time.Time // zero: nothing changed
	urgent    bool
	lone      bool
	asked     []ask
	last      time.Time // the last trigger
	floor     time.Duration
	declines  int
	ended     bool // a final epoch is committed, or the attempt is over
}

// debt is a committed outbox that is not known to be published.
type debt struct {
	number uint64
	since  time.Time // of the commit
}

// openEpoch is the undecided epoch.
type openEpoch struct {
	trigger uint64
	ask     ask
	acks    map[string]*wire.Acknowledge
	since   time.Time
}

// idle says that nothing is left to do in the job: every ingress was done at the seal, and no message waited anywhere.
func (e *openEpoch) idle() bool {
	for _, ack := range e.acks {
		if !ack.Idle {
			return false
		}
	}
	return true
}

// ask is an epoch that somebody wants in any case: to switch to a version, or to stop.
type ask struct {
	version int
	final   bool
}

// event is what happens to a coordinator.
type event any

type (
	wanted struct{ urgent, lone bool }
	asked  struct{ ask }
	acked  struct {
		worker string
		ack    *wire.Acknowledge
	}
	committed struct{ number uint64 } // the manifest of the open epoch is written
	published struct {
		lane   string
		number uint64
	}
	settled   struct{} // an entry has recorded the publications
	cancelled struct{} // no epoch is to be cut any more
	ticked    struct{}
)

// action is what a coordinator wants done, in order.
type action any

type (
	trigger struct {
		trigger uint64
		ask     ask
	}
	commit   struct{ epoch *openEpoch } // write the manifest, then step(committed)
	complete struct{ trigger uint64 }
	abort    struct {
		trigger uint64
		reason  string
	}
	settle struct{}                // write an entry that records publications, then step(settled)
	giveUp struct{ reason string } // end the attempt
	wake   struct{ at time.Time }  // step(ticked) no later than this
)

func newCoordinator(interval time.Duration, cores int, workers []string) *coordinator {
	return &coordinator{interval: interval, cores: cores, workers: workers, next: 1, unpublished: map[string][]debt{}, newest: map[string]uint64{}}
}

// step applies an event and says what to do.
func (c *coordinator) step(now time.Time, e event) []action {
	var actions []action
	switch e := e.(type) {
	case wanted:
		if c.wantSince.IsZero() {
			c.wantSince = now
		}
		c.urgent = c.urgent || e.urgent
		c.lone = e.lone
	case asked:
		c.asked = append(c.asked, e.ask)
	case acked:
		actions = c.acknowledge(now, e)
	case committed:
		actions = append(actions, complete{trigger: c.open.trigger})
		c.commit(now, e.number)
	case published:
		c.publish(e)
	case settled:
		c.unsettled = false
	case cancelled:
		c.ended = true
		if planted.Is(planted.CancelAwaitsOneLane) {
			clear(c.unpublished)
		}
	}
	return append(actions, c.cut(now)...)
}

// acknowledge takes one worker's answer to the open trigger; a stale one changes nothing.
func (c *coordinator) acknowledge(now time.Time, e acked) []action {
	if c.open == nil || e.ack.Trigger != c.open.trigger {
		return nil
	}
	if e.ack.Error != "" {
		return c.decline(now, e.ack.Error)
	}
	c.open.acks[e.worker] = e.ack
	if len(c.open.acks) < len(c.workers) && !planted.Is(planted.ManifestBeforeAllAcknowledgements) {
		return nil
	}
	return []action{commit{epoch: c.open}}
}

// decline gives the open epoch up. It takes no number, and its changes join the next.
func (c *coordinator) decline(now time.Time, reason string) []action {
	failed := c.open
	c.open = nil
	c.declines++
	if c.declines >= maxDeclines || failed.ask.final {
		c.ended = true
		return []action{giveUp{reason: reason}}
	}
	if failed.ask.version != 0 { // tasks have switched already, which only a commit makes last
		c.asked = append([]ask{failed.ask}, c.asked...)
	}
	c.wantSince, c.urgent, c.lone = now, true, false
	return []action{abort{trigger: failed.trigger, reason: reason}}
}

// publish notes that a lane has published everything up to an epoch.
func (c *coordinator) publish(e published) {
	owed := c.unpublished[e.lane]
	for len(owed) > 0 && owed[0].number <= e.number {
		owed = owed[1:]
		c.unsettled = true
	}
	if c.unpublished[e.lane] = owed; len(owed) == 0 {
		delete(c.unpublished, e.lane)
	}
}

// owedSince is when an outbox was committed that a lane still owes.
func (c *coordinator) owedSince(lane string, number uint64) (time.Time, bool) {
	for _, d := range c.unpublished[lane] {
		if d.number == number {
			return d.since, true
		}
	}
	return time.Time{}, false
}

// backlog says that some lane owes too much for another epoch.
func (c *coordinator) backlog() bool {
	for _, owed := range c.unpublished {
		if len(owed) > maxUnpublished {
			return true
		}
	}
	return false
}

// commit notes what the committed epoch owes, and what it cost.
func (c *coordinator) commit(now time.Time, number uint64) {
	var cost time.Duration
	c.unsettled = false
	for _, ack := range c.open.acks {
		cost += ack.Cost
		for _, lane := range ack.Lanes {
			if lane.Published < c.newest[lane.ID] && len(c.unpublished[lane.ID]) == 0 { // out since it acknowledged
				c.unsettled = true
			}
			if lane.Output {
				c.newest[lane.ID] = number
				c.unpublished[lane.ID] = append(c.unpublished[lane.ID], debt{number, now})
			}
		}
	}
	c.floor = min(time.Duration(float64(cost)/(cpuShare*float64(c.cores))), maxFloor)
	c.ended = c.ended || c.open.ask.final // a cancel may have come while it was open
	c.open, c.declines = nil, 0
}

// cut triggers an epoch when one is due, and otherwise says when to look again.
func (c *coordinator) cut(now time.Time) []action {
	if c.open != nil || c.ended || c.backlog() {
		return nil
	}
	due, any := c.due()
	if !any {
		if !c.unsettled || len(c.unpublished) > 0 {
			return nil
		}
		if at := c.last.Add(settleAfter); now.Before(at) {
			return []action{wake{at: at}}
		}
		return []action{settle{}}
	}
	if now.Before(due) {
		return []action{wake{at: due}}
	}
	c.open = &openEpoch{trigger: c.next, acks: map[string]*wire.Acknowledge{}, since: now}
	c.next++
	if len(c.asked) > 0 {
		c.open.ask = c.asked[0]
		c.asked = c.asked[1:]
	}
	c.last = now
	c.wantSince, c.urgent, c.lone = time.Time{}, false, false
	return []action{trigger{trigger: c.open.trigger, ask: c.open.ask}}
}

// due is when the next epoch is to be cut, if anything wants one.
func (c *coordinator) due() (time.Time, bool) {
	pause := c.last.Add(time.Duration(c.declines) * declineBackoff)
	switch {
	case c.declines > 0 && (len(c.asked) > 0 || !c.wantSince.IsZero()):
		return pause, true
	case len(c.asked) > 0:
		return time.Time{}, true
	case c.wantSince.IsZero():
		return time.Time{}, false
	case c.interval > 0:
		return c.last.Add(c.interval), true
	case c.urgent && c.lone:
		return time.Time{}, true
	case c.urgent:
		return c.last.Add(c.floor), true
	}
	return later(c.wantSince.Add(quietAfter), c.last.Add(c.floor)), true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
