package kafkaio_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

// patience ends a test that hangs. No outcome depends on it.
const patience = time.Minute

// kafka is the routertest.World of a Kafka cluster.
type kafka struct {
	address string
	cl      *kgo.Client
	adm     *kadm.Client
}

func newKafka(t testing.TB, address string) *kafka {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(10*time.Millisecond),
		kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &kafka{address, cl, kadm.NewClient(cl)}
}

// fake is a cluster in this process.
func fake(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, *kafka) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, newKafka(t, c.ListenAddrs()[0])
}

// older makes a kfake cluster speak as the generation with transaction version 1.
func older() kfake.Opt { return kfake.MaxVersions(kversion.V3_9_0()) }

func (k *kafka) cluster() functions.Cluster { return functions.Cluster{Address: k.address} }

func (k *kafka) ingress(s routertest.IngressSetup) (router.Ingress, error) {
	s.Ingress.Cluster = k.cluster()
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{Ingress: s.Ingress, Task: s.Task, Tasks: s.Tasks, Positions: s.Positions, Started: s.Started})
	if err != nil {
		return nil, err
	}
	return in, nil
}

func (k *kafka) egress(embedded bool) routertest.OpenEgress {
	return func(topics ...routertest.EgressTopic) (router.Egress, error) {
		cfg := kafkaio.EgressConfig{Cluster: k.cluster(), Embedded: embedded}
		for _, t := range topics {
			cfg.Topics = append(cfg.Topics, kafkaio.EgressTopic(t))
		}
		e, err := kafkaio.OpenEgress(cfg)
		if err != nil {
			return nil, err
		}
		return e, nil
	}
}

// within runs f with a context that ends a test that hangs.
func within(t testing.TB, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// until repeats f, as changes of a real cluster spread with a delay.
func until(t testing.TB, what string, f func(context.Context) bool) {
	t.Helper()
	within(t, what, func(ctx context.Context) error {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for !f(ctx) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
}

func (k *kafka) metadata(ctx context.Context, topic string) (partitions int, err error) {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, k.cl)
	if err != nil {
		return 0, err
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != 0 || p.Leader < 0 {
			return 0, kerr.LeaderNotAvailable
		}
	}
	return len(resp.Topics[0].Partitions), kerr.ErrorForCode(resp.Topics[0].ErrorCode)
}

func (k *kafka) Create(t testing.TB, topic string, partitions int) {
	t.Helper()
	// A topic of the same name may still be on its way out.
	until(t, "create topic", func(ctx context.Context) bool {
		_, err := k.adm.CreateTopic(ctx, int32(partitions), -1, nil, topic)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			t.Fatal(err)
		}
		return err == nil
	})
	until(t, "see topic", func(ctx context.Context) bool {
		n, err := k.metadata(ctx, topic)
		return err == nil && n == partitions
	})
}

func (k *kafka) Grow(t testing.TB, topic string, partitions int) {
	t.Helper()
	within(t, "grow topic", func(ctx context.Context) error {
		resp, err := k.adm.UpdatePartitions(ctx, partitions, topic)
		if err != nil {
			return err
		}
		return resp[topic].Err
	})
	until(t, "see partitions", func(ctx context.Context) bool {
		n, err := k.metadata(ctx, topic)
		return err == nil && n == partitions
	})
}

func (k *kafka) Delete(t testing.TB, topic string) {
	t.Helper()
	within(t, "delete topic", func(ctx context.Context) error {
		_, err := k.adm.DeleteTopic(ctx, topic)
		return err
	})
	until(t, "miss topic", func(ctx context.Context) bool {
		_, err := k.metadata(ctx, topic)
		return errors.Is(err, kerr.UnknownTopicOrPartition)
	})
	k.cl.PurgeTopicsFromClient(topic)
}

func (k *kafka) Truncate(t testing.TB, topic string, partition int32, before int64) {
	t.Helper()
	within(t, "truncate topic", func(ctx context.Context) error {
		o := kadm.Offsets{}
		o.AddOffset(topic, partition, before, -1)
		resp, err := k.adm.DeleteRecords(ctx, o)
		if err != nil {
			return err
		}
		return resp.Error()
	})
}

func records(topic string, rs []routertest.Record) []*kgo.Record {
	var out []*kgo.Record
	for _, r := range rs {
		one := &kgo.Record{Topic: topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
		if r.Time > 0 { // else it is now
			one.Timestamp = time.UnixMilli(r.Time)
		}
		for _, h := range r.Headers {
			one.Headers = append(one.Headers, kgo.RecordHeader(h))
		}
		out = append(out, one)
	}
	return out
}

func (k *kafka) Write(t testing.TB, topic string, rs ...routertest.Record) {
	t.Helper()
	// A client of its own, because a partition that the client does not know yet is an error to it.
	fresh := newKafka(t, k.address)
	within(t, "write", func(ctx context.Context) error {
		return fresh.cl.ProduceSync(ctx, records(topic, rs)...).FirstErr()
	})
}

func (k *kafka) Transact(t testing.TB, topic string, commit bool, rs ...routertest.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("world-"+topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	within(t, "transaction", func(ctx context.Context) error {
		if err := cl.BeginTransaction(); err != nil {
			return err
		}
		if err := cl.ProduceSync(ctx, records(topic, rs)...).FirstErr(); err != nil {
			return err
		}
		return cl.EndTransaction(ctx, kgo.TransactionEndTry(commit))
	})
}

func (k *kafka) Read(t testing.TB, topic string) []routertest.Record {
	t.Helper()
	var ends, starts kadm.ListedOffsets
	// A commit that was answered becomes visible when the broker has told the partitions.
	until(t, "see the ends of transactions", func(ctx context.Context) bool {
		high, err := k.adm.ListEndOffsets(ctx, topic)
		if err == nil {
			starts, err = k.adm.ListStartOffsets(ctx, topic)
		}
		if err == nil {
			ends, err = k.adm.ListCommittedOffsets(ctx, topic)
		}
		if err = errors.Join(err, ends.Error(), high.Error()); err != nil {
			t.Fatal(err)
		}
		open := false
		high.Each(func(o kadm.ListedOffset) {
			stable, _ := ends.Lookup(topic, o.Partition)
			open = open || stable.Offset < o.Offset
		})
		return !open
	})
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		first, _ := starts.Lookup(topic, o.Partition)
		if from[o.Partition] = kgo.NewOffset().AtStart(); o.Offset > first.Offset {
			left[o.Partition] = o.Offset
		}
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.address), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var got []routertest.Record
	within(t, "read", func(ctx context.Context) error {
		for len(left) > 0 {
			fetches := cl.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return err
			}
			fetches.EachRecord(func(r *kgo.Record) {
				end, open := left[r.Partition]
				if !open {
					return
				}
				if r.Offset+1 >= end {
					delete(left, r.Partition)
				}
				if r.Attrs.IsControl() {
					return
				}
				one := routertest.Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Time: r.Timestamp.UnixMilli()}
				for _, h := range r.Headers {
					one.Headers = append(one.Headers, router.Header(h))
				}
				got = append(got, one)
			})
		}
		return nil
	})
	slices.SortStableFunc(got, func(a, b routertest.Record) int { return int(a.Partition - b.Partition) })
	return got
}
