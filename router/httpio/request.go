package httpio

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

const (
	// maxIdempotencyBytes bounds an Idempotency-Key: it becomes a key of state.
	maxIdempotencyBytes = 256
	// maxKeyBytes bounds the key of an address; Kafka's own keys are far shorter.
	maxKeyBytes = 4096
	// defaultTenant is the tenant of paths that begin with /in.
	defaultTenant = "default"
)

// request is what both fronts know of an HTTP request. The fields are copies, but for body, which its front owns.
type request struct {
	method      string
	path        string // as sent: percent-encoded, without query
	host        string
	origin      string
	prefer      string
	contentType string
	idempotency []string // every Idempotency-Key header
	traceparent string
	tracestate  string
	body        []byte
}

// call makes a router.Call of the request, or says what is wrong with it.
func (r *request) call() (router.Call, *router.Problem) {
	call, problem := parsePath(r.path)
	if problem != nil {
		return call, problem
	}
	if r.method != http.MethodPost {
		return call, refuse(http.StatusMethodNotAllowed, "method-not-allowed", "method not allowed",
			"a function is invoked with POST; its state is read with GET /v1/jobs/{job}/state/{namespace}/{name}/{key}")
	}
	if len(r.idempotency) > 0 {
		call.Idempotency = r.idempotency[0]
		if len(r.idempotency) > 1 || !visible(call.Idempotency) || len(call.Idempotency) > maxIdempotencyBytes {
			return call, refuse(http.StatusBadRequest, "bad-idempotency-key", "malformed Idempotency-Key",
				fmt.Sprintf("send the header once, with 1 to %d visible ASCII characters", maxIdempotencyBytes))
		}
	}
	call.Async = prefersAsync(r.prefer)
	call.ContentType = r.contentType
	call.Body = r.body
	return call, nil
}

// visible reports whether s is 1 or more printable ASCII characters.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// parsePath reads /in/{namespace}/{name}/{key} or /n/{tenant}/in/{namespace}/{name}/{key}, every part percent-encoded.
func parsePath(path string) (router.Call, *router.Problem) {
	call := router.Call{Namespace: defaultTenant}
	rest := path
	if tenant, ok := strings.CutPrefix(rest, "/n/"); ok {
		name, after, found := strings.Cut(tenant, "/")
		decoded, err := url.PathUnescape(name)
		if !found || err != nil || decoded == "" {
			return call, notFound(path)
		}
		call.Namespace, rest = decoded, "/"+after
	}
	rest, ok := strings.CutPrefix(rest, "/in/")
	if !ok {
		return call, notFound(path)
	}
	namespace, rest, _ := strings.Cut(rest, "/")
	name, key, found := strings.Cut(rest, "/")
	if !found || strings.Contains(key, "/") {
		return call, notFound(path)
	}
	parts := [3]string{namespace, name, key}
	for i, part := range parts {
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return call, refuse(http.StatusBadRequest, "bad-path", "malformed path", err.Error())
		}
		parts[i] = decoded
	}
	call.Type = parts[0] + "/" + parts[1]
	if _, err := functions.ParseTypeName(call.Type); err != nil || strings.Contains(parts[1], "/") {
		return call, refuse(http.StatusNotFound, "no-such-function", "no such function",
			fmt.Sprintf("%.512q is not a function type; letters, digits, '.', '_' and '-' make one", call.Type))
	}
	if parts[2] == "" {
		return call, refuse(http.StatusBadRequest, "bad-key", "key is empty", fmt.Sprintf("the path ends without a key; it must have 1 to %d bytes", maxKeyBytes))
	}
	if len(parts[2]) > maxKeyBytes {
		return call, refuse(http.StatusBadRequest, "bad-key", "key is too long",
			fmt.Sprintf("the key has %d bytes; at most %d are taken", len(parts[2]), maxKeyBytes))
	}
	call.Key = []byte(parts[2])
	return call, nil
}

func notFound(path string) *router.Problem {
	return refuse(http.StatusNotFound, "not-found", "no such path",
		fmt.Sprintf("%.512q is not /in/{namespace}/{name}/{key}; write / in a part as %%2F", path))
}

func refuse(status int, kind, title, detail string) *router.Problem {
	return &router.Problem{Type: kind, Title: title, Status: status, Detail: detail}
}

// prefersAsync reports whether a Prefer header asks for respond-async (RFC 7240).
func prefersAsync(header string) bool {
	for header != "" {
		var preference string
		preference, header, _ = strings.Cut(header, ",")
		preference, _, _ = strings.Cut(preference, ";")
		if strings.EqualFold(strings.TrimSpace(preference), "respond-async") {
			return true
		}
	}
	return false
}

// fromElsewhere refuses, on a loopback listener, what a browser sends for a page of another site: a request with a
// foreign Origin, or with a Host whose name was made to resolve to this machine.
func (r *request) fromElsewhere() *router.Problem {
	name := hostname(r.host)
	if name != "localhost" && net.ParseIP(name) == nil {
		return refuse(http.StatusForbidden, "foreign-host", "request for another host",
			"this listener is for this machine only: use localhost or an IP address as host")
	}
	if r.origin == "" {
		return nil
	}
	origin, err := url.Parse(r.origin)
	if err != nil || origin.Host != r.host {
		return refuse(http.StatusForbidden, "foreign-origin", "request from another site",
			"pages of other sites may not invoke functions here: send the request from a program, without the header Origin")
	}
	return nil
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
