package kafkaio

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/router"
)

// Consume reads records and visits each, in order within a partition, until Count is reached, the end as of now is
// reached (unless Follow), visit returns an error, or ctx ends. Records are views that end with the visit.
func (c *Client) Consume(ctx context.Context, what Consumption, visit func(*ConsumedRecord) error) error {
	err := c.guarded(ctx, func(ctx context.Context) error { return c.consume(ctx, what, visit) })
	if err != nil {
		return fmt.Errorf("consume %s: %w", what.Topic, err)
	}
	return nil
}

// pollRecords bounds what one poll of a consumer hands out.
const pollRecords = 2048

func (c *Client) consume(ctx context.Context, what Consumption, visit func(*ConsumedRecord) error) error {
	from, until, err := c.extent(ctx, &what)
	if err != nil {
		return err
	}
	if len(until) == 0 && !what.Follow {
		return nil
	}
	opts := append(c.opts[:len(c.opts):len(c.opts)],
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{what.Topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.KeepControlRecords())
	if !what.Uncommitted {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	visited := 0
	var r ConsumedRecord
	for what.Follow || len(until) > 0 {
		polled, cancel := ctx, context.CancelFunc(func() {})
		if !what.Follow {
			polled, cancel = context.WithTimeout(ctx, quietEnd)
		}
		fetches := cl.PollRecords(polled, pollRecords)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fetches.Err(); errors.Is(err, context.DeadlineExceeded) {
			return nil // compaction left nothing up to the end
		} else if err != nil {
			return named(err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			k := it.Next()
			end, bounded := until[k.Partition]
			if !what.Follow && (!bounded || k.Offset >= end) {
				continue
			}
			if bounded && k.Offset+1 >= end {
				delete(until, k.Partition)
			}
			if k.Attrs.IsControl() {
				continue
			}
			r = ConsumedRecord{k.Topic, k.Partition, k.Offset, k.Timestamp, k.Key, k.Value, r.Headers[:0]}
			for _, h := range k.Headers {
				r.Headers = append(r.Headers, router.Header(h))
			}
			if err := visit(&r); err != nil {
				return err
			}
			if visited++; visited == what.Count {
				return nil
			}
		}
	}
	return nil
}

// extent is where each partition is read from, and up to where: partitions with nothing to read are not in until.
func (c *Client) extent(ctx context.Context, what *Consumption) (from map[int32]kgo.Offset, until map[int32]int64, err error) {
	all, err := c.describe(ctx, what.Topic)
	if err != nil {
		return nil, nil, err
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("%w: %s", router.ErrUnknownTopic, what.Topic)
	}
	list := c.adm.ListCommittedOffsets
	if what.Uncommitted {
		list = c.adm.ListEndOffsets
	}
	ends, err := list(ctx, what.Topic)
	if err != nil {
		return nil, nil, named(err)
	}
	from, until = map[int32]kgo.Offset{}, map[int32]int64{}
	for _, p := range all[0].Partitions {
		if what.Partition >= 0 && p.ID != what.Partition {
			continue
		}
		var end kadm.ListedOffset
		if end, _ = ends.Lookup(what.Topic, p.ID); end.Err != nil {
			return nil, nil, named(end.Err)
		}
		at := min(max(what.Offset, p.Start), p.End)
		from[p.ID] = kgo.NewOffset().At(at)
		if at < end.Offset {
			until[p.ID] = end.Offset
		}
	}
	if len(from) == 0 {
		return nil, nil, fmt.Errorf("it has no partition %d", what.Partition)
	}
	return from, until, nil
}
