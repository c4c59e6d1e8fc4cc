//go:build e2e

package kafkaio_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/weir-run/weir/router/kafkaio"
)

// openSends is how many Sends may wait for their acknowledgement, as a task's limit on what is in flight does.
const openSends = 500

// TestSendsSurviveBrokerKills sends without a break while the broker is killed and comes back with its data, and once
// hangs: nothing is lost, and no key's records change their order.
func TestSendsSurviveBrokerKills(t *testing.T) {
	for _, g := range generations {
		t.Run(g.version, func(t *testing.T) {
			t.Parallel() // each waits for its own broker most of the time
			b := broker(t, g.version, g.port)
			k := newKafka(t, b.Address())
			k.Create(t, "sent", 4)
			ctx, cancel := context.WithTimeout(t.Context(), killPatience)
			defer cancel()
			e := sending(t, k, kafkaio.EgressTopic{Name: "sent", Compression: "lz4"})
			stop, sent := make(chan struct{}), make(chan int, 1)
			var told atomic.Int64
			go func() { sent <- sendUntil(ctx, t, e, stop, &told) }()
			for n := range brokerKills {
				enough := told.Load() + 2*openSends
				until(t, "get on after the last kill", func(context.Context) bool { return told.Load() >= enough || t.Failed() })
				if err := strike(ctx, b, n); err != nil {
					t.Fatal(err)
				}
			}
			close(stop)
			want := <-sent
			t.Logf("%d records, %d of them came twice", want, arrived(t, k.Read(t, "sent"), want))
		})
	}
}

// sendUntil sends ten records at a time until stop is closed, waits until all are acknowledged, and returns their number.
// told counts the Sends that are over.
func sendUntil(ctx context.Context, t *testing.T, e *kafkaio.Egress, stop chan struct{}, told *atomic.Int64) int {
	done := make(chan error, openSends)
	open, n := 0, 0
	for ending := false; !ending || open > 0; {
		if !ending && open < openSends {
			e.Send(numbered("sent", n, n+10), func(err error) { done <- err })
			n, open = n+10, open+1
			select {
			case <-stop:
				ending = true
			default:
			}
			continue
		}
		select {
		case err := <-done:
			told.Add(1)
			if open--; err != nil {
				t.Error(err)
			}
		case <-stop:
			ending, stop = true, nil
		case <-ctx.Done():
			t.Error(ctx.Err())
			return n
		}
	}
	return n
}
