package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// deployInput is PUT /v1/jobs/{job}: a job as JSON, or the text of a module.yaml.
type deployInput struct {
	JobPath
	ContentType string `header:"Content-Type"`
	DryRun      bool   `query:"dryRun" doc:"check everything and change nothing"`
	RawBody     []byte
}

func (a *API) registerJobs(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID:      "deploy-job",
		Method:           http.MethodPut,
		Path:             "/v1/jobs/{job}",
		Summary:          "Deploy a version",
		Description:      "Makes the document the job's next version. Its modules have been uploaded and are named by digest. A deployment that cannot run is refused and changes nothing.",
		Tags:             []string{"jobs"},
		MaxBodyBytes:     maxJobBytes,
		SkipValidateBody: true, // decodeJob is stricter, and says more
		BodyReadTimeout:  bodyTimeout,
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json": {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[functions.Job](), true, "Job")},
			"application/yaml": {Schema: &huma.Schema{Type: huma.TypeString, Description: "A module.yaml whose modules have their digest as file."}},
		}},
		Errors: []int{
			http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
			http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		},
	}, a.deploy)
	huma.Register(api, huma.Operation{
		OperationID: "list-jobs",
		Method:      http.MethodGet,
		Path:        "/v1/jobs",
		Summary:     "List jobs",
		Tags:        []string{"jobs"},
	}, func(ctx context.Context, _ *struct{}) (*body[[]jobmanager.JobView], error) {
		return bounded(ctx, listed(a.controller.Jobs))
	})
	register(a, api, "get-job", "/v1/jobs/{job}", "Describe a job", a.controller.Job)
	huma.Register(api, huma.Operation{
		OperationID:   "delete-job",
		Method:        http.MethodDelete,
		Path:          "/v1/jobs/{job}",
		Summary:       "Delete a job at rest",
		Description:   "Forgets its versions and checkpoints. A job that runs is stopped or cancelled first.",
		Tags:          []string{"jobs"},
		DefaultStatus: http.StatusNoContent,
		Errors:        []int{http.StatusNotFound, http.StatusConflict},
	}, func(ctx context.Context, in *JobPath) (*struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return nil, answer(a.controller.Delete(ctx, in.Job))
	})
}

func (a *API) deploy(ctx context.Context, in *deployInput) (*body[jobmanager.DeployedView], error) {
	return bounded(ctx, func(ctx context.Context) (jobmanager.DeployedView, error) {
		job, err := decodeJob(in.ContentType, in.RawBody)
		if err != nil {
			return jobmanager.DeployedView{}, err
		}
		if err := a.complete(ctx, in.Job, job); err != nil {
			return jobmanager.DeployedView{}, err
		}
		view, err := a.controller.Deploy(ctx, job, jobmanager.DeployOptions{DryRun: in.DryRun})
		if err == nil && !in.DryRun {
			a.sweep(ctx)
		}
		return view, err
	})
}

// unusedAge is how long a module that no version names is kept: a client uploads, and deploys in a later request.
const unusedAge = time.Hour

// sweep removes modules of versions that are gone. The deployment has succeeded whether or not that works.
func (a *API) sweep(ctx context.Context) {
	keep, err := a.used(ctx)
	if err == nil {
		err = a.cfg.Modules.Sweep(keep, time.Now().Add(-unusedAge))
	}
	if err != nil {
		a.cfg.Log.Warn("unused modules are not removed", "err", err)
	}
}

// used are the digests that any version of any job names.
func (a *API) used(ctx context.Context) (map[string]bool, error) {
	jobs, err := a.controller.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	for i := range jobs {
		versions, err := a.controller.Versions(ctx, jobs[i].Name)
		if err != nil {
			return nil, err
		}
		for v := range versions {
			for m := range versions[v].Spec.Modules {
				keep[versions[v].Spec.Modules[m].Digest] = true
			}
		}
	}
	return keep, nil
}

// decodeJob reads the body of a deployment.
func decodeJob(contentType string, source []byte) (*functions.Job, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		return nil, newProblem(http.StatusUnsupportedMediaType, "content-type", "content type not understood", err.Error())
	}
	switch kind {
	case "application/yaml", "application/x-yaml", "text/yaml":
		return parseDocument(source)
	case "application/json", "":
		decoder := json.NewDecoder(bytes.NewReader(source))
		decoder.DisallowUnknownFields()
		job := new(functions.Job)
		if err := decoder.Decode(job); err != nil {
			return nil, newProblem(http.StatusUnprocessableEntity, "job-malformed", "the job is not valid JSON",
				fmt.Sprintf("%v, near byte %d", err, decoder.InputOffset()))
		}
		return job, nil
	}
	return nil, newProblem(http.StatusUnsupportedMediaType, "content-type", "content type not understood",
		kind+" is not application/json or application/yaml")
}

// complete fills in what the modules say of themselves, and checks what the document alone can show.
func (a *API) complete(ctx context.Context, name string, job *functions.Job) error {
	if job.Name == "" {
		job.Name = name
	}
	if job.Name != name {
		return newProblem(http.StatusUnprocessableEntity, "job-name", "two names for one job",
			fmt.Sprintf("the path says %q and the document %q", name, job.Name))
	}
	if len(job.Modules) == 0 {
		return newProblem(http.StatusUnprocessableEntity, "job-empty", "the job has no module",
			"add a document of kind weir.v1/module")
	}
	for i := range job.Modules {
		m := &job.Modules[i]
		if m.Digest == "" && validDigest(m.File) {
			m.Digest = m.File // module.yaml has no other place for it
		}
		if m.Digest == "" {
			return newProblem(http.StatusUnprocessableEntity, "module-digest", "a module has no digest",
				fmt.Sprintf("upload %s with POST /v1/modules and set its digest", m.File))
		}
		description, err := a.cfg.Modules.Describe(ctx, m.Digest)
		if errors.Is(err, ErrNoModule) || errors.Is(err, checkpoint.ErrDamaged) {
			return newProblem(http.StatusUnprocessableEntity, "no-such-module", "a module is not uploaded",
				fmt.Sprintf("%s (%s) is not stored, or damaged; upload it with POST /v1/modules", m.Digest, m.File))
		}
		if err != nil {
			return err
		}
		m.Description = description
	}
	return validate(job)
}

// register adds a GET on one job.
func register[V any](a *API, api huma.API, id, path, summary string, call func(context.Context, string) (V, error)) {
	huma.Register(api, huma.Operation{
		OperationID: id,
		Method:      http.MethodGet,
		Path:        path,
		Summary:     summary,
		Tags:        []string{"jobs"},
		Errors:      []int{http.StatusNotFound},
	}, func(ctx context.Context, in *JobPath) (*body[V], error) {
		return bounded(ctx, func(ctx context.Context) (V, error) { return call(ctx, in.Job) })
	})
}

// listed makes an empty list of an absent one, so that clients always get an array.
func listed[V any](call func(context.Context) ([]V, error)) func(context.Context) ([]V, error) {
	return func(ctx context.Context) ([]V, error) {
		v, err := call(ctx)
		if v == nil {
			v = []V{}
		}
		return v, err
	}
}
