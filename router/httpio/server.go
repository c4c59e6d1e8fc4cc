package httpio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router"
)

const (
	// maxHeaderBytes bounds the request line and all headers: enough for a key and an Idempotency-Key at their limits.
	maxHeaderBytes = 16 << 10
	// readTimeout is how long a client may take to send a whole request, so that a slow one cannot hold a connection.
	readTimeout = 10 * time.Second
	// writeTimeout is how long a client may take to read an answer.
	writeTimeout = 10 * time.Second
	// idleTimeout closes connections that are kept open and not used, after longer than most clients keep them.
	idleTimeout = 2 * time.Minute
	// maxConns bounds connections, each of which costs a goroutine and a read buffer.
	maxConns = 16384
	// maxConnsPerIP keeps one client from taking all of them.
	maxConnsPerIP = 8192
	// drainTimeout is how long Run waits for calls in flight once its context is done: a few epochs.
	drainTimeout = 10 * time.Second
)

// Config says where and how much. Who runs the server changes it; all but Address has a default.
type Config struct {
	Address        string             // host:port; port 0 takes a free one
	InsecureListen bool               // allow an address other than loopback, though nobody is authenticated
	MaxBody        int                // bytes of a request body; 1 MiB, at most 15 MiB
	MaxInFlight    int                // calls that wait for their commit; beyond it 503; 4096
	Timeout        time.Duration      // longest wait for a commit; beyond it 504; 30s
	Log            *slog.Logger       // nil logs nothing
	Meter          metric.Meter       // takes Metrics; nil measures nothing
	Tracing        *telemetry.Tracing // nil traces nothing
}

func (c Config) withDefaults() (Config, error) {
	if c.MaxBody == 0 {
		c.MaxBody = defaultMaxBody
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = defaultMaxInFlight
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxBody < 0 || c.MaxBody > maxMaxBody || c.MaxInFlight < 0 || c.Timeout < 0 {
		return c, fmt.Errorf("http ingress: max body %d, max in flight %d or timeout %v is out of range", c.MaxBody, c.MaxInFlight, c.Timeout)
	}
	return c, nil
}

// Server is the data plane: request ingress on its own port.
type Server struct {
	gate     *gate
	listener net.Listener
	http     *fasthttp.Server
	log      *slog.Logger
}

// New binds the address; Run serves it. The dispatch gets a call whose bytes are valid until it returns. An address that
// is not loopback is refused unless cfg.InsecureListen is set.
func New(cfg Config, dispatch router.Dispatch) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkAddress(cfg); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("http ingress: %w", err)
	}
	s := &Server{gate: newGate(cfg, dispatch), listener: newShared(listener, maxConnsPerIP), log: cfg.Log}
	s.http = &fasthttp.Server{
		ErrorHandler:                 s.refuseDamaged,
		Concurrency:                  maxConns,
		MaxRequestBodySize:           cfg.MaxBody,
		ReadBufferSize:               maxHeaderBytes,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		CloseOnShutdown:              true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true,
		Logger:                       quiet{cfg.Log},
	}
	return s, nil
}

// checkAddress holds the rule that without authentication every listener is on loopback.
func checkAddress(cfg Config) error {
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return fmt.Errorf("http ingress: address %q: %w", cfg.Address, err)
	}
	ip := net.ParseIP(host)
	if cfg.InsecureListen || host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("http ingress: address %s is not loopback, and nobody is authenticated there; set the insecure listen option to bind it all the same", cfg.Address)
}

