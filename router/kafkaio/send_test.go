package kafkaio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

// sentKeys is the number of keys of numbered records; each key's numbers rise.
const sentKeys = 9

// sending opens an egress and runs it until the test ends.
func sending(t testing.TB, k *kafka, topics ...kafkaio.EgressTopic) *kafkaio.Egress {
	t.Helper()
	e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: topics, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			t.Errorf("egress did not end in order: %v", err)
		}
	})
	return e
}

// numbered are the encoded records with the numbers from to to-1.
func numbered(topic string, from, to int) []byte {
	var b []byte
	for n := from; n < to; n++ {
		b = router.AppendEgress(b, &router.EgressRecord{Topic: []byte(topic), Key: fmt.Append(nil, "key", n%sentKeys), Value: fmt.Append(nil, n), Time: time.Now().UnixMilli()})
	}
	return b
}

// acknowledged waits for a number of Sends.
func acknowledged(t *testing.T, done chan error, sends int) {
	t.Helper()
	within(t, "wait for acknowledgements", func(ctx context.Context) error {
		for range sends {
			select {
			case err := <-done:
				if err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
}

// arrived wants all numbers below want, each key's in order by their first and by their last copies, and returns how many
// copies there are too many.
func arrived(t *testing.T, got []routertest.Record, want int) int {
	t.Helper()
	copies := make([]int, want)
	first, last := map[string]int{}, map[string]int{}
	for pass := range 2 {
		left := append([]int(nil), copies...)
		for _, r := range got {
			n, err := strconv.Atoi(string(r.Value))
			if err != nil || n >= want {
				t.Fatalf("value %q: %v", r.Value, err)
			}
			key := string(r.Key)
			if pass == 0 {
				if copies[n]++; copies[n] == 1 {
					if n < first[key] {
						t.Fatalf("key %s: %d stands behind %d", key, n, first[key])
					}
					first[key] = n
				}
			} else if left[n]--; left[n] == 0 {
				if n < last[key] {
					t.Fatalf("key %s: the last copy of %d stands behind that of %d", key, n, last[key])
				}
				last[key] = n
			}
		}
	}
	extra := 0
	for n, c := range copies {
		if c == 0 {
			t.Errorf("record %d is lost", n)
		}
		extra += c - 1
	}
	return extra
}

// sendFaults are the faults that Sends survive without anybody noticing.
func sendFaults() []fault {
	var all []fault
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.InitProducerID, kmsg.Metadata} {
		all = append(all, fault{name: "RequestLost" + key.Name(), before: key + 1}, fault{name: "AnswerLost" + key.Name(), after: key + 1})
	}
	for _, err := range []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend,
		kerr.KafkaStorageError, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.UnknownServerError, kerr.OutOfOrderSequenceNumber,
		kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.CorruptMessage,
	} {
		all = append(all, fault{name: "Produce" + err.Message, keys: []kmsg.Key{kmsg.Produce}, err: err, count: 3})
	}
	for _, err := range []*kerr.Error{kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable} {
		all = append(all, fault{name: "InitProducerID" + err.Message, keys: []kmsg.Key{kmsg.InitProducerID}, err: err, count: 3})
	}
	return all
}

func TestSendsArriveOnceInOrderWhateverHealsInBetween(t *testing.T) {
	for version, opts := range map[string][]kfake.Opt{"Older": {older()}, "Latest": nil} {
		t.Run(version, func(t *testing.T) {
			cut := &cutter{}
			c, k := fake(t, append(opts, kfake.ListenFn(cut.listen))...)
			for _, f := range sendFaults() {
				t.Run(f.name, func(t *testing.T) { sendThrough(t, c, cut, k, f) })
			}
		})
	}
}

// sendThrough has the fault at the very beginning, or in the midst of Sends if it is one of producing.
func sendThrough(t *testing.T, c *kfake.Cluster, cut *cutter, k *kafka, f fault) {
	topic := strings.ReplaceAll(t.Name(), "/", ".")
	k.Create(t, topic, 3)
	e := sending(t, k, kafkaio.EgressTopic{Name: topic, Compression: "lz4"})
	const sends, each, middle = 60, 10, 20
	produces := int32(kmsg.Produce) + 1
	at := 0
	if int32(f.before) == produces || int32(f.after) == produces || f.keys != nil && f.keys[0] == kmsg.Produce {
		at = middle
	}
	done := make(chan error, sends)
	var h *kfake.FaultHandle
	for n := range sends {
		if n == middle {
			acknowledged(t, done, middle)
		}
		if n == at {
			cut.before.Store(int32(f.before))
			cut.after.Store(int32(f.after))
			if f.err != nil {
				h = c.Fault(kfake.Fault{Keys: f.keys, Err: f.err, Count: f.count})
				defer h.Remove()
			}
		}
		e.Send(numbered(topic, n*each, n*each+each), func(err error) { done <- err })
	}
	acknowledged(t, done, sends-middle)
	armed := max(cut.before.Swap(0), cut.after.Swap(0))
	if h != nil && h.Hits() == 0 || armed > 0 && armed != int32(kmsg.Metadata)+1 {
		t.Error("nothing went wrong")
	}
	if extra := arrived(t, k.Read(t, topic), sends*each); extra > 0 {
		t.Errorf("%d records came twice", extra)
	}
}

func TestSendsFollowLeadersThatMove(t *testing.T) {
	c, k := fake(t, kfake.NumBrokers(3))
	k.Create(t, "moving", 6)
	e := sending(t, k, kafkaio.EgressTopic{Name: "moving"})
	const sends, each = 200, 10
	done := make(chan error, sends)
	for n := range sends {
		if n%10 == 9 {
			for p := range int32(6) {
				if err := c.MoveTopicPartition("moving", p, int32(n/10+int(p))%3); err != nil {
					t.Fatal(err)
				}
			}
		}
		e.Send(numbered("moving", n*each, n*each+each), func(err error) { done <- err })
		if n%3 == 0 {
			acknowledged(t, done, 1)
		}
	}
	acknowledged(t, done, sends-(sends+2)/3)
	if extra := arrived(t, k.Read(t, "moving"), sends*each); extra > 0 {
		t.Errorf("%d records came twice", extra)
	}
}

func TestSendsWaitForATopicThatIsNotThereYet(t *testing.T) {
	_, k := fake(t)
	k.Create(t, "there", 1)
	e := sending(t, k, kafkaio.EgressTopic{Name: "there"}, kafkaio.EgressTopic{Name: "late"})
	done := make(chan error, 3)
	both := append(numbered("late", 0, 5), numbered("there", 0, 5)...)
	e.Send(both, func(err error) { done <- err })
	e.Send(numbered("late", 5, 10), func(err error) { done <- err })
	e.Send(numbered("there", 5, 10), func(err error) { done <- err })
	acknowledged(t, done, 1) // what goes elsewhere does not wait
	k.Create(t, "late", 2)
	acknowledged(t, done, 2)
	arrived(t, k.Read(t, "late"), 10)
	arrived(t, k.Read(t, "there"), 10)
}

func TestBatchesAreSplitWhenATopicTakesLess(t *testing.T) {
	_, k := fake(t)
	k.Create(t, "less", 1)
	e := sending(t, k, kafkaio.EgressTopic{Name: "less"})
	done := make(chan error, 3)
	e.Send(numbered("less", 0, 10), func(err error) { done <- err })
	acknowledged(t, done, 1)
	within(t, "lower the limit", func(ctx context.Context) error {
		limit := "4000"
		resp, err := k.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}, "less")
		if err != nil {
			return err
		}
		return resp[0].Err
	})
	e.Send(numbered("less", 10, 2000), func(err error) { done <- err })
	e.Send(numbered("less", 2000, 2010), func(err error) { done <- err })
	acknowledged(t, done, 2)
	if extra := arrived(t, k.Read(t, "less"), 2010); extra > 0 {
		t.Errorf("%d records came twice", extra)
	}
	e.Send(router.AppendEgress(nil, &router.EgressRecord{Topic: []byte("less"), Value: bytes.Repeat([]byte("x"), 5000)}), func(err error) { done <- err })
	if err := <-done; !errors.Is(err, router.ErrRefused) || !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("send of a record that is too large: %v, want %v", err, router.ErrRefused)
	}
	e.Send(numbered("less", 2010, 2020), func(err error) { done <- err })
	acknowledged(t, done, 1) // a refusal is that record's affair
}

