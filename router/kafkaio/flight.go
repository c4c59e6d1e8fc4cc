package kafkaio

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/router"
)

// flight is one produce request of the sender: the next batch of some partitions, to the leader of all of them.
type flight struct {
	leader int32
	bytes  int
	cargo  []cargo
}

// cargo is one batch of a flight. Nobody else touches the batch until the flight is settled.
type cargo struct {
	part     *sendPart
	b        *parcel
	in       *topic
	who      producer
	sequence int32
}

// plan is what there is to do at one moment.
type plan struct {
	flights  []*flight
	identify bool // a partition needs a producer id, and there is none
	look     bool
	wait     time.Duration // until there may be more to do; 0 is until somebody says so
}

// run sends until ctx is done, and joins what it started. It fails only when the cluster refuses this identity.
func (s *sender) run(ctx context.Context) error {
	var group errgroup.Group // its members handle their errors themselves
	defer group.Wait()
	for {
		p := s.plan(time.Now())
		for _, f := range p.flights {
			group.Go(func() error { s.fly(ctx, f); return nil })
		}
		if p.look {
			group.Go(func() error { s.look(ctx); return nil })
		}
		if p.identify {
			if err := s.identify(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			continue
		}
		if !s.rest(ctx, p.wait) {
			return nil
		}
	}
}

// rest waits until there is something to do; it returns false when ctx is done.
func (s *sender) rest(ctx context.Context, wait time.Duration) bool {
	var later <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		later = t.C
	}
	select {
	case <-s.wake:
	case <-later:
	case <-ctx.Done():
		return false
	}
	return true
}

// plan takes what can be sent. What it gives to a flight is ready no more, and the leader is busy, until settle.
func (s *sender) plan(now time.Time) plan {
	var p plan
	later := func(at time.Time) {
		if d := at.Sub(now); p.wait == 0 || d < p.wait {
			p.wait = d
		}
	}
	s.mu.Lock()
	defer s.unlock()
	left := s.ready[:0]
	for _, part := range s.ready {
		s.refresh(part.topic)
		leader := part.leader()
		switch {
		case len(part.queue) == 0:
			part.queued = false
			continue
		case leader < 0:
			s.stale = true
		case part.stale:
		case now.Before(part.after):
			later(part.after)
		case part.who == nobody && s.who == nobody:
			p.identify = true
		case !s.busy[leader] && p.load(part, leader, s.who):
			part.queued, part.flying = false, true
			continue
		}
		left = append(left, part)
	}
	clear(s.ready[len(left):])
	s.ready = left
	for _, f := range p.flights {
		s.busy[f.leader] = true
	}
	switch {
	case !s.stale || s.looking:
	case now.Before(s.lookAfter):
		later(s.lookAfter)
	default:
		s.stale, s.looking, p.look = false, true, true
	}
	return p
}

// load puts the next batch of a partition into the flight to its leader. It returns false when that one is full.
func (p *plan) load(part *sendPart, leader int32, who producer) bool {
	var f *flight
	for _, one := range p.flights {
		if one.leader == leader {
			f = one
		}
	}
	b := part.queue[0]
	if f == nil {
		f = &flight{leader: leader}
		p.flights = append(p.flights, f)
	} else if f.bytes+len(b.plain) > requestBytes {
		return false
	}
	if part.who == nobody {
		part.who, part.sequence = who, 0
	}
	b.tried = true
	f.bytes += len(b.plain)
	f.cargo = append(f.cargo, cargo{part, b, part.topic.seen, part.who, part.sequence})
	return true
}

// fly makes one request.
func (s *sender) fly(ctx context.Context, f *flight) {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, produceTimeoutMillis
	for _, c := range f.cargo {
		if c.b.sent == nil {
			c.b.close(s.e.compressors[c.in.codec], 0)
		}
		c.b.seal(c.who, c.sequence)
		addBatch(req, c.in, c.part.id, c.b.sent)
	}
	resp, err := request[*kmsg.ProduceResponse](ctx, s.e.cl.Broker(int(f.leader)), req)
	s.settle(f, req, resp, err)
}

