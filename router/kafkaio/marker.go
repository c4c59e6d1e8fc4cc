package kafkaio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/router"
)

const (
	// markerTopic holds the last published number of every lane of every job of a cluster.
	markerTopic = "weir-markers"
	// markerPartitions spreads lanes, so that one with an open transaction holds back few others' recovery. Lanes use
	// this many at most also when the topic is given more later, or they would lose their marker.
	markerPartitions = 16
	// markerSegmentBytes keeps what compaction has not reached yet small.
	markerSegmentBytes = "16777216"
	// embeddedMarkerBytes bounds the embedded broker's markers, by partition: some 800,000 epochs.
	embeddedMarkerBytes = "268435456"
	// markerTail is where the search for a marker begins, in offsets from the end: a busy lane's is near.
	markerTail = 1024
	// openWarning is how many looks at an open transaction of somebody else pass before it is said.
	openWarning = 12
)

// ensureMarkers learns of the marker topic and creates it when it is absent.
func (e *Egress) ensureMarkers(ctx context.Context) error {
	e.want(markerTopic)
	for n := 1; ; n++ {
		err := e.look(ctx)
		if err == nil && e.known(markerTopic) != nil {
			return nil
		}
		if err == nil {
			err = createTopic(ctx, e.adm, markerTopic, markerPartitions, e.markerConfigs())
		}
		if err == nil {
			err = kerr.UnknownTopicOrPartition // its metadata spreads within milliseconds
		}
		if err := retry(ctx, n, err); err != nil {
			return fmt.Errorf("prepare topic %s: %w", markerTopic, err)
		}
	}
}

// markerConfigs are the settings of the marker topic. The embedded broker's compaction takes an open transaction's record
// for the last one and would drop the committed marker below it, so there old markers go by size instead.
func (e *Egress) markerConfigs() map[string]*string {
	configs := map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.bytes": markerSegmentBytes}
	if e.cfg.Embedded {
		configs = map[string]string{"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": embeddedMarkerBytes, "segment.bytes": markerSegmentBytes}
	}
	values := make(map[string]*string, len(configs))
	for k, v := range configs {
		values[k] = &v
	}
	return values
}

// markerPartition is where the lane's marker lives.
func (l *Lane) markerPartition() partitionKey {
	partitions := markerPartitions
	if t := l.e.known(markerTopic); t != nil {
		partitions = min(partitions, len(t.leaders))
	}
	h := fnv.New32a()
	h.Write([]byte(l.id)) // a hash never fails
	return partitionKey{markerTopic, int32(h.Sum32() % uint32(partitions))}
}

func (l *Lane) markerRecord(number uint64) router.EgressRecord {
	return router.EgressRecord{
		Topic: []byte(markerTopic), Key: []byte(l.id), Value: binary.BigEndian.AppendUint64(nil, number), Time: time.Now().UnixMilli(),
	}
}

// marker is the last committed marker of the lane. The lane's own transactions are decided: initialise came before. Those
// of other lanes in the partition are waited for, up to where it ended then.
func (l *Lane) marker(ctx context.Context) (number uint64, found bool, err error) {
	key := l.markerPartition()
	end, err := l.bound(ctx, key, l.e.adm.ListEndOffsets)
	if err != nil {
		return 0, false, err
	}
	for n := 1; ; n++ {
		stable, err := l.bound(ctx, key, l.e.adm.ListCommittedOffsets)
		if err != nil {
			return 0, false, err
		}
		if stable >= end {
			break
		}
		if n == openWarning {
			l.e.cfg.Log.Warn("another lane's open transaction holds back recovery, until it ends or times out", "lane", l.id, "partition", key.id)
		}
		if err := pause(ctx, n); err != nil {
			return 0, false, err
		}
	}
	start, err := l.bound(ctx, key, l.e.adm.ListStartOffsets)
	if err != nil {
		return 0, false, err
	}
	d := kgo.DefaultDecompressor()
	for tail := int64(markerTail); end > start && !found; tail *= 16 {
		from := max(start, end-tail)
		err := scan(ctx, l.e, l.cl, key, from, end, func(v *batchView) error {
			return v.eachRecord(d, func(offset int64, k, value []byte) {
				if offset >= from && string(k) == l.id && len(value) == 8 {
					number, found = binary.BigEndian.Uint64(value), true
				}
			})
		})
		if errors.Is(err, kerr.OffsetOutOfRange) { // compaction moved the start
			if start, err = l.bound(ctx, key, l.e.adm.ListStartOffsets); err == nil {
				tail /= 16
				continue
			}
		}
		if err != nil {
			return 0, false, err
		}
		end = from
	}
	return number, found, nil
}

// bound is one end of a partition's log, as list tells it.
func (l *Lane) bound(ctx context.Context, key partitionKey, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (int64, error) {
	for n := 1; ; n++ {
		limited, cancel := context.WithTimeout(ctx, requestTimeout)
		offsets, err := list(limited, key.topic)
		cancel()
		if err == nil {
			o, ok := offsets.Lookup(key.topic, key.id)
			if ok && o.Err == nil {
				return o.Offset, nil
			}
			if err = o.Err; !ok {
				err = kerr.UnknownTopicOrPartition
			}
		}
		if err := retry(ctx, n, err); err != nil {
			return 0, fmt.Errorf("ask for offsets of %s[%d]: %w", key.topic, key.id, err)
		}
	}
}
