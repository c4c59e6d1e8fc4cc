package kafkaio_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// cutter is a listener that can cut a connection at the next request of one kind: before the broker has seen it, or after
// it has been handled, so that only the answer is lost.
type cutter struct {
	net.Listener
	before, after atomic.Int32 // api key + 1; 0 is disarmed
}

func (c *cutter) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	c.Listener = l
	return c, err
}

func (c *cutter) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, c: c}, nil
}

// cutConn relies on the broker reading the size of a frame and then the frame, and answering one at a time.
type cutConn struct {
	net.Conn
	c    *cutter
	size [4]byte
	got  int // bytes of the size
	left int // bytes of the frame
	head []byte
	key  atomic.Int32
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for _, b := range p[:n] {
		if c.got < 4 {
			c.size[c.got] = b
			if c.got++; c.got == 4 {
				c.left, c.head = int(binary.BigEndian.Uint32(c.size[:])), nil
			}
			continue
		}
		if len(c.head) < 2 {
			if c.head = append(c.head, b); len(c.head) == 2 {
				key := int32(binary.BigEndian.Uint16(c.head)) + 1
				c.key.Store(key)
				if c.c.before.CompareAndSwap(key, 0) {
					return 0, errors.Join(net.ErrClosed, c.Close())
				}
			}
		}
		if c.left--; c.left == 0 {
			c.got = 0
		}
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	if key := c.key.Load(); key != 0 && c.c.after.CompareAndSwap(key, 0) {
		return 0, errors.Join(net.ErrClosed, c.Close())
	}
	return c.Conn.Write(p)
}

// fault is one thing that goes wrong once, while outboxes are published.
type fault struct {
	name   string
	keys   []kmsg.Key
	err    *kerr.Error
	count  int
	before kmsg.Key // cut before
	after  kmsg.Key // cut after
}

// healing are the faults that a lane survives without anybody noticing.
func healing() []fault {
	var all []fault
	for _, key := range []kmsg.Key{kmsg.EndTxn, kmsg.Produce, kmsg.AddPartitionsToTxn, kmsg.InitProducerID, kmsg.Metadata, kmsg.FindCoordinator} {
		all = append(all, fault{name: "RequestLost" + key.Name(), before: key + 1}, fault{name: "AnswerLost" + key.Name(), after: key + 1})
	}
	add := func(key kmsg.Key, errs ...*kerr.Error) {
		for _, err := range errs {
			all = append(all, fault{name: key.Name() + err.Message, keys: []kmsg.Key{key}, err: err, count: 3})
		}
	}
	add(kmsg.EndTxn, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions)
	add(kmsg.AddPartitionsToTxn, kerr.ConcurrentTransactions, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.UnknownTopicOrPartition)
	add(kmsg.InitProducerID, kerr.ConcurrentTransactions, kerr.CoordinatorLoadInProgress)
	add(kmsg.Produce, kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.RequestTimedOut, kerr.NotEnoughReplicas,
		kerr.NotEnoughReplicasAfterAppend, kerr.KafkaStorageError, kerr.UnknownTopicOrPartition, kerr.ConcurrentTransactions, kerr.UnknownTopicID)
	add(kmsg.ListOffsets, kerr.NotLeaderForPartition, kerr.OffsetNotAvailable)
	// These end the transaction: the producer is initialised again, the marker read, the outbox sent again if it must be.
	for _, err := range []*kerr.Error{kerr.InvalidTxnState, kerr.UnknownProducerID, kerr.OutOfOrderSequenceNumber, kerr.TransactionAbortable, kerr.UnknownServerError} {
		all = append(all, fault{name: "Produce" + err.Message, keys: []kmsg.Key{kmsg.Produce}, err: err, count: 1})
		all = append(all, fault{name: "EndTxn" + err.Message, keys: []kmsg.Key{kmsg.EndTxn}, err: err, count: 1})
	}
	return all
}

func TestLanePublishesOnceWhateverHealsInBetween(t *testing.T) {
	for version, opts := range map[string][]kfake.Opt{"TransactionVersion1": {older()}, "TransactionVersion2": nil} {
		t.Run(version, func(t *testing.T) {
			cut := &cutter{}
			c, k := fake(t, append(opts, kfake.ListenFn(cut.listen))...)
			for _, f := range healing() {
				t.Run(f.name, func(t *testing.T) { survive(t, c, cut, k, f, false) })
				t.Run(f.name+"Prepared", func(t *testing.T) { survive(t, c, cut, k, f, true) })
			}
		})
	}
}

// survive publishes ten outboxes, has the fault while the fifth goes out and again while a new holder recovers, and wants
// every record once.
func survive(t *testing.T, c *kfake.Cluster, cut *cutter, k *kafka, f fault, prepared bool) {
	topic := strings.ReplaceAll(t.Name(), "/", ".")
	k.Create(t, topic, 3)
	e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: []kafkaio.EgressTopic{{Name: topic}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	arm := func() *kfake.FaultHandle {
		cut.before.Store(int32(f.before))
		cut.after.Store(int32(f.after))
		if f.err == nil {
			return nil
		}
		return c.Fault(kfake.Fault{Keys: f.keys, Err: f.err, Count: f.count})
	}
	disarm := func(h *kfake.FaultHandle) {
		cut.before.Store(0)
		cut.after.Store(0)
		if h != nil {
			h.Remove()
		}
	}
	within(t, f.name, func(ctx context.Context) error {
		l, err := e.Lane(topic)
		if err != nil {
			return err
		}
		defer l.Close()
		if err := l.Recover(ctx, false, 0, nil, nil); err != nil {
			return err
		}
		for n := range uint64(10) {
			var h *kfake.FaultHandle
			if n == 4 {
				h = arm()
			}
			box := faultBox(topic, n)
			if prepared {
				l.Prepare(ctx, n+1, box)
			}
			if err := l.Publish(ctx, n+1, box); err != nil {
				return err
			}
			if n == 4 {
				if h != nil && h.Hits() == 0 && (f.keys[0] == kmsg.Produce || f.keys[0] == kmsg.EndTxn) {
					t.Error("nothing went wrong")
				}
				disarm(h)
			}
		}
		again, err := e.Lane(topic)
		if err != nil {
			return err
		}
		defer again.Close()
		h := arm()
		defer disarm(h)
		return again.Recover(ctx, true, 11, nil, []router.Pending{{Number: 10, Outbox: faultBox(topic, 9)}, {Number: 11, Outbox: faultBox(topic, 10)}})
	})
	seen := map[string]int{}
	for _, r := range k.Read(t, topic) {
		seen[string(r.Value)]++
	}
	for n := range 110 {
		if got := seen[fmt.Sprint(n)]; got != 1 {
			t.Errorf("record %d is there %d times", n, got)
		}
	}
}

// faultBox is ten records, the last of them without key.
func faultBox(topic string, n uint64) [][]byte {
	var b []byte
	for i := range uint64(10) {
		r := router.EgressRecord{Topic: []byte(topic), Value: fmt.Append(nil, n*10+i), Time: time.Now().UnixMilli()}
		if i < 9 {
			r.Key = fmt.Append(nil, "key", i)
		}
		b = router.AppendEgress(b, &r)
	}
	return [][]byte{b}
}

func TestRefusalForGoodIsNamedAndTakenBack(t *testing.T) {
	c, k := fake(t)
	for _, refusal := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.InvalidRecord, kerr.PolicyViolation, kerr.InvalidTimestamp} {
		t.Run(refusal.Message, func(t *testing.T) {
			good, bad := refusal.Message+".good", refusal.Message+".bad"
			k.Create(t, good, 1)
			k.Create(t, bad, 1)
			e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: []kafkaio.EgressTopic{{Name: good}, {Name: bad}}})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			within(t, "publish", func(ctx context.Context) error {
				l, err := e.Lane(good)
				if err != nil {
					return err
				}
				defer l.Close()
				if err := l.Recover(ctx, false, 0, nil, nil); err != nil {
					return err
				}
				h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: bad, Err: refusal, Count: -1})
				defer h.Remove()
				box := append(faultBox(good, 0), faultBox(bad, 0)...)
				if err := l.Publish(ctx, 1, box); !errors.Is(err, router.ErrRefused) || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), "record 10") {
					t.Errorf("publish: %v, want %v that names record 10 to %s", err, router.ErrRefused, bad)
				}
				if got := k.Read(t, good); len(got) > 0 {
					t.Errorf("%d records of a refused outbox are visible", len(got))
				}
				return nil
			})
		})
	}
}

func TestLanesLearnOfLeadersThatMove(t *testing.T) {
	c, k := fake(t, kfake.NumBrokers(3))
	k.Create(t, "moving", 6)
	e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: []kafkaio.EgressTopic{{Name: "moving"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	within(t, "publish", func(ctx context.Context) error {
		l, err := e.Lane("lane")
		if err != nil {
			return err
		}
		defer l.Close()
		if err := l.Recover(ctx, false, 0, nil, nil); err != nil {
			return err
		}
		for n := range uint64(20) {
			for p := range int32(6) {
				if err := c.MoveTopicPartition("moving", p, int32(n+uint64(p))%3); err != nil {
					return err
				}
			}
			if err := l.Publish(ctx, n+1, faultBox("moving", n)); err != nil {
				return err
			}
		}
		return nil
	})
	if got := k.Read(t, "moving"); len(got) != 200 {
		t.Errorf("%d records are there, want 200", len(got))
	}
}
