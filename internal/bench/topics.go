package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 4
	valueBytes = 100
	// linger is how long the generator gathers records: Kafka's own default (KIP-1030). Without it 10 k records a second are 2400
	// produce requests, for which the broker takes up to 0.9 of a core that it then lacks for what is measured.
	linger = 5 * time.Millisecond
	// maxBuffered lets the generator run ahead of the broker without taking much memory.
	maxBuffered = 200_000
	// settle is the pause between two looks at a broker that has not yet done what it was told.
	settle = 50 * time.Millisecond
	// settleTries times settle is longer than a broker takes to delete a topic.
	settleTries = 400
)

// topics is Kafka as the load sees it. Records have key "k%08d", or another number of digits, and a value of valueBytes: the scheduled time of sending in
// unix nanoseconds, then room for a count, both big-endian.
type topics struct {
	client *kgo.Client
	admin  *kadm.Client
	seeds  kgo.Opt
}

func dial(address string) (*topics, error) { return dialWith(address, linger) }

func dialWith(address string, linger time.Duration) (*topics, error) {
	seeds := kgo.SeedBrokers(address)
	client, err := kgo.NewClient(seeds, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(linger),
		kgo.MaxBufferedRecords(maxBuffered), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	if err != nil {
		return nil, fmt.Errorf("connect to kafka: %w", err)
	}
	return &topics{client, kadm.NewClient(client), seeds}, nil
}

func (t *topics) close() { t.client.Close() }

// recreate makes an empty topic.
func (t *topics) recreate(ctx context.Context, topic string) error {
	if _, err := t.admin.DeleteTopics(ctx, topic); err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	forever := "-1"
	for range settleTries {
		made, err := t.admin.CreateTopic(ctx, partitions, 1, map[string]*string{"retention.ms": &forever}, topic)
		if err == nil {
			err = made.Err
		}
		if err == nil {
			return t.settled(ctx, topic)
		}
		if !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", topic, err)
		}
		pause(ctx, settle) // its deletion is under way
	}
	return fmt.Errorf("create topic %s: its deletion does not end", topic)
}

// settled waits until every partition has a leader.
func (t *topics) settled(ctx context.Context, topic string) error {
	for range settleTries {
		ends, err := t.admin.ListEndOffsets(ctx, topic)
		if err == nil && ends.Error() == nil && len(ends[topic]) == partitions {
			return nil
		}
		pause(ctx, settle)
	}
	return fmt.Errorf("topic %s has partitions without a leader", topic)
}

func value(scheduled int64) []byte {
	v := make([]byte, valueBytes)
	binary.BigEndian.PutUint64(v, uint64(scheduled))
	return v
}

// fill writes n records with the keys that next gives, and waits until the broker has them.
func (t *topics) fill(ctx context.Context, topic string, n int64, next func() []byte) error {
	sent := newSent()
	for range n {
		t.client.Produce(ctx, &kgo.Record{Topic: topic, Key: next(), Value: value(time.Now().UnixNano())}, sent.done)
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
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("send load: %w", err)
	}
	select {
	case err := <-s.first:
		return fmt.Errorf("send load: %w", err)
	default:
		return nil
	}
}

// committed is how many offsets of a topic a read_committed consumer can pass. Each transaction takes one more offset per
// partition than it has records.
func (t *topics) committed(ctx context.Context, topic string) (int64, error) {
	offsets, err := t.admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("list offsets of %s: %w", topic, err)
	}
	var sum int64
	offsets.Each(func(o kadm.ListedOffset) { sum += max(0, o.Offset) })
	return sum, nil
}

// consumer reads a topic under read_committed from where start says; nil starts at its beginning.
func (t *topics) consumer(topic string, start map[int32]kgo.Offset) (*kgo.Client, error) {
	options := []kgo.Opt{t.seeds, kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMinBytes(1)}
	if start == nil {
		options = append(options, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	} else {
		options = append(options, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("consume %s: %w", topic, err)
	}
	return client, nil
}

// verify reads n records of the output and says whether the counts of every key are 1, 2, 3, each once.
func (t *topics) verify(ctx context.Context, topic string, n int64) error {
	seen, err := t.read(ctx, topic, n)
	if err != nil {
		return err
	}
	return exact(seen, true)
}

// read returns the pairs of the first n records of the output.
func (t *topics) read(ctx context.Context, topic string, n int64) ([]uint64, error) {
	consumer, err := t.consumer(topic, nil)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	seen := make([]uint64, 0, n)
	for int64(len(seen)) < n {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("read %s after %d of %d records: %w", topic, len(seen), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen = append(seen, pair(r)) })
	}
	return seen, nil
}

// pair packs key and count, so that sorting brings the counts of a key together.
func pair(r *kgo.Record) uint64 {
	key, err := strconv.ParseUint(string(r.Key[1:]), 10, 32)
	if err != nil || len(r.Value) < 16 {
		return 0 // key 0 with count 0, which exact refuses
	}
	return key<<32 | binary.BigEndian.Uint64(r.Value[8:])&0xFFFFFFFF
}

// exact checks packed pairs; fromOne says that each key's first count must be 1.
func exact(pairs []uint64, fromOne bool) error {
	slices.Sort(pairs)
	var lost, doubled uint64
	for i, p := range pairs {
		n := p & 0xFFFFFFFF
		first := i == 0 || pairs[i-1]>>32 != p>>32
		switch {
		case n == 0:
			return errors.New("a record without a count")
		case first && fromOne:
			lost += n - 1
		case first:
		case p == pairs[i-1]:
			doubled++
		default:
			lost += p - pairs[i-1] - 1
		}
	}
	if lost+doubled > 0 {
		return fmt.Errorf("output is not exact: lost %d, doubled %d", lost, doubled)
	}
	return nil
}
