package httpio

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// Handler is the same ingress on net/http, for a server that owns its listener and time-outs. Mount it in front of any
// mux: a mux would clean the path, and so change keys.
type Handler struct {
	gate    *gate
	maxBody int64
}

// NewHandler takes from cfg what concerns requests; the address is not used. Without cfg.InsecureListen it takes requests
// for this machine only.
func NewHandler(cfg Config, dispatch router.Dispatch) (*Handler, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Handler{gate: newGate(cfg, dispatch), maxBody: int64(cfg.MaxBody)}, nil
}

// Owns reports whether a request is the ingress's by its path: /in/… or /n/….
func (h *Handler) Owns(r *http.Request) bool {
	path := r.URL.EscapedPath()
	return strings.HasPrefix(path, "/in/") || strings.HasPrefix(path, "/n/")
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, incoming *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, incoming.Body, h.maxBody))
	if err != nil {
		problem := refuse(http.StatusBadRequest, "bad-request", "malformed request", "the body ended early")
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			problem = tooLarge(h.maxBody)
		}
		writeTo(w, response{status: problem.Status, problem: problem})
		return
	}
	writeTo(w, h.gate.serve(incoming.Context(), &request{
		method:      incoming.Method,
		path:        incoming.URL.EscapedPath(),
		host:        incoming.Host,
		origin:      incoming.Header.Get("Origin"),
		prefer:      incoming.Header.Get("Prefer"),
		contentType: incoming.Header.Get("Content-Type"),
		idempotency: incoming.Header.Values("Idempotency-Key"),
		traceparent: incoming.Header.Get(functions.HeaderTraceparent),
		tracestate:  strings.Join(incoming.Header.Values(functions.HeaderTracestate), ","),
		body:        body,
	}))
}

func writeTo(w http.ResponseWriter, r response) {
	r.headers(w.Header().Set)
	w.WriteHeader(r.status)
	w.Write(r.body()) // the client is gone when it fails, and the call is committed: nothing is left to do
}
