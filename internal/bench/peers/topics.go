package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/bench/peers/tally"
)

const (
	partitions = 4
	valueBytes = 100
	// linger is Kafka's own default, which the load and every system keep to.
	linger = 5 * time.Millisecond
	// maxBuffered lets the load run ahead of the broker without taking much memory.
	maxBuffered = 200_000
	// settle is the pause between two looks at a broker that has not yet done what it was told.
	settle = 50 * time.Millisecond
	// settleTries times settle is longer than a broker takes to make a topic.
	settleTries = 400
)

// topics is Kafka as the load sees it. A record has one of tally's keys, and a value of valueBytes: its scheduled time of
// sending in unix nanoseconds, room for the count, and zeros.
type topics struct {
	client *kgo.Client
	admin  *kadm.Client
	seeds  kgo.Opt
}

func dial(address string) (*topics, error) {
	seeds := kgo.SeedBrokers(address)
	client, err := kgo.NewClient(seeds, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(linger),
		kgo.MaxBufferedRecords(maxBuffered), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		return nil, fmt.Errorf("connect to kafka: %w", err)
	}
	return &topics{client, kadm.NewClient(client), seeds}, nil
}

func (t *topics) close() { t.client.Close() }

// create makes an empty topic. Names are never used again in a run, so that no deletion stands in the way.
func (t *topics) create(ctx context.Context, topic string) error {
	forever := "-1"
	made, err := t.admin.CreateTopic(ctx, partitions, 1, map[string]*string{"retention.ms": &forever}, topic)
	if err = errors.Join(err, made.Err); err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return t.settled(ctx, topic)
}

// settled waits until every partition has a leader.
func (t *topics) settled(ctx context.Context, topic string) error {
	for range settleTries {
		ends, err := t.admin.ListEndOffsets(ctx, topic)
		if err == nil && ends.Error() == nil && len(ends[topic]) == partitions {
			return nil
		}
		if err := pause(ctx, settle); err != nil {
			return err
		}
	}
	return fmt.Errorf("create topic %s: it is not there after %v", topic, settleTries*settle)
}

// remove deletes the topics that are meant, those among them that a system made for itself.
func (t *topics) remove(ctx context.Context, meant func(string) bool) error {
	all, err := t.admin.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("list topics: %w", err)
	}
	for _, name := range all.Names() {
		if !meant(name) {
			continue
		}
		if _, err := t.admin.DeleteTopics(ctx, name); err != nil {
			return fmt.Errorf("delete topic %s: %w", name, err)
		}
	}
	return nil
}

// of tells the topics of one run: its own, and those that a system named after the run's id.
func of(id string) func(string) bool {
	return func(topic string) bool { return strings.HasPrefix(topic, id+"-") }
}

// draw gives keys, the same in every run.
func draw(keys int64) func() []byte {
	random := rand.NewPCG(1, 2)
	return func() []byte {
		k, _ := bits.Mul64(random.Uint64(), uint64(keys))
		return tally.Key(nil, int64(k))
	}
}

// record is a record of the load.
func record(topic string, key []byte, scheduled int64) *kgo.Record {
	value := make([]byte, valueBytes)
	binary.BigEndian.PutUint64(value, uint64(scheduled))
	return &kgo.Record{Topic: topic, Key: key, Value: value}
}

// fill writes n records and waits until the broker has them.
func (t *topics) fill(ctx context.Context, topic string, n, keys int64) error {
	next, sent := draw(keys), newSent()
	for range n {
		t.client.Produce(ctx, record(topic, next(), 0), sent.done)
	}
	return sent.wait(ctx, t.client)
}

// sent keeps the first error of many records under way.
type sent struct{ first chan error }

func newSent() *sent { return &sent{make(chan error, 1)} }

func (s *sent) done(_ *kgo.Record, err error) {
	if err != nil {
		select {
		case s.first <- err:
		default: // one is enough
		}
	}
}

func (s *sent) wait(ctx context.Context, client *kgo.Client) error {
	err := client.Flush(ctx)
	select {
	case first := <-s.first:
		err = errors.Join(err, first)
	default:
	}
	if err != nil {
		return fmt.Errorf("send load: %w", err)
	}
	return nil
}

// committed is how many offsets of a topic a read_committed consumer can pass. A transaction takes one more per partition
// than it has records.
func (t *topics) committed(ctx context.Context, topic string) (int64, error) {
	offsets, err := t.admin.ListCommittedOffsets(ctx, topic)
	if err = errors.Join(err, offsets.Error()); err != nil {
		return 0, fmt.Errorf("list offsets of %s: %w", topic, err)
	}
	var sum int64
	offsets.Each(func(o kadm.ListedOffset) { sum += max(0, o.Offset) })
	return sum, nil
}

// receive reads a topic from its beginning under read_committed, gives each record to take, and returns when n are there.
// It gives up when its patience ends, or when alive tells why nothing can.
func (t *topics) receive(ctx context.Context, topic string, n int64, alive func() error, take func(*kgo.Record)) error {
	consumer, err := kgo.NewClient(t.seeds, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMinBytes(1),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return fmt.Errorf("consume %s: %w", topic, err)
	}
	defer consumer.Close()
	moved := time.Now()
	for came := int64(0); came < n; {
		polling, cancel := context.WithTimeout(ctx, look)
		fetches := consumer.PollFetches(polling)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fetches.Err0(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("read %s after %d of %d records: %w", topic, came, n, err)
		}
		fetches.EachRecord(take)
		if fetches.NumRecords() > 0 {
			came, moved = came+int64(fetches.NumRecords()), time.Now()
		} else if limit := patience(came); time.Since(moved) > limit {
			return fmt.Errorf("read %s: nothing for %v after %d of %d records", topic, limit, came, n)
		}
		if err := alive(); err != nil {
			return err
		}
	}
	return nil
}
