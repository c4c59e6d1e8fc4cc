//go:build e2e

package kafkaio_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/kafkabroker"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

const (
	brokerKills = 4
	// killPatience covers that many restarts of a JVM on a loaded machine.
	killPatience = 5 * time.Minute
)

// TestOutboxesAreReadOnceThroughBrokerKills publishes without a break and reads the output, while the broker is killed
// and comes back with its data, and once hangs. Neither lane nor ingress is restarted.
func TestOutboxesAreReadOnceThroughBrokerKills(t *testing.T) {
	for _, g := range generations {
		t.Run(g.version, func(t *testing.T) {
			t.Parallel() // each waits for its own broker most of the time
			b := broker(t, g.version, g.port)
			k := newKafka(t, b.Address())
			k.Create(t, "through", 3)
			ctx, cancel := context.WithTimeout(t.Context(), killPatience)
			defer cancel()
			e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: []kafkaio.EgressTopic{{Name: "through", Compression: "lz4"}}})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			l, err := e.Lane("through/0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := l.Recover(ctx, false, 0, nil, nil); err != nil {
				t.Fatal(err)
			}
			in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
				Tasks: 1, Ingress: functions.Ingress{ID: "in", Group: "through", Cluster: k.cluster(), Topics: []functions.IngressTopic{{Topic: "through"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			reading, stopReading := context.WithCancel(ctx)
			ended := make(chan error, 1)
			go func() { ended <- in.Run(reading) }()
			stop, last := make(chan struct{}), make(chan uint64, 1)
			go func() { last <- publishUntil(ctx, t, l, stop) }()
			for n := range brokerKills {
				time.Sleep(time.Second) // load before the next kill, not a wait for something
				if err := strike(ctx, b, n); err != nil {
					t.Fatal(err)
				}
			}
			close(stop)
			want := int(<-last) * 10
			readOnce(t, in, ended, want)
			if got := len(k.Read(t, "through")); got != want {
				t.Errorf("%d records are in the topic, want %d", got, want)
			}
			t.Logf("%d outboxes", want/10)
			stopReading()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// readOnce wants the values 0 to want-1 once each.
func readOnce(t *testing.T, in *kafkaio.Ingress, ended chan error, want int) {
	t.Helper()
	seen := make([]int, want)
	for got := 0; got < want; {
		f := in.Poll(1000)
		if f == nil {
			select {
			case <-in.Ready():
			case err := <-ended:
				t.Fatalf("ingress ended: %v", err)
			}
			continue
		}
		for _, r := range f.Records {
			n, err := strconv.Atoi(string(r.Value))
			if err != nil || n >= want {
				t.Fatalf("value %q: %v", r.Value, err)
			}
			if seen[n]++; seen[n] > 1 {
				t.Errorf("record %d came %d times", n, seen[n])
			}
			got++
		}
		in.Committed([]router.Position{f.Next})
	}
}

// publishUntil publishes outboxes until stop is closed, and returns the last one's number.
func publishUntil(ctx context.Context, t *testing.T, l router.Lane, stop chan struct{}) uint64 {
	n := uint64(0)
	for {
		select {
		case <-stop:
			return n
		default:
		}
		if err := l.Publish(ctx, n+1, faultBox("through", n)); err != nil {
			t.Error(fmt.Errorf("publish %d: %w", n+1, err))
			return n
		}
		n++
	}
}

// hang is as long as a broker that hangs must do so, for requests to be given up.
func hang(ctx context.Context) error {
	select {
	case <-time.After(3 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// strike kills the broker and starts it again; the last time it hangs instead.
func strike(ctx context.Context, b *kafkabroker.Broker, n int) error {
	if n == brokerKills-1 {
		return errors.Join(b.Pause(), hang(ctx), b.Resume())
	}
	return errors.Join(b.Kill(), b.Restart(ctx))
}
