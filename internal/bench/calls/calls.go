// Package calls is load for a keyed counter behind HTTP, whoever answers: connections that call and wait, in a closed loop.
//
// It hides connections and keys. Its invariant: each connection has keys of its own, so that it knows every answer ahead; one
// that differs ends the load with an error. What is counted are whole calls, which were answered as they should be. It does
// not start what it calls, and reads no usage.
package calls

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxReply is more than a count takes, and enough of an error to know it by.
const maxReply = 1 << 10

// Load is a number of connections to one counter. It is used from one goroutine.
type Load struct {
	name        string
	url         func(key string) string
	keys        int64 // of each connection
	connections []*connection
}

type connection struct {
	client *http.Client
	calls  int64
}

// New makes connections that share so many keys, at least one each. Keys begin with name, which no other load of the same
// counter has. The URL of a key takes a POST of a number, adds it to the count, and answers the sum.
func New(name string, connections int, keys int64, url func(key string) string) *Load {
	l := &Load{name: name, url: url, keys: max(1, keys/int64(connections))}
	for range connections {
		l.connections = append(l.connections, &connection{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}})
	}
	return l
}

// Close ends the connections.
func (l *Load) Close() {
	for _, c := range l.connections {
		c.client.CloseIdleConnections()
	}
}

// Calls is how many calls were answered since New, those of Verify left out.
func (l *Load) Calls() int64 {
	var sum int64
	for _, c := range l.connections {
		sum += c.calls
	}
	return sum
}

// Run adds 1 to key after key for so long, and returns the times of its calls in milliseconds, sorted. It goes on where the
// Run before it ended.
func (l *Load) Run(ctx context.Context, d time.Duration) ([]float64, error) {
	times := make([][]float64, len(l.connections))
	start := time.Now()
	err := l.each(ctx, func(ctx context.Context, i int, c *connection) error {
		for from := start; from.Sub(start) < d; {
			if err := l.call(ctx, i, c.calls%l.keys, 1, 1+c.calls/l.keys); err != nil {
				return err
			}
			c.calls++
			now := time.Now()
			times[i] = append(times[i], now.Sub(from).Seconds()*1e3)
			from = now
		}
		return nil
	})
	millis := slices.Concat(times...)
	slices.Sort(millis)
	return millis, err
}

// Verify asks for the count of every key that was called, and fails when one is not the number of its calls.
func (l *Load) Verify(ctx context.Context) error {
	return l.each(ctx, func(ctx context.Context, i int, c *connection) error {
		for key := range min(c.calls, l.keys) {
			if err := l.call(ctx, i, key, 0, (c.calls-key+l.keys-1)/l.keys); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *Load) each(ctx context.Context, work func(context.Context, int, *connection) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, c := range l.connections {
		group.Go(func() error { return work(ctx, i, c) })
	}
	return group.Wait()
}

// call adds to a key of a connection and compares the sum.
func (l *Load) call(ctx context.Context, connection int, key, add, want int64) error {
	name := fmt.Sprintf("%s-%d-%d", l.name, connection, key)
	reply, err := Post(ctx, l.connections[connection].client, l.url(name), strconv.FormatInt(add, 10))
	if err != nil {
		return err
	}
	if reply != strconv.FormatInt(want, 10) {
		return fmt.Errorf("key %s: the sum is %s, and should be %d", name, reply, want)
	}
	return nil
}

// Post sends JSON and returns what a good answer holds.
func Post(ctx context.Context, client *http.Client, url, body string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() // it was only read
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return "", err
	}
	if response.StatusCode/100 != 2 {
		return "", fmt.Errorf("%s: %s: %s", url, response.Status, reply)
	}
	return string(reply), nil
}
