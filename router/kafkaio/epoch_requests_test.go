package kafkaio_test

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// tally counts the requests that reach a cluster.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func tallied(c *kfake.Cluster) *tally {
	t := &tally{}
	c.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.counts != nil {
			t.counts[kmsg.Key(req.Key()).Name()]++
		}
		return nil, nil, false
	})
	return t
}

// during are the requests made while f runs.
func (t *tally) during(f func() error) (map[string]int, error) {
	t.mu.Lock()
	t.counts = map[string]int{}
	t.mu.Unlock()
	err := f()
	t.mu.Lock()
	defer t.mu.Unlock()
	got := t.counts
	t.counts = nil
	return got, err
}

// TestAnEpochCostsTheFewestRequestsThatTheProtocolAllows counts, with the records and the marker of an epoch spread over
// the leaders: one Produce for each leader, one EndTxn, and in the older generation one AddPartitionsToTxn.
func TestAnEpochCostsTheFewestRequestsThatTheProtocolAllows(t *testing.T) {
	const epochs, leaders = 10, 2
	for version, one := range map[string]struct {
		opts []kfake.Opt
		want map[string]int
	}{
		"TransactionVersion1": {[]kfake.Opt{older()}, map[string]int{"AddPartitionsToTxn": epochs, "Produce": epochs * leaders, "EndTxn": epochs}},
		"TransactionVersion2": {nil, map[string]int{"Produce": epochs * leaders, "EndTxn": epochs}},
	} {
		t.Run(version, func(t *testing.T) {
			c, k := fake(t, append(one.opts, kfake.NumBrokers(leaders))...)
			k.Create(t, "epochs", 8)
			for p := range int32(8) {
				if err := c.MoveTopicPartition("epochs", p, p%leaders); err != nil {
					t.Fatal(err)
				}
			}
			e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: []kafkaio.EgressTopic{{Name: "epochs"}}})
			if err != nil {
				t.Fatal(err)
			}
			l, err := e.Lane("lane")
			if err != nil {
				t.Fatal(err)
			}
			number := uint64(0)
			publish := func(ctx context.Context) error {
				var box []byte
				for n := range 100 {
					box = router.AppendEgress(box, &router.EgressRecord{Topic: []byte("epochs"), Key: []byte{byte(n)}, Value: []byte("v")})
				}
				number++
				return l.Publish(ctx, number, [][]byte{box})
			}
			requests := tallied(c)
			within(t, "publish", func(ctx context.Context) error {
				if err := errors.Join(l.Recover(ctx, false, 0, nil, nil), publish(ctx)); err != nil {
					return err
				}
				got, err := requests.during(func() error {
					for range epochs {
						if err := publish(ctx); err != nil {
							return err
						}
					}
					return nil
				})
				// A machine that stalls makes a lane wary, and a wary lane asks first: that is another test's.
				delete(got, "DescribeTransactions")
				if !maps.Equal(got, one.want) {
					t.Errorf("%d epochs took requests %v, want %v", epochs, got, one.want)
				}
				return err
			})
			if err := errors.Join(l.Close(), e.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}
