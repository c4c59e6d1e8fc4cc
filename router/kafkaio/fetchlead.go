package kafkaio

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// lead hands every source that has begun to the fetcher of its leader, as metadata names it. It says whether all of them
// have one.
func (i *Ingress) lead(topics map[string]seen) (all bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	all = true
	for key, src := range i.sources {
		t, ok := topics[key.topic]
		if i.finder.resume[key] || !ok || t.err != nil || int(key.id) >= len(t.leaders) {
			continue
		}
		i.assign(src, t.leaders[key.id], t.epochs[key.id])
		all = all && src.leader >= 0
	}
	return all
}

// follow goes where a broker says that the leader of a source is, unless it is known to be elsewhere since.
func (i *Ingress) follow(src *source, leader, epoch int32) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if epoch <= src.epoch {
		return false
	}
	i.assign(src, leader, epoch)
	return true
}

// assign gives a source to the fetcher of its leader. What comes from an epoch before the one known is late, and left
// out. It is called with mu held.
func (i *Ingress) assign(src *source, leader, epoch int32) {
	if epoch < src.epoch {
		return
	}
	if epoch == src.epoch && leader == src.leader {
		return
	}
	if epoch > src.epoch {
		src.epoch, src.unproved = epoch, src.at.epoch >= 0
	}
	src.failures, src.until = 0, time.Time{}
	if leader != src.leader {
		if old := i.fetchers[src.leader]; old != nil {
			old.sources = slices.DeleteFunc(old.sources, func(s *source) bool { return s == src })
		}
		if src.leader = leader; leader >= 0 {
			i.fetcher(leader).insert(src)
		}
	}
	if f := i.fetchers[leader]; f != nil && !src.busy {
		f.nudge()
	}
}

// fetcher is that of a broker. It is called with mu held.
func (i *Ingress) fetcher(node int32) *fetcher {
	f := i.fetchers[node]
	if f == nil {
		f = &fetcher{in: i, node: node, wake: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
		i.fetchers[node] = f
		i.spawn(f.run)
	}
	return f
}

// prove asks the leader where its log ends in the epoch of the last record read (KIP-320): a leader that was elected
// without all of the log has other records behind that offset, or none, and to go on there would skip some unseen.
func (f *fetcher) prove(ctx, asking context.Context, r *round) error {
	resp, err := send[*kmsg.OffsetForLeaderEpochResponse](asking, f, composeProof(r.asked))
	if err != nil || resp == nil {
		f.release(r, nil)
		return f.trouble(ctx, err)
	}
	f.failures = 0
	err = f.proved(ctx, resp, r.asked)
	f.release(r, nil)
	return err
}

func composeProof(asked []ask) *kmsg.OffsetForLeaderEpochRequest {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	for _, a := range asked {
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = a.src.start.ID, a.epoch, a.src.at.epoch
		last := len(req.Topics) - 1
		if last < 0 || req.Topics[last].Topic != a.src.start.Topic {
			t := kmsg.NewOffsetForLeaderEpochRequestTopic()
			t.Topic = a.src.start.Topic
			req.Topics = append(req.Topics, t)
			last++
		}
		req.Topics[last].Partitions = append(req.Topics[last].Partitions, p)
	}
	return req
}

// proved acts upon the answer. A leader that knows nothing of the epoch (an end below 0) says nothing about the log: there
// the fetch itself tells whether the offset lies in it. No leader of a log that held the epoch answers so.
func (f *fetcher) proved(ctx context.Context, resp *kmsg.OffsetForLeaderEpochResponse, asked []ask) error {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			n := slices.IndexFunc(asked, func(a ask) bool { return a.src.start.Topic == t.Topic && a.src.start.ID == p.Partition })
			if n < 0 {
				continue
			}
			src := asked[n].src
			err := kerr.ErrorForCode(p.ErrorCode)
			switch {
			case err == nil && p.EndOffset >= 0 && p.EndOffset < src.at.offset:
				return f.in.truncated(ctx, src, fmt.Errorf("the leader's log has other records from offset %d on: it was elected without those of epoch %d", p.EndOffset, src.at.epoch))
			case err == nil:
				f.in.mu.Lock()
				src.unproved = src.epoch != asked[n].epoch
				src.failures = 0
				f.in.mu.Unlock()
			case isAuth(err) || !kerr.IsRetriable(err):
				return fmt.Errorf("ask for the end of epoch %d in %s[%d]: %w", src.at.epoch, t.Topic, p.Partition, authError(err))
			default:
				f.stumble(&asked[n], err)
			}
		}
	}
	return nil
}
