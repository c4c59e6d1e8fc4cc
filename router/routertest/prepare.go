package routertest

import (
	"testing"

	"github.com/weir-run/weir/router"
)

// prepared publishes what was prepared, at once, late, and after several that were not.
func (s egressSuite) prepared(t *testing.T) {
	name := s.topic(t, 4)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	l := s.lane(ctx, t, e, name+"/0", false, 0, nil)
	for n := range 10 {
		box := outbox(name, keyed(n*20, n*20+20)...)
		if n%3 != 1 {
			l.Prepare(ctx, uint64(n+1), box) // a reader waits at its open transaction
		}
		publish(ctx, t, l, uint64(n+1), box)
		wantValues(t, s.w.Read(t, name), 0, n*20+20)
	}
	wantOrder(t, s.w.Read(t, name))
}

// givenUp prepares outboxes whose epochs fail: what follows takes their records along, under the same number, or is another.
func (s egressSuite) givenUp(t *testing.T) {
	name := s.topic(t, 4)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	l := s.lane(ctx, t, e, name, false, 0, nil)
	l.Discard(ctx) // nothing to give up
	l.Prepare(ctx, 1, outbox(name, keyed(0, 5)...))
	l.Discard(ctx)
	publish(ctx, t, l, 1, outbox(name, keyed(0, 20)...))
	wantValues(t, s.w.Read(t, name), 0, 20)
	l.Prepare(ctx, 2, outbox(name, keyed(20, 25)...))
	l.Prepare(ctx, 2, outbox(name, keyed(20, 40)...))
	publish(ctx, t, l, 2, outbox(name, keyed(20, 40)...))
	wantValues(t, s.w.Read(t, name), 0, 40)
	l.Prepare(ctx, 3, outbox(name, keyed(90, 99)...))
	publish(ctx, t, l, 4, outbox(name, keyed(40, 60)...))
	l.Prepare(ctx, 5, outbox(name, keyed(90, 99)...))
	l.Discard(ctx)
	got := s.w.Read(t, name)
	wantValues(t, got, 0, 60)
	wantOrder(t, got)
}

// abandoned prepares and is taken over: what the manifest names is published once, and nothing else. It does so after none and
// after one outbox, for lanes that write under several identities in turn.
func (s egressSuite) abandoned(t *testing.T) {
	for before := range uint64(2) {
		s.abandonedAfter(t, before)
	}
}

func (s egressSuite) abandonedAfter(t *testing.T, before uint64) {
	name := s.topic(t, 4)
	ctx, e := s.opened(t, EgressTopic{Name: name})
	dead := s.lane(ctx, t, e, name, false, 0, nil)
	for n := range before {
		publish(ctx, t, dead, n+1, outbox(name))
	}
	next, box := before+1, outbox(name, keyed(0, 20)...)
	dead.Prepare(ctx, next, box)
	again := s.lane(ctx, t, e, name, true, before, dead.Cookie()) // the epoch was not committed
	wantValues(t, s.w.Read(t, name), 0, 0)
	again.Prepare(ctx, next, box)
	last := s.lane(ctx, t, e, name, true, next, again.Cookie(), router.Pending{Number: next, Outbox: box}) // it was
	wantValues(t, s.w.Read(t, name), 0, 20)
	for _, l := range []router.Lane{dead, again} {
		// It may find its outbox published by another, which is the truth; it must not publish it.
		if err := l.Publish(ctx, next, box); err == nil {
			t.Log("a lane that was taken over found its outbox published")
		}
	}
	wantValues(t, s.w.Read(t, name), 0, 20)
	publish(ctx, t, last, next+1, outbox(name, keyed(20, 40)...))
	wantValues(t, s.w.Read(t, name), 0, 40)
}
