package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/jobmanager"
)

type stateInput struct {
	JobPath
	Namespace string `path:"namespace" doc:"of the function type"`
	Function  string `path:"function" doc:"name of the function type"`
	Key       string `path:"key" doc:"percent-encoded"`
}

// deadLettersInput bounds one answer by its maximum: each dead letter may hold a record of a megabyte.
type deadLettersInput struct {
	JobPath
	Limit int `query:"limit" default:"100" minimum:"1" maximum:"1000" doc:"the latest so many"`
}

type logsInput struct {
	JobPath
	Follow bool `query:"follow" doc:"go on with lines as they are written"`
}

func (a *API) registerViews(api huma.API) {
	register(a, api, "list-versions", "/v1/jobs/{job}/versions", "List versions", array(a.controller.Versions))
	register(a, api, "list-checkpoints", "/v1/jobs/{job}/checkpoints", "List checkpoints", array(a.controller.Checkpoints))
	register(a, api, "list-events", "/v1/jobs/{job}/events", "List events of the job's life", array(a.controller.Events))
	register(a, api, "list-lanes", "/v1/jobs/{job}/outbox", "List publishers of exactly-once output", array(a.controller.Lanes))
	huma.Register(api, huma.Operation{
		OperationID: "get-state",
		Method:      http.MethodGet,
		Path:        "/v1/jobs/{job}/state/{namespace}/{function}/{key}",
		Summary:     "Read the committed state of one address",
		Tags:        []string{"jobs"},
		Errors:      []int{http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
	}, func(ctx context.Context, in *stateInput) (*body[jobmanager.StateView], error) {
		return bounded(ctx, func(ctx context.Context) (jobmanager.StateView, error) {
			function, err := functions.ParseTypeName(in.Namespace + "/" + in.Function)
			if err != nil {
				return jobmanager.StateView{}, newProblem(http.StatusUnprocessableEntity, "function-type",
					"not a function type", err.Error())
			}
			return a.controller.State(ctx, in.Job, function, in.Key)
		})
	})
	huma.Register(api, huma.Operation{
		OperationID: "list-dead-letters",
		Method:      http.MethodGet,
		Path:        "/v1/jobs/{job}/dead-letters",
		Summary:     "List messages that failed for good",
		Tags:        []string{"jobs"},
		Errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *deadLettersInput) (*body[[]jobmanager.DeadLetterView], error) {
		return bounded(ctx, listed(func(ctx context.Context) ([]jobmanager.DeadLetterView, error) {
			return a.controller.DeadLetters(ctx, in.Job, in.Limit)
		}))
	})
	lines := &huma.Response{
		Description: "One JSON object per line.",
		Content: map[string]*huma.MediaType{
			"application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeString}},
		},
	}
	huma.Register(api, huma.Operation{
		OperationID: "read-logs",
		Method:      http.MethodGet,
		Path:        "/v1/jobs/{job}/logs",
		Summary:     "Read what guests wrote",
		Tags:        []string{"jobs"},
		Responses:   map[string]*huma.Response{"200": lines},
		Errors:      []int{http.StatusNotFound},
	}, a.logs)
}

// logs streams lines. The job is looked up first, so that an unknown one is a problem and not an empty stream.
func (a *API) logs(ctx context.Context, in *logsInput) (*huma.StreamResponse, error) {
	if _, err := a.controller.Job(ctx, in.Job); err != nil {
		return nil, answer(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.WriteHeader(http.StatusOK)
		flush := func() error { return http.NewResponseController(w).Flush() }
		if flush() != nil {
			return // the client is gone
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() { // ends with this handler, by cancel
			select {
			case <-a.ended:
				cancel()
			case <-ctx.Done():
			}
		}()
		buffer := bufio.NewWriter(w)
		encoder := json.NewEncoder(buffer)
		// A stream has no place for an error: it ends, and the client sees that it ended.
		_ = a.controller.Logs(ctx, in.Job, in.Follow, func(line jobmanager.LogLine) bool {
			if encoder.Encode(line) != nil || !in.Follow {
				return ctx.Err() == nil
			}
			return buffer.Flush() == nil && flush() == nil
		})
		_ = buffer.Flush() // the client is gone when this fails
	}}, nil
}

// array is listed for a call on one job.
func array[V any](call func(context.Context, string) ([]V, error)) func(context.Context, string) ([]V, error) {
	return func(ctx context.Context, job string) ([]V, error) {
		return listed(func(ctx context.Context) ([]V, error) { return call(ctx, job) })(ctx)
	}
}
