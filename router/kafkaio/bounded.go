package kafkaio

import (
	"context"
	"fmt"
	"github.com/weir-run/weir/router"
	"math"
	"slices"
)

// nothing is the Position.End of a partition that was empty when its end was found: 0 would say that it has none.
const nothing = -1

// bounds is what a bounded ingress knows of its end, guarded by Ingress.mu. Its partitions are those that its topics have
// when they are first looked at; what appears later is not read.
type bounds struct {
	topics map[string]bool // whose partitions are known
	all    bool            // every topic that is read by name is among them
	open   int             // partitions of this task that are not handed out up to their end
}

// limit is the first offset of s that is not read.
func (s *source) limit() int64 {
	switch end := s.start.End; {
	case end > 0:
		return end
	case end == nothing:
		return 0
	}
	return math.MaxInt64
}

// Done implements router.Ingress.
func (i *Ingress) Done() bool {
	if i.cfg.Ingress.Bounded == nil {
		return false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.settled && i.bounds.all && i.bounds.open == 0
}

// closed says whether a partition of a topic appeared too late to be read.
func (i *Ingress) closed(topic string) bool {
	if i.cfg.Ingress.Bounded == nil || !i.finder.started {
		return false
	}
	return i.bounds.topics[topic] || i.rules[i.rules.match(topic)].pattern != nil
}

// ends finds the end of the partitions that have none yet, into finder.ends.
func (i *Ingress) ends(ctx context.Context, found []partitionKey) error {
	i.finder.ends = nil
	bound := i.cfg.Ingress.Bounded
	if bound == nil {
		return nil
	}
	var topics []string
	for _, key := range found {
		if src := i.sources[key]; (src == nil || src.start.End == 0) && !slices.Contains(topics, key.topic) {
			topics = append(topics, key.topic)
		}
	}
	if len(topics) == 0 {
		return nil
	}
	var err error
	switch bound.Type {
	case "latest":
		// Not the last stable offset: records behind an open transaction are in the log too.
		i.finder.ends, err = listed(i.adm.ListEndOffsets(ctx, topics...))
	case "timestamp":
		i.finder.ends, err = listed(i.adm.ListOffsetsAfterMilli(ctx, bound.Time.UnixMilli(), topics...))
	default:
		err = fmt.Errorf("%w: bounded type %q", router.ErrStart, bound.Type)
	}
	return err
}

// bind gives a partition its end, unless it has one. It is called with mu held, before the partition is fetched from.
func (i *Ingress) bind(src *source) {
	if i.cfg.Ingress.Bounded == nil {
		return
	}
	if src.start.End == 0 {
		if src.start.End = i.finder.ends[src.key()]; src.start.End == 0 {
			src.start.End = nothing
		}
	}
	if src.at.offset < src.limit() {
		i.bounds.open++
	}
}

// know takes note of the topics that a round has seen. It is called with mu held.
func (i *Ingress) know(topics map[string]seen) {
	for name, t := range topics {
		if i.rules.match(name) >= 0 && t.err == nil && !t.internal && len(t.leaders) > 0 {
			i.bounds.topics[name] = true
		}
	}
	i.bounds.all = !slices.ContainsFunc(i.rules, func(r rule) bool { return r.pattern == nil && !i.bounds.topics[r.topic] })
}

// finish counts a partition whose end has been handed out.
func (i *Ingress) finish() {
	i.mu.Lock()
	i.bounds.open--
	i.mu.Unlock()
}
