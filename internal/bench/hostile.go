package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/internal/bench/calls"
	"github.com/weir-run/weir/internal/binary"
)

const (
	// hostileTime is how long the neighbour is watched, alone and then beside the hostile job.
	hostileTime = 10 * time.Second
	// heartbeat is how often the neighbour is called.
	heartbeat = 20 * time.Millisecond
	// hostileDocument gives its functions the default limits, and no second try.
	hostileDocument = `kind: weir.v1/job
spec:
  name: hostile
  namespace: hostile
  parallelism: 1
---
kind: weir.v1/module
spec: {file: hostile.wasm, retry: {attempts: 1}}
`
)

// hostileFunctions are those of internal/bench/guest/hostile.
var hostileFunctions = []string{"spin", "recurse", "grow", "copy", "log"}

// hostile calls one job every heartbeat while another spins, recurses, allocates, copies and logs without end, each call
// until its limit. A heartbeat that is late counts from when it was due.
func (b *bench) hostile(ctx context.Context) error {
	s, err := b.server(ctx, "hostile")
	if err != nil {
		return err
	}
	defer b.end(s)
	neighbour := job{name: "neighbour", parallelism: 1, interval: "auto"}
	if err := b.deploy(ctx, s, neighbour); err != nil {
		return err
	}
	if err := b.deployHostile(ctx, s); err != nil {
		return err
	}
	alone, err := beats(ctx, s.DataPlane+neighbour.path("hit", "alone"))
	if err != nil {
		return err
	}
	var stopped atomic.Int64
	attack, cancel := context.WithCancel(ctx)
	defer cancel()
	group, attack := errgroup.WithContext(attack)
	for _, function := range hostileFunctions {
		group.Go(func() error { return assault(attack, s.DataPlane+"/n/hostile/in/hostile/"+function+"/", &stopped) })
	}
	beside, err := beats(ctx, s.DataPlane+neighbour.path("hit", "beside"))
	cancel()
	if err := errors.Join(err, group.Wait()); err != nil {
		return err
	}
	b.add("hostile neighbours: calls stopped at their limit", float64(stopped.Load()), "", ">= 1")
	b.add("hostile neighbours: heartbeat, alone, p99", alone.quantile(0.99), "ms", "")
	b.add("hostile neighbours: heartbeat, alone, slowest", alone.quantile(1), "ms", "")
	b.add("hostile neighbours: heartbeat beside them, p99", beside.quantile(0.99), "ms", "<= 100")
	b.add("hostile neighbours: heartbeat beside them, slowest", beside.quantile(1), "ms", "<= 100")
	return nil
}

func (b *bench) deployHostile(ctx context.Context, s *binary.Server) error {
	dir := filepath.Join(b.dir, "hostile")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write job hostile: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-o", filepath.Join(dir, "hostile.wasm"), "./internal/bench/guest/hostile")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the hostile guest: %w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "module.yaml"), []byte(hostileDocument), 0o644); err != nil {
		return fmt.Errorf("write job hostile: %w", err)
	}
	return s.Deploy(ctx, dir, "hostile")
}

// beats calls a counter on a schedule, and checks every answer.
func beats(ctx context.Context, url string) (*timing, error) {
	t := &timing{}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	start := time.Now()
	for n := int64(1); ; n++ {
		due := start.Add(time.Duration(n) * heartbeat)
		if due.Sub(start) > hostileTime {
			slices.Sort(t.millis)
			return t, nil
		}
		pause(ctx, time.Until(due))
		reply, err := calls.Post(ctx, client, url, "1")
		if err != nil {
			return nil, err
		}
		if want := strconv.FormatInt(n, 10); reply != want {
			return nil, fmt.Errorf("heartbeat %d: reply %s", n, reply)
		}
		t.millis = append(t.millis, time.Since(due).Seconds()*1e3)
	}
}

// assault calls a function that fails every time, until ctx ends. Each call has a key of its own, so that none waits for another.
func assault(ctx context.Context, base string, stopped *atomic.Int64) error {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for n := 0; ctx.Err() == nil; n++ {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+strconv.Itoa(n), strings.NewReader("1"))
		if err != nil {
			return err
		}
		err = failing(client, request)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		stopped.Add(1)
	}
	return nil
}

// failing sends a request and wants the answer of a function that failed.
func failing(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() // it was only read
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusInternalServerError {
		err = fmt.Errorf("%s: %s: %.200s", request.URL, response.Status, text)
	}
	return err
}