// addBatch puts the next batch of a partition into a request. Batches of one topic follow one another.
func addBatch(req *kmsg.ProduceRequest, t *topic, partition int32, records []byte) {
	part := kmsg.NewProduceRequestTopicPartition()
	part.Partition, part.Records = partition, records
	for n := range req.Topics {
		if req.Topics[n].Topic == t.name {
			req.Topics[n].Partitions = append(req.Topics[n].Partitions, part)
			return
		}
	}
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic, rt.TopicID, rt.Partitions = t.name, t.id, []kmsg.ProduceRequestTopicPartition{part}
	req.Topics = append(req.Topics, rt)
}

// answered is the name of an answer's topic, which later protocol versions give by its id.
func answered(req *kmsg.ProduceRequest, rt *kmsg.ProduceResponseTopic) string {
	for n := range req.Topics {
		if t := &req.Topics[n]; rt.Topic != "" && t.Topic == rt.Topic || rt.Topic == "" && t.TopicID == rt.TopicID {
			return t.Topic
		}
	}
	return ""
}

// identify asks for a producer id: one that is nobody else's, and needs no transactional id.
func (s *sender) identify(ctx context.Context) error {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.ProducerID, req.ProducerEpoch = nobody.id, nobody.epoch
	for n := 1; ; n++ {
		resp, err := request[*kmsg.InitProducerIDResponse](ctx, s.e.cl, req)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err == nil {
			s.mu.Lock()
			s.who = producer{resp.ProducerID, resp.ProducerEpoch}
			s.mu.Unlock()
			return nil
		}
		if err := retry(ctx, n, err); err != nil {
			return fmt.Errorf("ask for a producer id: %w", authError(err))
		}
	}
}

// look asks for leaders and topics. Partitions that wait for it go on in any case: they have their own pace.
func (s *sender) look(ctx context.Context) {
	err := s.e.look(ctx) // the connections' watch tells of an outage, and Run of a refused identity
	s.mu.Lock()
	defer s.unlock()
	s.looking = false
	s.looks++
	for _, t := range s.topics {
		s.refresh(t)
		for _, p := range t.parts {
			p.stale = false
		}
	}
	if name := s.lost(err == nil); name == "" {
		s.looks = 0
	} else if s.stale = true; s.looks == stuckTries {
		s.e.cfg.Log.Warn("records wait for a topic or a leader of it", "topic", name, "err", err)
	}
	s.lookAfter = time.Now().Add(backoff(s.looks))
	token(s.wake)
}

// lost is a topic whose records wait for what is not found, or empty. It counts the answered looks that did not find it, and
// gives the records up when there is no hope.
func (s *sender) lost(answered bool) string {
	found := ""
	for _, t := range s.topics {
		waits, gone := len(t.parked) > 0, t.missing >= unknownTries-1
		for _, p := range t.parts {
			if len(p.queue) > 0 && !p.flying && p.leader() < 0 {
				found = t.name
				waits = waits || p.absent()
			}
		}
		switch err := s.e.denied(t.name); {
		case !waits:
			t.missing = 0
		case !answered || err == nil && !gone:
			found = t.name
			if answered {
				t.missing++
			}
		default:
			if t.missing = 0; err == nil {
				err = router.ErrUnknownTopic
			}
			s.giveUp(t, err)
		}
	}
	return found
}

// giveUp fails what waits for a topic, or for partitions that it does not have.
func (s *sender) giveUp(t *sendTopic, err error) {
	for _, w := range t.parked {
		s.refuse(w.out, w.index, t.name, err)
	}
	t.parked = nil
	for _, p := range t.parts {
		if !p.flying && p.absent() {
			s.drop(p, err)
		}
	}
}
