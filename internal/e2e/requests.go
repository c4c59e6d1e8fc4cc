package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

const (
	// clients send requests one after the other, each its own.
	clients = 4
	// betweenRequests and beforeRetry pace a client.
	betweenRequests = 20 * time.Millisecond
	beforeRetry     = 50 * time.Millisecond
	// requestLimit is how long a client waits for an answer before it breaks off and tries again.
	requestLimit = 10 * time.Second
	// impatientOneIn and againOneIn are how often a client breaks off on purpose after up to maxPatience, and how often
	// it sends an answered request once more.
	impatientOneIn = 10
	againOneIn     = 7
	maxPatience    = 30 * time.Millisecond
)

// client makes requests until enough is closed, each until it is answered.
type client struct {
	world  *world
	id     uint16
	random *rand.Rand
	pause  time.Duration            // between two requests
	asks   func(history.Call) error // is told of a request before it is sent
	heard  func(history.Call)       // is told of it with its answers
}

func (c *client) run(ctx context.Context, enough <-chan struct{}) error {
	for seq := uint32(1); ; seq++ {
		select {
		case <-enough:
			return nil
		default:
		}
		call := history.Call{Client: c.id, Seq: seq}
		if err := c.asks(call); err != nil {
			return err
		}
		times := 1
		if c.random.IntN(againOneIn) == 0 {
			times = 2
		}
		for range times {
			answer, err := c.ask(ctx, seq)
			if err != nil {
				return err
			}
			call.Answers = append(call.Answers, answer)
		}
		c.heard(call)
		if err := pause(ctx, c.pause); err != nil {
			return err
		}
	}
}

// ask sends one request until it is answered.
func (c *client) ask(ctx context.Context, seq uint32) (uint32, error) {
	token := workload.Token{HTTP: true, Source: c.id, Seq: seq}
	body := workload.Message{Token: token, From: c.id, Number: seq}.Append(nil)
	url := c.world.server.DataPlane + "/in/" + workload.Counter + "/" + workload.CounterKey(token.Target())
	key := fmt.Sprintf("client-%d-%d", c.id, seq)
	for {
		patience := requestLimit
		if c.random.IntN(impatientOneIn) == 0 {
			patience = time.Duration(c.random.Int64N(int64(maxPatience)))
		}
		status, answer, err := post(ctx, patience, url, key, body)
		if err == nil && status == http.StatusOK {
			n, err := strconv.ParseUint(answer, 10, 32)
			if err != nil {
				return 0, fmt.Errorf("request %s: answer %q: %w", key, answer, err)
			}
			return uint32(n), nil
		}
		if err == nil && status != http.StatusServiceUnavailable && status != http.StatusGatewayTimeout && status != http.StatusNotFound {
			return 0, fmt.Errorf("request %s: %d %s", key, status, answer)
		}
		if err := pause(ctx, beforeRetry); err != nil {
			return 0, err
		}
	}
}

func post(ctx context.Context, patience time.Duration, url, key string, body []byte) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Idempotency-Key", key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close() // it was only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, string(answer), err
}