// Addr is the address that is bound.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close gives the port back, of a server that is not run. Run does so itself.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx is done. It then accepts nothing more, waits for the calls in flight, and returns nil; calls that
// are not committed within drainTimeout are answered with 503. An error of the listener ends it too.
func (s *Server) Run(ctx context.Context) error {
	calls, abandon := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx, for the drain
	defer abandon()
	s.http.Handler = func(ctx *fasthttp.RequestCtx) { s.handle(calls, ctx) }
	var group errgroup.Group
	served := make(chan struct{})
	group.Go(func() error {
		defer close(served)
		if err := s.http.Serve(s.listener); err != nil {
			return fmt.Errorf("http ingress: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return s.drain(served, calls, abandon)
		case <-served:
			return nil
		}
	})
	return group.Wait()
}

// drain closes the listener, then waits for the connections. It goes that way around because a shutdown of fasthttp that
// comes before its Serve has no effect.
func (s *Server) drain(served <-chan struct{}, calls context.Context, abandon context.CancelFunc) error {
	s.listener.Close() // that it fails means that it is closed
	<-served
	late := time.AfterFunc(drainTimeout, func() {
		s.log.Warn("calls were not committed in time to drain", "waited", drainTimeout)
		abandon()
	})
	defer late.Stop()
	patient, cancel := context.WithTimeout(context.WithoutCancel(calls), drainTimeout+writeTimeout)
	defer cancel()
	// Its other error is that the listener is closed.
	if err := s.http.ShutdownWithContext(patient); errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("http ingress: drain: %w", err)
	}
	return nil
}

// handle is called by fasthttp, on a goroutine of the connection.
func (s *Server) handle(calls context.Context, ctx *fasthttp.RequestCtx) {
	header := &ctx.Request.Header
	if ambiguous(header) {
		ctx.SetConnectionClose()
		s.refuseDamaged(ctx, errAmbiguous)
		return
	}
	r := request{
		method:      string(ctx.Method()),
		path:        string(ctx.URI().PathOriginal()),
		host:        string(ctx.Host()),
		origin:      string(header.Peek("Origin")),
		prefer:      string(header.Peek("Prefer")),
		contentType: string(header.ContentType()),
		body:        ctx.PostBody(),
	}
	for _, key := range header.PeekAll("Idempotency-Key") {
		r.idempotency = append(r.idempotency, string(key))
	}
	if o := s.gate.observer; o != nil && o.tracing != nil {
		r.traceparent, r.tracestate = string(header.Peek(functions.HeaderTraceparent)), string(bytes.Join(header.PeekAll(functions.HeaderTracestate), []byte(",")))
	}
	write(&ctx.Response, s.gate.serve(calls, &r))
}

var errAmbiguous = errors.New("both Content-Length and Transfer-Encoding")

// ambiguous reports a request with two lengths, of which fasthttp takes the chunked one and a proxy before it perhaps the
// other: what follows on the connection could be a request that somebody smuggles in.
func ambiguous(header *fasthttp.RequestHeader) bool {
	raw := header.RawHeaders()
	return names(raw, "Transfer-Encoding:") && names(raw, "Content-Length:")
}

// names reports whether a line of headers begins with this name, in any case.
func names(headers []byte, name string) bool {
	for line := range bytes.Lines(headers) {
		if len(line) >= len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			return true
		}
	}
	return false
}

func write(to *fasthttp.Response, r response) {
	to.SetStatusCode(r.status)
	r.headers(to.Header.Set)
	to.SetBodyRaw(r.body())
}

// refuseDamaged answers what fasthttp could not read as a request.
func (s *Server) refuseDamaged(ctx *fasthttp.RequestCtx, err error) {
	problem := refuse(http.StatusBadRequest, "bad-request", "malformed request", "the bytes sent are not an HTTP/1.1 request")
	var small *fasthttp.ErrSmallBuffer
	var network *net.OpError
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		problem = tooLarge(int64(s.http.MaxRequestBodySize))
	case errors.As(err, &small):
		problem = refuse(http.StatusRequestHeaderFieldsTooLarge, "headers-too-large", "headers are too large",
			fmt.Sprintf("request line and headers may have %d bytes", maxHeaderBytes))
	case errors.As(err, &network) && network.Timeout():
		problem = refuse(http.StatusRequestTimeout, "request-timeout", "the request came too slowly",
			fmt.Sprintf("send the whole request within %v", readTimeout))
	}
	write(&ctx.Response, response{status: problem.Status, problem: problem})
}

func tooLarge(limit int64) *router.Problem {
	return refuse(http.StatusRequestEntityTooLarge, "body-too-large", "body is too large",
		fmt.Sprintf("a body may have %d bytes: send less, or put the content elsewhere and send where it is", limit))
}

// quiet passes what fasthttp logs, all of it about single connections, on at Debug.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(format string, args ...any) {
	q.log.Debug("http connection", "err", fmt.Sprintf(format, args...))
}
