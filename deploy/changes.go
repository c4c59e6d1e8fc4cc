package deploy

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-run/weir/runtime/jobmanager"
)

type divertInput struct {
	JobPath
	Body struct {
		Lane string `json:"lane" minLength:"1" doc:"id of the lane, as the list of lanes names it"`
	}
}

type redriveInput struct {
	JobPath
	Body struct {
		IDs []string `json:"ids,omitempty" maxItems:"1000" doc:"dead letters to send again; absent or empty means all"`
	}
}

// registerVerbs adds what changes a job that exists.
func (a *API) registerVerbs(api huma.API) {
	c := a.controller
	for _, verb := range []struct {
		name, summary string
		call          func(context.Context, string) (jobmanager.JobView, error)
	}{
		{"stop", "End a job after a final checkpoint whose output is published", c.Stop},
		{"cancel", "End a job without a final checkpoint", c.Cancel},
		{"discard-output", "End a job without a final checkpoint, and drop what it has committed and not published", c.CancelDiscarding},
		{"restart", "Begin a new attempt: of a running job behind a final checkpoint, of one at rest from its last", c.Restart},
		{"rollback", "Go back to the version before; state stays", c.Rollback},
		{"pause", "End a job's tasks behind a final checkpoint and give their slots back, until it is resumed", c.Pause},
		{"resume", "Run a job at rest from its last checkpoint", c.Resume},
	} {
		huma.Register(api, verbOperation(verb.name, verb.summary),
			func(ctx context.Context, in *JobPath) (*body[jobmanager.JobView], error) {
				return bounded(ctx, func(ctx context.Context) (jobmanager.JobView, error) { return verb.call(ctx, in.Job) })
			})
	}
	huma.Register(api, verbOperation("divert", "Move the record that a broker refuses for good to the dead-letter topic"),
		func(ctx context.Context, in *divertInput) (*body[jobmanager.LaneView], error) {
			return bounded(ctx, func(ctx context.Context) (jobmanager.LaneView, error) {
				return c.Divert(ctx, in.Job, in.Body.Lane)
			})
		})
	huma.Register(api, verbOperation("redrive", "Send dead letters again to where they failed"),
		func(ctx context.Context, in *redriveInput) (*body[jobmanager.RedriveView], error) {
			return bounded(ctx, func(ctx context.Context) (jobmanager.RedriveView, error) {
				return c.Redrive(ctx, in.Job, in.Body.IDs)
			})
		})
}

func verbOperation(verb, summary string) huma.Operation {
	return huma.Operation{
		OperationID:     verb + "-job",
		Method:          http.MethodPost,
		Path:            "/v1/jobs/{job}:" + verb,
		Summary:         summary,
		Tags:            []string{"jobs"},
		BodyReadTimeout: bodyTimeout,
		Errors:          []int{http.StatusNotFound, http.StatusConflict, http.StatusServiceUnavailable, http.StatusGatewayTimeout},
	}
}
