package kafkaio

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/router"
)

// stuckTries is the failure in a row after which it is said that records wait for a partition: some four seconds in,
// when a restart or an election of a leader should be over.
const stuckTries = 14

// errSilent reports a batch that an answer does not mention.
var errSilent = errors.New("broker answered without naming the partition")

// settle takes the answer to a flight: what is acknowledged leaves its queue, the rest stays at the head of it.
func (s *sender) settle(f *flight, req *kmsg.ProduceRequest, resp *kmsg.ProduceResponse, err error) {
	s.mu.Lock()
	defer s.unlock()
	delete(s.busy, f.leader)
	token(s.wake)
	if s.closed {
		return
	}
	if err == nil {
		at := 0
		for n := range resp.Topics {
			rt := &resp.Topics[n]
			name := answered(req, rt)
			for m := range rt.Partitions {
				if at = f.find(at, name, rt.Partitions[m].Partition); at < 0 {
					at = 0
					continue
				}
				s.judge(&f.cargo[at], &rt.Partitions[m])
			}
		}
	} else {
		err = fmt.Errorf("produce: %w", err)
	}
	for n := range f.cargo {
		c := &f.cargo[n]
		if c.part.flying {
			if err == nil {
				err = errSilent
			}
			c.b.unanswered()
			s.delay(c.part, err)
		}
		s.enqueue(c.part)
	}
}

// find is the batch of a partition that is under way, or -1. Answers come in the order of the request, mostly.
func (f *flight) find(at int, topic string, id int32) int {
	for n := range f.cargo {
		i := (at + n) % len(f.cargo)
		if p := f.cargo[i].part; p.flying && p.id == id && p.topic.name == topic {
			return i
		}
	}
	return -1
}

// judge handles the answer to one batch.
func (s *sender) judge(c *cargo, rp *kmsg.ProduceResponseTopicPartition) {
	p, err := c.part, kerr.ErrorForCode(rp.ErrorCode)
	p.flying = false
	if err == nil || errors.Is(err, kerr.DuplicateSequenceNumber) {
		s.passed(c)
		return
	}
	missing := errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
	if missing {
		p.unknown++
	} else {
		p.unknown = 0
	}
	switch {
	case disowned(err):
		s.renounce(p)
		s.delay(p, err)
	case tooLarge(err) && c.b.count > 1:
		limit := len(c.b.plain) / 2
		p.topic.limit = min(p.topic.limit, limit)
		p.queue = append(c.b.split(limit, s.parcel), p.queue[1:]...)
		s.give(c.b)
	case missing && p.unknown >= unknownTries:
		s.reject(c, rp, fmt.Errorf("%w: %w", router.ErrUnknownTopic, err))
	case refused(err):
		s.reject(c, rp, err)
	case isAuth(err):
		s.reject(c, rp, authError(err))
	case heals(err) || p.failures < transactTries:
		s.delay(p, err)
	default:
		s.reject(c, rp, err)
	}
}

// passed takes an acknowledged batch out of the queue.
func (s *sender) passed(c *cargo) {
	p := c.part
	if p.failures >= stuckTries {
		s.e.cfg.Log.Info("partition takes records again", "topic", p.topic.name, "partition", p.id)
	}
	p.failures, p.unknown = 0, 0
	p.sequence = (p.sequence + c.b.count) & math.MaxInt32 // as brokers wrap it
	c.b.eachShare(func(out *outgoing, from, to int32) {
		if out.open -= int(to - from); out.open == 0 {
			s.end(out, nil)
		}
	})
	p.pop()
	s.give(c.b)
}

// pop takes the first batch out of the queue, whose array stays.
func (p *sendPart) pop() {
	n := copy(p.queue, p.queue[1:])
	p.queue[n] = nil
	p.queue = p.queue[:n]
}

// delay leaves the batch where it is, for a later try. Leaders may have moved: they are asked for first.
func (s *sender) delay(p *sendPart, err error) {
	p.flying = false
	p.failures++
	p.after = time.Now().Add(backoff(p.failures))
	p.stale, s.stale = true, true
	if p.failures == stuckTries {
		s.e.cfg.Log.Warn("records wait for a partition", "topic", p.topic.name, "partition", p.id, "err", err)
	}
}

// reject gives up the batch that the broker refuses for good, and with it the Sends that have a record in it. Nothing of
// it is in the log, so the sequence stays.
func (s *sender) reject(c *cargo, rp *kmsg.ProduceResponseTopicPartition, err error) {
	p, named := c.part, int32(-1)
	for _, e := range rp.ErrorRecords {
		if named < 0 && e.RelativeOffset >= 0 && e.RelativeOffset < c.b.count {
			named = e.RelativeOffset
			if e.ErrorMessage != nil {
				err = fmt.Errorf("%w: %s", err, *e.ErrorMessage)
			}
		}
	}
	c.b.eachShare(func(out *outgoing, from, to int32) {
		at := from
		if named >= from && named < to {
			at = named
		}
		s.refuse(out, c.b.index[at], p.topic.name, err)
	})
	p.failures, p.unknown = 0, 0
	p.pop()
	s.give(c.b)
}

// renounce gives the partition an identity under which its sequence begins again: the same producer with a later epoch,
// so that the broker refuses what of the earlier one is still on its way.
func (s *sender) renounce(p *sendPart) {
	if p.who == s.who {
		s.who.epoch++
	}
	if s.who.epoch == math.MaxInt16 || p.failures >= transactTries {
		s.who = nobody
	}
	p.who, p.sequence = s.who, 0
}

// disowned says that the broker does not know the producer, or not where its sequence stands: it lost records, or
// expired what it knew.
func disowned(err error) bool {
	for _, e := range []error{
		kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.ProducerFenced,
		kerr.InvalidProducerIDMapping, kerr.InvalidTxnState,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func tooLarge(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge)
}
