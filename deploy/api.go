// Package deploy is the control API: HTTP under /v1, by which modules are uploaded and jobs are deployed, watched and
// changed. The command line and every other client use it and nothing else.
//
// It hides HTTP, the OpenAPI document (made from the code) and the store of modules. Its invariant: a request that is
// refused has changed nothing, and a job that reaches the Controller names only modules that are stored and described.
// It owns the directory of modules and the listener; jobs belong to the Controller. It is not the data plane: /in is
// handed on to the handler that the caller gives.
package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Config is what an API needs besides its Controller.
type Config struct {
	Modules *Modules
	Release Release
	// Invoke serves /in/ and /n/; nil answers 404.
	Invoke http.Handler
	// Log gets what goes wrong beside a request that went well; nil discards it.
	Log *slog.Logger
	// Metrics serves /metrics; nil answers 404.
	Metrics http.Handler
}

// Release is the answer of GET /v1/version: what runs, and where its other ports are.
type Release struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	Go        string `json:"go"`
	Kafka     string `json:"kafka,omitempty" doc:"address of the broker that topics are on when a job names none"`
	DataPlane string `json:"dataPlane,omitempty" doc:"address that takes invocations with less overhead than this one"`
	Dev       bool   `json:"dev" doc:"one process with an embedded broker, not for production"`
}

const (
	// callTimeout ends a call of the controller. The slowest is a stop, which waits for a checkpoint and its output.
	callTimeout = 2 * time.Minute
	// maxJobBytes bounds the body of a deployment: a thousand times a usual module.yaml.
	maxJobBytes = 1 << 20
	// bodyTimeout bounds the reading of a small body; it frees the connections of clients that stall.
	bodyTimeout = 10 * time.Second
)

// API serves the control API. Its methods may be called from many goroutines.
type API struct {
	cfg        Config
	controller Controller
	mux        *verbMux
	document   []byte

	endStreams sync.Once
	ended      chan struct{} // closed by EndStreams
}

// New makes the API.
func New(cfg Config, controller Controller) (*API, error) {
	a := &API{
		cfg:        cfg,
		controller: controller,
		ended:      make(chan struct{}),
		mux:        &verbMux{ServeMux: http.NewServeMux(), verbs: map[string]map[string]http.HandlerFunc{}},
	}
	if cfg.Log == nil {
		a.cfg.Log = slog.New(slog.DiscardHandler)
	}
	config := huma.DefaultConfig("Weir control API", cfg.Release.Version)
	config.Info.Description = "Deploy, watch and change jobs of stateful functions."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // they add $schema to every answer
	api := humago.New(a.mux, config)
	a.registerModules(api)
	a.registerJobs(api)
	a.registerVerbs(api)
	a.registerViews(api)
	a.registerHealth(api)
	describeOthers(api, cfg.Metrics != nil)
	// Every error of the API is a router.Problem, which has one field more than huma's own.
	if model := api.OpenAPI().Components.Schemas.Map()["ErrorModel"]; model != nil {
		model.Properties["docs"] = &huma.Schema{Type: huma.TypeString, Description: "Where to read on."}
	}
	document, err := json.Marshal(api.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("make OpenAPI document: %w", err)
	}
	a.document = document
	a.mux.HandleFunc("GET /v1/openapi.json", a.serveDocument)
	if cfg.Metrics != nil {
		a.mux.ServeMux.Handle("GET /metrics", cfg.Metrics)
	}
	a.mux.HandleFunc("/", notFound)
	return a, nil
}

// ServeHTTP serves one request. Invocations go past the mux, which would redirect keys that look like unclean paths.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.cfg.Invoke != nil && (strings.HasPrefix(r.URL.Path, "/in/") || strings.HasPrefix(r.URL.Path, "/n/")) {
		a.cfg.Invoke.ServeHTTP(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// EndStreams ends every stream that follows something, so that a server that stops need not wait for their clients.
func (a *API) EndStreams() { a.endStreams.Do(func() { close(a.ended) }) }

func (a *API) serveDocument(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/openapi+json")
	// The client is gone when this fails: nobody is left to tell.
	_, _ = w.Write(a.document)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	problem := newProblem(http.StatusNotFound, "no-such-route", "no such route",
		fmt.Sprintf("%s %s is not part of this API; /v1/openapi.json lists what is", r.Method, r.URL.Path))
	problem.write(w)
}

// bounded runs one call of the controller within callTimeout and makes its error a problem.
func bounded[V any](ctx context.Context, call func(context.Context) (V, error)) (*body[V], error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := call(ctx)
	if err != nil {
		return nil, answer(err)
	}
	return &body[V]{Body: v}, nil
}

// body is an answer with a JSON body.
type body[V any] struct{ Body V }

// JobPath names a job by its path. It is exported because huma looks past embedded types that are not.
type JobPath struct {
	Job string `path:"job" maxLength:"255" example:"ad-billing" doc:"name of the job"`
}
