package kafkaio_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

// open is an ingress of one topic.
func open(t testing.TB, k *kafka, topic string, positions ...router.Position) *kafkaio.Ingress {
	t.Helper()
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
		Tasks: 1, Positions: positions, Started: len(positions) > 0, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Ingress: functions.Ingress{ID: "in", Cluster: k.cluster(), Topics: []functions.IngressTopic{{Topic: topic}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// sequence checks that the values of each partition come as they were written: n*partitions + partition.
type sequence struct {
	partitions int
	next       map[int32]int
}

func (s *sequence) take(t *testing.T, f *router.Fetch) int {
	t.Helper()
	for _, r := range f.Records {
		p := f.Partition.ID
		if want := fmt.Sprint(s.next[p]*s.partitions + int(p)); string(r.Value) != want {
			t.Fatalf("partition %d gave %s, want %s", p, r.Value, want)
		}
		s.next[p]++
	}
	return len(f.Records)
}

// collect reads n records.
func (s *sequence) collect(t *testing.T, in *kafkaio.Ingress, done chan error, n int) {
	t.Helper()
	for n > 0 {
		if f := in.Poll(100); f != nil {
			n -= s.take(t, f)
			continue
		}
		select {
		case <-in.Ready():
		case err := <-done:
			t.Fatalf("ingress ended with %d records to come: %v", n, err)
		}
	}
}

// values are records from to to-1, spread over partitions.
func values(from, to, partitions int) []routertest.Record {
	var r []routertest.Record
	for n := from; n < to; n++ {
		r = append(r, routertest.Record{Partition: int32(n % partitions), Value: fmt.Append(nil, n)})
	}
	return r
}

// readingFaults are those that an ingress survives without anybody noticing.
func readingFaults() []fault {
	var all []fault
	for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.Metadata, kmsg.OffsetForLeaderEpoch} {
		all = append(all, fault{name: "RequestLost" + key.Name(), before: key + 1}, fault{name: "AnswerLost" + key.Name(), after: key + 1})
	}
	add := func(key kmsg.Key, errs ...*kerr.Error) {
		for _, err := range errs {
			all = append(all, fault{name: key.Name() + err.Message, keys: []kmsg.Key{key}, err: err, count: 3})
		}
	}
	add(kmsg.Fetch, kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.ReplicaNotAvailable, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch,
		kerr.OffsetNotAvailable, kerr.KafkaStorageError, kerr.UnknownTopicID, kerr.InconsistentTopicID, kerr.UnknownTopicOrPartition, kerr.CorruptMessage)
	add(kmsg.OffsetForLeaderEpoch, kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch)
	add(kmsg.Metadata, kerr.LeaderNotAvailable)
	return all
}

func TestReadingSurvivesWhatHeals(t *testing.T) {
	cut := &cutter{}
	c, k := fake(t, kfake.ListenFn(cut.listen))
	for _, f := range readingFaults() {
		t.Run(f.name, func(t *testing.T) {
			const partitions = 3
			topic := strings.ReplaceAll(t.Name(), "/", ".")
			k.Create(t, topic, partitions)
			k.Write(t, topic, values(0, 300, partitions)...)
			s := &sequence{partitions, map[int32]int{}}
			first := open(t, k, topic)
			cancel, done := run(t, first)
			s.collect(t, first, done, 300)
			positions, _ := first.Positions()
			cancel()
			for n := range positions { // as a checkpoint would have them, with the epoch that is to be proved
				positions[n].Offset, positions[n].LeaderEpoch = 100, 0
			}
			var h *kfake.FaultHandle
			if f.err != nil {
				h = c.Fault(kfake.Fault{Keys: f.keys, Err: f.err, Count: f.count})
				defer h.Remove()
			}
			cut.before.Store(int32(f.before))
			cut.after.Store(int32(f.after))
			in := open(t, k, topic, positions...)
			_, done = run(t, in)
			k.Write(t, topic, values(300, 600, partitions)...)
			s.collect(t, in, done, 300)
			if h != nil && h.Hits() == 0 || cut.before.Load() != 0 || cut.after.Load() != 0 {
				t.Error("nothing went wrong")
			}
		})
	}
}

func TestReadingFollowsLeadersThatMove(t *testing.T) {
	for version, opts := range map[string][]kfake.Opt{"BrokersTellTheLeader": nil, "MetadataTellsTheLeader": {kfake.MaxVersions(kversion.V2_6_0())}} {
		t.Run(version, func(t *testing.T) {
			c, k := fake(t, append(opts, kfake.NumBrokers(3))...)
			const partitions, step = 6, 60
			k.Create(t, "moving", partitions)
			in := open(t, k, "moving")
			_, done := run(t, in)
			s := &sequence{partitions, map[int32]int{}}
			for n := range 10 {
				k.Write(t, "moving", values(n*step, n*step+step/2, partitions)...)
				for p := range int32(partitions) {
					if err := c.MoveTopicPartition("moving", p, int32(n+int(p))%3); err != nil {
						t.Fatal(err)
					}
				}
				k.Write(t, "moving", values(n*step+step/2, (n+1)*step, partitions)...)
				s.collect(t, in, done, step)
			}
		})
	}
}

func TestReadingEndsWithWhatDoesNotHeal(t *testing.T) {
	c, k := fake(t)
	for name, f := range map[string]struct {
		key  kmsg.Key
		said *kerr.Error
		want error
	}{
		"NotAllowed":         {kmsg.Fetch, kerr.TopicAuthorizationFailed, router.ErrAuth},
		"NotAllowedToProve":  {kmsg.OffsetForLeaderEpoch, kerr.TopicAuthorizationFailed, router.ErrAuth},
		"OutOfRange":         {kmsg.Fetch, kerr.OffsetOutOfRange, router.ErrTruncated},
		"UnknownCompression": {kmsg.Fetch, kerr.UnsupportedCompressionType, kerr.UnsupportedCompressionType},
	} {
		t.Run(name, func(t *testing.T) {
			k.Create(t, name, 1)
			k.Write(t, name, values(0, 10, 1)...)
			h := c.Fault(kfake.Fault{Keys: []kmsg.Key{f.key}, Topic: name, Err: f.said, Count: -1})
			defer h.Remove()
			_, done := run(t, open(t, k, name, position(t, k, name, 5)))
			if err := <-done; !errors.Is(err, f.want) || !strings.Contains(err.Error(), name) {
				t.Errorf("ended with %v, want %v that names %s", err, f.want, name)
			}
		})
	}
}

// position is one at which an ingress may resume: of partition 0, with the epoch of the leader at the time.
func position(t *testing.T, k *kafka, topic string, offset int64) router.Position {
	t.Helper()
	var id [16]byte
	within(t, "describe", func(ctx context.Context) error {
		topics, err := k.adm.ListTopics(ctx, topic)
		id = topics[topic].ID
		return err
	})
	return router.Position{Partition: router.Partition{Ingress: "in", Topic: topic}, TopicID: id, Offset: offset}
}

func TestLogThatIsOtherThanWhatWasReadIsNamed(t *testing.T) {
	c, k := fake(t)
	k.Create(t, "in", 1)
	k.Write(t, "in", values(0, 10, 1)...)
	c.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		p.LeaderEpoch, p.EndOffset = 0, 6 // the leader was elected without the records from 6 on
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic, topic.Partitions = "in", append(topic.Partitions, p)
		resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	_, done := run(t, open(t, k, "in", position(t, k, "in", 8)))
	err := <-done
	for _, part := range []string{"topic in partition 0", "offset 8", "0 to 10", "from offset 6 on"} {
		if !errors.Is(err, router.ErrTruncated) || !strings.Contains(err.Error(), part) {
			t.Errorf("ended with %v, want %v with %q", err, router.ErrTruncated, part)
		}
	}
}

func TestBrokersWithoutTopicIDsAreRead(t *testing.T) {
	_, k := fake(t, kfake.MaxVersions(kversion.V2_7_0()))
	k.Create(t, "in", 3)
	k.Write(t, "in", values(0, 90, 3)...)
	in := open(t, k, "in")
	_, done := run(t, in)
	(&sequence{3, map[int32]int{}}).collect(t, in, done, 90)
}

func TestPositionsWithoutTopicIDAreReadByName(t *testing.T) {
	_, k := fake(t)
	k.Create(t, "in", 1)
	k.Write(t, "in", values(0, 9, 1)...)
	at := position(t, k, "in", 4)
	at.TopicID = [16]byte{} // of a checkpoint that was made with an older broker
	in := open(t, k, "in", at)
	_, done := run(t, in)
	(&sequence{1, map[int32]int{0: 4}}).collect(t, in, done, 5)
}
