package kafkaio

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/functions"
)

// TestAWaryLaneWatchesItsCommits has a broker that is slow to tell its partitions of a commit.
func TestAWaryLaneWatchesItsCommits(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	states := []string{"PrepareCommit", "PrepareCommit", "CompleteCommit"}
	asked := make(chan string, 100)
	c.ControlKey(int16(kmsg.DescribeTransactions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		state := kmsg.NewDescribeTransactionsResponseTransactionState()
		state.TransactionalID, state.State = "lane", states[min(len(asked), len(states)-1)]
		resp.TransactionStates = append(resp.TransactionStates, state)
		asked <- state.State
		return resp, nil, true
	})
	e, err := OpenEgress(EgressConfig{Cluster: functions.Cluster{Address: c.ListenAddrs()[0]}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	l, err := e.Lane("lane")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Recover(t.Context(), false, 0, nil, nil); err != nil {
		t.Fatal(err)
	}
	lane := l.(*Lane)
	lane.wary = 1
	for number := range uint64(3) { // its third is the same hand's as the first
		if err := l.Publish(t.Context(), number+1, nil); err != nil {
			t.Fatal(err)
		}
	}
	lane.allTold()
	if len(asked) != len(states)+1 || lane.wary < waryEpochs-2 {
		t.Errorf("asked %d times, want %d; wary for %d more epochs", len(asked), len(states)+1, lane.wary)
	}
}
