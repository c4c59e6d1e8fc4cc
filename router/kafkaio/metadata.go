package kafkaio

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// seen is a topic as one metadata answer describes it.
type seen struct {
	id       [16]byte
	err      error // why it cannot be described: absent, not authorized, or something that heals
	internal bool
	leaders  []int32 // by partition; -1 has none
	epochs   []int32 // of the leaders; -1 unknown
	replicas int     // of partition 0
}

// metadata asks a broker for topics, all of them when names is empty. It never answers from the client library's cache,
// which would hide a topic that has just been created, deleted or re-created.
func metadata(ctx context.Context, cl *kgo.Client, names []string) (map[string]seen, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := request[*kmsg.MetadataResponse](ctx, cl, req)
	if err != nil {
		return nil, fmt.Errorf("ask for topics: %w", err)
	}
	topics := make(map[string]seen, len(resp.Topics))
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		s := seen{id: t.TopicID, err: kerr.ErrorForCode(t.ErrorCode), internal: t.IsInternal, leaders: make([]int32, len(t.Partitions)), epochs: make([]int32, len(t.Partitions))}
		for n := range s.leaders {
			s.leaders[n], s.epochs[n] = -1, -1
		}
		for _, p := range t.Partitions {
			if p.Partition < 0 || int(p.Partition) >= len(s.leaders) {
				return nil, fmt.Errorf("metadata of topic %s: partition %d of %d", *t.Topic, p.Partition, len(s.leaders))
			}
			s.epochs[p.Partition] = p.LeaderEpoch
			if p.ErrorCode == 0 || kerr.ErrorForCode(p.ErrorCode) == kerr.ReplicaNotAvailable {
				s.leaders[p.Partition] = p.Leader
			}
			if p.Partition == 0 {
				s.replicas = len(p.Replicas)
			}
		}
		topics[*t.Topic] = s
	}
	for _, name := range names {
		if _, ok := topics[name]; !ok {
			topics[name] = seen{err: kerr.UnknownTopicOrPartition}
		}
	}
	return topics, nil
}
