package deploy

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Health is the answer of /healthz and /readyz.
type Health struct {
	Status string `json:"status" enum:"ok"`
}

func (a *API) registerHealth(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "health",
		Method:      http.MethodGet,
		Path:        "/healthz",
		Summary:     "Say that the process answers",
		Tags:        []string{"server"},
	}, func(context.Context, *struct{}) (*body[Health], error) {
		return &body[Health]{Body: Health{Status: "ok"}}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "ready",
		Method:      http.MethodGet,
		Path:        "/readyz",
		Summary:     "Say whether jobs can be deployed and called",
		Tags:        []string{"server"},
		Errors:      []int{http.StatusServiceUnavailable},
	}, func(ctx context.Context, _ *struct{}) (*body[Health], error) {
		if err := a.controller.Ready(ctx); err != nil {
			return nil, newProblem(http.StatusServiceUnavailable, "not-ready", "not ready", err.Error())
		}
		return &body[Health]{Body: Health{Status: "ok"}}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "version",
		Method:      http.MethodGet,
		Path:        "/v1/version",
		Summary:     "Say what runs",
		Tags:        []string{"server"},
	}, func(context.Context, *struct{}) (*body[Release], error) {
		return &body[Release]{Body: a.cfg.Release}, nil
	})
}
