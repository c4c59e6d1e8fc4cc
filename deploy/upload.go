package deploy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-run/weir/statestore/checkpoint"
)

// uploadTimeout bounds the reading of a module: the largest one over one megabyte per second.
const uploadTimeout = time.Minute

// uploadInput takes the body as a stream: huma reads it into memory only when a field asks for it.
type uploadInput struct{ body io.Reader }

// Resolve gets the stream from huma.
func (in *uploadInput) Resolve(ctx huma.Context) []error {
	// A connection that cannot have deadlines (a test recorder) has none to stall either.
	_ = ctx.SetReadDeadline(time.Now().Add(uploadTimeout))
	in.body = ctx.BodyReader()
	return nil
}

func (a *API) registerModules(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "upload-module",
		Method:      http.MethodPost,
		Path:        "/v1/modules",
		Summary:     "Upload a module",
		Description: "Stores the WASM module in the body under its digest, once, after it has been validated.",
		Tags:        []string{"modules"},
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/wasm": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}},
		Errors: []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity},
	}, func(ctx context.Context, in *uploadInput) (*body[Uploaded], error) {
		return bounded(ctx, func(ctx context.Context) (Uploaded, error) { return a.cfg.Modules.Put(ctx, in.body) })
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-module",
		Method:      http.MethodGet,
		Path:        "/v1/modules/{digest}",
		Summary:     "Describe a module",
		Description: "Says what a stored module holds; clients ask it to upload a module only when it is missing.",
		Tags:        []string{"modules"},
		Errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *struct {
		Digest string `path:"digest" maxLength:"71" doc:"sha256:hex"`
	}) (*body[Uploaded], error) {
		return bounded(ctx, func(ctx context.Context) (Uploaded, error) { return a.describe(ctx, in.Digest) })
	})
}

func (a *API) describe(ctx context.Context, digest string) (Uploaded, error) {
	module, err := a.cfg.Modules.Get(digest)
	switch {
	case errors.Is(err, ErrNoModule):
		return Uploaded{}, newProblem(http.StatusNotFound, "no-such-module", "no such module",
			digest+" is not stored; upload it with POST /v1/modules")
	case errors.Is(err, checkpoint.ErrDamaged): // 404 has clients upload it, which replaces the file
		return Uploaded{}, newProblem(http.StatusNotFound, "no-such-module", "the stored module is damaged",
			digest+" is damaged on the server's disk; upload it with POST /v1/modules")
	}
	if err != nil {
		return Uploaded{}, err
	}
	description, err := a.cfg.Modules.Describe(ctx, digest)
	return Uploaded{Digest: digest, Bytes: int64(len(module)), Existed: true, Description: description}, err
}
