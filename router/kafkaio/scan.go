package kafkaio

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// readCommitted is the protocol's isolation level that leaves out open and aborted transactions.
const readCommitted = 1

// scan reads the committed batches of a partition that begin in [from, end), in order, control batches left out. Offsets
// that compaction has emptied are passed over, which is why this is no consumer: that one never says so. end is at most
// the last stable offset.
func scan(ctx context.Context, e *Egress, cl *kgo.Client, key partitionKey, from, end int64, visit func(*batchView) error) error {
	failures := 0
	for at := from; at < end; {
		next, err := scanOnce(ctx, e, cl, key, at, end, visit)
		if err == nil {
			at, failures = next, 0
			continue
		}
		failures++
		if err := retry(ctx, failures, err); err != nil {
			return fmt.Errorf("read %s[%d] at %d: %w", key.topic, key.id, at, err)
		}
		if err := e.look(ctx); err != nil && !heals(err) {
			return err
		}
	}
	return nil
}

// scanOnce is one fetch of scan. It returns where the next begins.
func scanOnce(ctx context.Context, e *Egress, cl *kgo.Client, key partitionKey, at, end int64, visit func(*batchView) error) (int64, error) {
	t := e.known(key.topic)
	if t == nil || int(key.id) >= len(t.leaders) {
		return 0, kerr.UnknownTopicOrPartition
	}
	part := kmsg.NewFetchRequestTopicPartition()
	part.Partition, part.FetchOffset, part.PartitionMaxBytes = key.id, at, fetchPartitionBytes
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = t.name, t.id, []kmsg.FetchRequestTopicPartition{part}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MinBytes, req.MaxBytes, req.MaxWaitMillis = -1, 1, fetchBytes, 500
	req.IsolationLevel, req.SessionEpoch = readCommitted, -1
	req.Topics = []kmsg.FetchRequestTopic{topic}
	resp, err := request[*kmsg.FetchResponse](ctx, cl.Broker(int(t.leaders[key.id])), req)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return 0, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return 0, kerr.UnknownTopicOrPartition
	}
	p := resp.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return 0, err
	}
	next, err := walk(p.RecordBatches, p.AbortedTransactions, at, end, visit)
	if err == nil && next == at && p.LastStableOffset >= end {
		return end, nil // nothing is left up to the end
	}
	return next, err
}

// walk visits the committed batches in the bytes of a fetch, and returns the offset after the last one.
func walk(b []byte, aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction, at, end int64, visit func(*batchView) error) (int64, error) {
	hidden := newAborts(aborted)
	var v batchView
	for at < end {
		n, err := parseBatch(b, &v)
		if err != nil {
			return at, err
		}
		if n == 0 {
			break
		}
		b = b[n:]
		if !hidden.hides(&v) && v.base < end && v.next > at {
			if err := visit(&v); err != nil {
				return at, err
			}
		}
		at = max(at, v.next)
	}
	return at, nil
}
