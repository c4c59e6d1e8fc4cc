package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weir-run/weir/router"
)

const (
	// maxAnswerBytes bounds an answer that is read whole: a thousand dead letters of a megabyte would not be a table.
	maxAnswerBytes = 64 << 20
	// dialTimeout tells an address where nobody is from a slow server.
	dialTimeout = 5 * time.Second
)

// client speaks the control API of one server.
type client struct {
	base string
	http *http.Client
}

// api is the client for --server.
func (s *shell) api() (*client, error) {
	u, err := url.Parse(s.server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, misused("--server %s: want http://host:port", s.server)
	}
	return newClient(s.server), nil
}

func newClient(base string) *client {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &client{
		base: strings.TrimSuffix(base, "/"),
		// No proxy: a control port behind one is a mistake more often than a wish.
		http: &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, ForceAttemptHTTP2: true}},
	}
}

// get reads a JSON answer.
func (c *client) get(ctx context.Context, into any, path ...string) error {
	return c.call(ctx, http.MethodGet, route(path...), "", nil, into)
}

// post sends value as JSON, or nothing when it is nil, and reads a JSON answer.
func (c *client) post(ctx context.Context, path string, value, into any) error {
	if value == nil {
		return c.call(ctx, http.MethodPost, path, "", nil, into)
	}
	return c.send(ctx, http.MethodPost, path, value, into)
}

// send sends value as JSON.
func (c *client) send(ctx context.Context, method, path string, value, into any) error {
	document, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	return c.call(ctx, method, path, "application/json", bytes.NewReader(document), into)
}

// call sends one request and decodes the answer into a pointer, unless that is nil.
func (c *client) call(ctx context.Context, method, path, kind string, content io.Reader, into any) error {
	response, err := c.open(ctx, method, path, kind, content)
	if err != nil {
		return err
	}
	defer response.Body.Close() // it was only read
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(into); err != nil {
		return fmt.Errorf("read answer of %s %s: %w", method, path, err)
	}
	return nil
}

// open sends one request and returns the answer when it is none of failure; the caller closes its body.
func (c *client) open(ctx context.Context, method, path, kind string, content io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	return c.exchange(request)
}

func (c *client) exchange(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(request.Context(), err)
	}
	if response.StatusCode < http.StatusBadRequest {
		return response, nil
	}
	defer response.Body.Close() // it was only read
	return nil, problemOf(response)
}

// unreachable tells a server that is not there from a call that took too long.
func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var dial *net.OpError
	todo := []string{"start one with weir dev or weir server, or name another with --server"}
	if !errors.As(err, &dial) || dial.Op != "dial" {
		todo = []string{"the connection broke: the call may or may not have taken effect"}
	}
	var cause *url.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	return &failure{code: exitUnreachable, what: fmt.Sprintf("cannot reach the server at %s: %v", c.base, err), todo: todo}
}

// problemOf reads a failure's answer; a server that is not ours may send anything.
func problemOf(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	answer := struct {
		router.Problem
		Errors []struct{ Message, Location string }
	}{}
	if json.Unmarshal(text, &answer) != nil || answer.Title == "" {
		return failed(fmt.Sprintf("the server answered %s", response.Status), "is it a weir server?")
	}
	for _, e := range answer.Errors {
		answer.Detail += fmt.Sprintf("\n%s: %s", e.Location, e.Message)
	}
	return &answer.Problem
}

// route joins path parts, each escaped. A part of dots only would be taken for a step in the path.
func route(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteByte('/')
		if strings.Trim(part, ".") == "" {
			b.WriteString(strings.ReplaceAll(part, ".", "%2E"))
			continue
		}
		b.WriteString(url.PathEscape(part))
	}
	return b.String()
}

// verbRoute is the path of a verb on a job.
func verbRoute(job, verb string) string { return route("v1", "jobs", job) + ":" + verb }
