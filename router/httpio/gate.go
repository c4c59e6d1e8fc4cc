package httpio

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/weir-run/weir/router"
)

const (
	// defaultMaxBody is Kafka's default limit of a record, so that a request can also come as one.
	defaultMaxBody = 1 << 20
	// maxMaxBody leaves room in functions.MaxMessageBytes for the rest of the message.
	maxMaxBody = 15 << 20
	// defaultMaxInFlight bounds the calls that wait for their commit: at 10 ms an epoch, enough for 400 000 a second.
	defaultMaxInFlight = 4096
	// defaultTimeout is how long a call may wait for its commit: shorter than the 60 s after which proxies give up.
	defaultTimeout = 30 * time.Second
	// retryAfterSeconds is what a refused client is told to wait.
	retryAfterSeconds = "1"
)

// response is what both fronts write.
type response struct {
	status  int
	answer  router.Answer
	problem *router.Problem
	async   bool
}

// gate admits calls and waits for their answers, for both fronts.
type gate struct {
	dispatch router.Dispatch
	slots    chan struct{} // one token per call in flight
	timeout  time.Duration
	loopback bool
	observer *observer // nil: nothing is measured or traced
}

func newGate(cfg Config, dispatch router.Dispatch) *gate {
	return &gate{
		dispatch: dispatch,
		slots:    make(chan struct{}, cfg.MaxInFlight),
		timeout:  cfg.Timeout,
		loopback: !cfg.InsecureListen,
		observer: newObserver(&cfg),
	}
}

// serve answers one request. The bytes of the request are used until it returns.
func (g *gate) serve(ctx context.Context, r *request) response {
	if g.observer == nil {
		return g.answer(ctx, r, nil)
	}
	call, ext := g.observer.begin(ctx, r)
	answered := g.answer(ctx, r, ext)
	g.observer.end(ctx, call, r, &answered)
	return answered
}

// answer admits a request, and brings it to its function; ext travels with it.
func (g *gate) answer(ctx context.Context, r *request, ext []byte) response {
	if g.loopback {
		if problem := r.fromElsewhere(); problem != nil {
			return response{status: problem.Status, problem: problem}
		}
	}
	call, problem := r.call()
	if problem != nil {
		return response{status: problem.Status, problem: problem}
	}
	call.Ext = ext
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	default:
		return unavailable("too-many-calls", "too many calls wait for their commit", "try again; the call was not accepted")
	}
	bounded, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	answer, err := g.dispatch(bounded, &call)
	switch {
	case err == nil && answer.Problem != nil:
		return response{status: answer.Problem.Status, problem: answer.Problem, answer: answer}
	case err == nil:
		return response{status: answer.Status, answer: answer, async: call.Async}
	case ctx.Err() != nil:
		return unavailable("shutting-down", "the server is shutting down", "whether the call takes effect is not known; send it again with the same Idempotency-Key")
	}
	return response{status: http.StatusGatewayTimeout, problem: refuse(http.StatusGatewayTimeout, "timed-out", "no commit in time",
		fmt.Sprintf("none came within %v: weir jobs shows what the job waits for, and a checkpoints.interval as long lets no answer come; whether the call takes effect is not known; send it again with the same Idempotency-Key", g.timeout))}
}

func unavailable(kind, title, detail string) response {
	return response{status: http.StatusServiceUnavailable, problem: refuse(http.StatusServiceUnavailable, kind, title, detail)}
}

// headers hands every header of the response but its length to set.
func (r *response) headers(set func(name, value string)) {
	set("X-Content-Type-Options", "nosniff") // a reply is the bytes of a user, never a page
	if r.answer.Epoch > 0 {
		set("Weir-Epoch", strconv.FormatUint(r.answer.Epoch, 10))
	}
	switch {
	case r.problem != nil:
		set("Content-Type", "application/problem+json")
	case len(r.answer.Body) > 0:
		set("Content-Type", "application/octet-stream")
	}
	switch {
	case r.status == http.StatusMethodNotAllowed:
		set("Allow", http.MethodPost)
	case r.problem != nil && r.problem.Type == "job-at-rest": // until somebody starts it
	case r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests:
		set("Retry-After", retryAfterSeconds)
	case r.async:
		set("Preference-Applied", "respond-async")
	}
}

// body is the reply, or the problem as RFC 9457 writes it.
func (r *response) body() []byte {
	if r.problem == nil {
		return r.answer.Body
	}
	b, err := json.Marshal(r.problem)
	if err != nil {
		panic("httpio: encode problem: " + err.Error()) // strings and a number: it cannot fail
	}
	return b
}
