package kafkaio_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// strict makes a cluster fence a producer that is initialised again while it has a transaction open, as Apache Kafka 3.9
// does: it aborts under an epoch that it tells nobody.
func strict(c *kfake.Cluster) {
	var open atomic.Bool
	c.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		switch req := req.(type) {
		case *kmsg.AddPartitionsToTxnRequest:
			open.Store(true)
		case *kmsg.EndTxnRequest:
			open.Store(false)
		case *kmsg.InitProducerIDRequest:
			if req.ProducerID >= 0 && open.Load() {
				resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
				resp.ErrorCode = kerr.ProducerFenced.Code
				return resp, nil, true
			}
		}
		return nil, nil, false
	})
}

// laneTo opens an egress to a topic and a lane of it, which is not recovered.
func laneTo(t *testing.T, k *kafka, topic string) (*kafkaio.Egress, router.Lane) {
	t.Helper()
	e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: []kafkaio.EgressTopic{{Name: topic}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Lane("lane")
	if err != nil {
		t.Fatal(err)
	}
	return e, l
}

// TestALaneGivesUpATransactionWithoutBeingFenced gives up what was prepared, by itself and for another outbox, and an outbox
// whose batch the broker refuses at first.
func TestALaneGivesUpATransactionWithoutBeingFenced(t *testing.T) {
	c, k := fake(t, older())
	strict(c)
	k.Create(t, "out", 1)
	e, l := laneTo(t, k, "out")
	box := func(values ...string) [][]byte {
		var b []byte
		for _, v := range values {
			b = router.AppendEgress(b, &router.EgressRecord{Topic: []byte("out"), Value: []byte(v)})
		}
		return [][]byte{b}
	}
	within(t, "publish", func(ctx context.Context) error {
		err := l.Recover(ctx, false, 0, nil, nil)
		l.Prepare(ctx, 1, box("never"))
		l.Discard(ctx)
		err = errors.Join(err, l.Publish(ctx, 1, box("a", "b")))
		l.Prepare(ctx, 2, box("never"))
		l.Prepare(ctx, 3, box("c"))
		err = errors.Join(err, l.Publish(ctx, 3, box("c")))
		c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
			resp := req.ResponseKind().(*kmsg.ProduceResponse)
			for _, rt := range req.(*kmsg.ProduceRequest).Topics {
				st := kmsg.NewProduceResponseTopic()
				st.Topic, st.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					sp := kmsg.NewProduceResponseTopicPartition()
					sp.Partition, sp.ErrorCode = rp.Partition, kerr.TransactionAbortable.Code
					st.Partitions = append(st.Partitions, sp)
				}
				resp.Topics = append(resp.Topics, st)
			}
			return resp, nil, true
		})
		return errors.Join(err, l.Publish(ctx, 4, box("d", "e")))
	})
	got := ""
	for _, r := range k.Read(t, "out") {
		got += fmt.Sprintf("%s ", r.Value)
	}
	if want := "a b c d e "; got != want {
		t.Errorf("read %q, want %q", got, want)
	}
	if err := errors.Join(l.Close(), e.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestACancelledPrepareIsGivenUp cancels a lane between its records and their acknowledgement; what it gives up then holds
// back neither readers nor lanes that look for their markers.
func TestACancelledPrepareIsGivenUp(t *testing.T) {
	for version, opts := range map[string][]kfake.Opt{"TransactionVersion1": {older()}, "TransactionVersion2": nil} {
		t.Run(version, func(t *testing.T) {
			c, k := fake(t, opts...)
			k.Create(t, "out", 1)
			e, l := laneTo(t, k, "out")
			within(t, "prepare", func(ctx context.Context) error {
				if err := l.Recover(ctx, false, 0, nil, nil); err != nil {
					return err
				}
				attempt, cancel := context.WithCancel(ctx)
				defer cancel()
				c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
					cancel()
					return nil, nil, false
				})
				l.Prepare(attempt, 1, faultBox("out", 0))
				l.Discard(ctx)
				return nil
			})
			within(t, "ask for offsets", func(ctx context.Context) error {
				ends, err := k.adm.ListEndOffsets(ctx, "out", "weir-markers")
				if err != nil {
					return err
				}
				stable, err := k.adm.ListCommittedOffsets(ctx, "out", "weir-markers")
				ends.Each(func(end kadm.ListedOffset) {
					if o, _ := stable.Lookup(end.Topic, end.Partition); o.Offset != end.Offset {
						t.Errorf("%s[%d] ends at %d, readers at %d", end.Topic, end.Partition, end.Offset, o.Offset)
					}
				})
				return err
			})
			if err := errors.Join(l.Close(), e.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}
