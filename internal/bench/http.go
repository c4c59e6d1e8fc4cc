package main

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

const (
	// invokeTime is how long each HTTP run takes, and invokeWarm is how much of its start is left out.
	invokeTime = 10 * time.Second
	invokeWarm = 2 * time.Second
	// invokeKeys spreads requests over all key groups.
	invokeKeys = 10_000
	// maxReply is more than a count takes.
	maxReply = 1 << 10
)

// invoke calls a counter over HTTP in a closed loop: one connection shows the time of a call, 64 show the group commit.
func (b *bench) invoke(ctx context.Context) error {
	s, err := b.server(ctx, "http")
	if err != nil {
		return err
	}
	defer b.end(s)
	j := job{name: "http", parallelism: 2, interval: "auto"}
	if err := b.deploy(ctx, s, j); err != nil {
		return err
	}
	for _, connections := range []int{1, 64} {
		before, err := used(s.PID())
		if err != nil {
			return err
		}
		millis, calls, err := closedLoop(ctx, s.DataPlane, j, connections)
		if err != nil {
			return err
		}
		after, err := used(s.PID())
		if err != nil {
			return err
		}
		slices.Sort(millis)
		t := timing{millis: millis}
		name := fmt.Sprintf("http invoke, %d connections, ", connections)
		b.add(name+"requests", float64(len(millis))/(invokeTime-invokeWarm).Seconds(), "1/s", "")
		b.add(name+"requests per CPU-second of weir", float64(calls)/(after.cpu-before.cpu), "1/s", "")
		b.add(name+"p50", t.quantile(0.5), "ms", "")
		b.add(name+"p99", t.quantile(0.99), "ms", "")
	}
	return nil
}

// closedLoop returns the times of all calls behind the warm-up, and the number of all. Each connection owns a set of keys,
// so that it knows every answer.
func closedLoop(ctx context.Context, base string, j job, connections int) ([]float64, int64, error) {
	times := make([][]float64, connections)
	calls := make([]int64, connections)
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range connections {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
		group.Go(func() error {
			defer client.CloseIdleConnections()
			for n := int64(0); time.Since(start) < invokeTime; n++ {
				from := time.Now()
				key := fmt.Sprintf("c%d-%d-%d", connections, i, n%(invokeKeys/int64(connections)))
				reply, err := timedPost(ctx, client, base+j.path("hit", key), "1")
				if err != nil {
					return err
				}
				want := strconv.FormatInt(1+n/(invokeKeys/int64(connections)), 10)
				if reply != want {
					return fmt.Errorf("key %s: reply %s, not %s", key, reply, want)
				}
				calls[i]++
				if from.Sub(start) > invokeWarm {
					times[i] = append(times[i], time.Since(from).Seconds()*1e3)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, 0, err
	}
	var all int64
	for _, n := range calls {
		all += n
	}
	return slices.Concat(times...), all, nil
}

// timedPost sends one request and returns the reply of a good answer.
func timedPost(ctx context.Context, client *http.Client, url, body string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() // it was only read
	reply, err := io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", url, response.Status, reply)
	}
	return string(reply), nil
}
