package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// problem is a router.Problem on its way through huma, which asks for the status and the content type.
type problem struct{ *router.Problem }

func (p problem) GetStatus() int { return p.Status }

// Unwrap gives errors.As the problem itself.
func (p problem) Unwrap() error { return p.Problem }

// ContentType replaces JSON's by the one of RFC 9457.
func (p problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// answer turns what a controller returned into what the client gets: problems pass through unchanged.
func answer(err error) error {
	var p *router.Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return problem{p}
	case errors.Is(err, checkpoint.ErrDamaged):
		return damaged(err)
	case errors.Is(err, context.DeadlineExceeded):
		return newProblem(http.StatusGatewayTimeout, "timeout", "the call took too long",
			"it may still take effect: look at the job before trying again")
	}
	return newProblem(http.StatusInternalServerError, "internal", "internal error", err.Error())
}

// damaged is a file of a job that cannot be read back. Its page is the one that says what a person can do.
func damaged(err error) problem {
	p := newProblem(http.StatusInternalServerError, "damaged", "a file of the job is damaged",
		err.Error()+"\nit is in the data directory, below checkpoints/; the job stays down, and nothing is guessed\n"+
			"bring the file back, or decide what to do without it; then weir restart")
	p.Docs = "docs/operations.md#a-damaged-checkpoint"
	return p
}

// newProblem makes a problem of the API's own.
func newProblem(status int, kind, title, detail string) problem {
	return problem{&router.Problem{Status: status, Type: kind, Title: title, Detail: detail, Docs: "docs/errors.md#" + kind}}
}

// write sends a problem from outside of huma's handlers.
func (p problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	// The client is gone when this fails: nobody is left to tell.
	_ = json.NewEncoder(w).Encode(p.Problem)
}