func TestSendNamesTheRecordThatIsRefused(t *testing.T) {
	c, k := fake(t)
	k.Create(t, "good", 1)
	k.Create(t, "bad", 1)
	e := sending(t, k, kafkaio.EgressTopic{Name: "good"}, kafkaio.EgressTopic{Name: "bad"})
	for _, refusal := range []*kerr.Error{kerr.TopicAuthorizationFailed, kerr.InvalidRecord, kerr.PolicyViolation} {
		h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "bad", Err: refusal, Count: -1})
		done := make(chan error, 2)
		e.Send(append(numbered("good", 0, 3), numbered("bad", 0, 2)...), func(err error) { done <- err })
		if err := <-done; !errors.Is(err, router.ErrRefused) || !errors.Is(err, refusal) || !strings.Contains(err.Error(), "send record 3 to bad") {
			t.Errorf("send: %v, want %v that names record 3 to bad", err, router.ErrRefused)
		}
		h.Remove()
	}
}

func TestCloseEndsEverySendOnce(t *testing.T) {
	c, k := fake(t)
	k.Create(t, "closed", 1)
	c.Close()
	e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: []kafkaio.EgressTopic{{Name: "closed"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	const sends = 50
	done := make(chan error, 2*sends+1)
	for n := range sends {
		e.Send(numbered("closed", n, n+1), func(err error) { done <- err })
	}
	cancel()
	if err := errors.Join(<-ended, e.Close()); err != nil {
		t.Fatal(err)
	}
	e.Send(numbered("closed", sends, sends+1), func(err error) { done <- err })
	close(done)
	told := 0
	for err := range done {
		told++
		if !errors.Is(err, kgo.ErrClientClosed) {
			t.Errorf("send: %v, want %v", err, kgo.ErrClientClosed)
		}
	}
	if told != sends+1 {
		t.Errorf("%d sends were told their end, want %d", told, sends+1)
	}
}

func TestSendsWaitForABrokerThatIsDown(t *testing.T) {
	dir := t.TempDir()
	b, err := kafkaio.StartEmbedded(t.Context(), kafkaio.EmbeddedConfig{Dir: dir, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	address := b.Address()
	k := newKafka(t, address)
	k.Create(t, "down", 2)
	e := sending(t, k, kafkaio.EgressTopic{Name: "down"})
	const rounds, sends = 4, 20
	done := make(chan error, sends)
	for round := range rounds {
		for n := range sends {
			at := (round*sends + n) * 10
			e.Send(numbered("down", at, at+10), func(err error) { done <- err })
			if n == sends/2 && round < rounds-1 {
				b.Close()
			}
		}
		if round < rounds-1 {
			if b, err = kafkaio.StartEmbedded(t.Context(), kafkaio.EmbeddedConfig{Dir: dir, Address: address}); err != nil {
				t.Fatal(err)
			}
		}
		acknowledged(t, done, sends)
	}
	defer b.Close()
	arrived(t, k.Read(t, "down"), rounds*sends*10)
}
