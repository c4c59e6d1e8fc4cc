// Package deploytest is a Controller in memory, for tests of the API and of what calls it.
//
// It hides nothing but a map: jobs have versions and states that follow the calls, and never run. Its answers are the
// same at every run: the clock stands still at Epoch. It is not a model of the job manager.
package deploytest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
)

// Epoch is the time of everything that a Controller reports.
func Epoch() time.Time { return time.Date(2026, 11, 21, 7, 14, 3, 0, time.UTC) }

// Controller keeps jobs in memory. Tests fill its exported fields before the first call; the zero value has no job.
type Controller struct {
	NotReady   error                                     // what Ready answers
	Refuse     error                                     // what Deploy answers, when set
	Lines      []jobmanager.LogLine                      // what Logs yields
	More       chan jobmanager.LogLine                   // what Logs yields when it follows; nil ends at once
	States     map[string][]jobmanager.StateValue        // by "namespace/name/key"
	DeadLetter []jobmanager.DeadLetterView               // what DeadLetters returns
	Publishers []jobmanager.LaneView                     // what Lanes returns
	Manifests  []jobmanager.CheckpointView               // what Checkpoints returns
	Hang       bool                                      // calls that change a job wait for their context to end
	Call       func(*router.Call) (router.Answer, error) // what Dispatch answers

	mu   sync.Mutex // guards jobs
	jobs map[string]*job
}

type job struct {
	view     jobmanager.JobView
	versions []jobmanager.VersionView
}

// Deploy adds a version, unless it equals the current one or is only checked.
func (c *Controller) Deploy(ctx context.Context, spec *functions.Job, options jobmanager.DeployOptions) (jobmanager.DeployedView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Refuse != nil {
		return jobmanager.DeployedView{}, c.Refuse
	}
	old := c.jobs[spec.Name]
	view := jobmanager.DeployedView{Job: spec.Name, Version: 1, DryRun: options.DryRun, Checked: []string{"states unchanged"}}
	for _, m := range spec.Modules {
		for _, f := range m.Description.Functions {
			view.Functions = append(view.Functions, f.Type.String())
		}
	}
	if old != nil {
		view.Previous = old.view.Version
		view.Version = len(old.versions) + 1
		view.Checkpoint = old.view.Checkpoint
		if sameModules(&old.versions[len(old.versions)-1].Spec, spec) {
			view.Version, view.Unchanged = view.Previous, true
		}
	}
	if options.DryRun || view.Unchanged {
		return view, nil
	}
	c.add(spec, view.Version)
	return view, nil
}

func sameModules(a, b *functions.Job) bool {
	return a.Parallelism == b.Parallelism && slices.EqualFunc(a.Modules, b.Modules, func(x, y functions.Module) bool {
		return x.Digest == y.Digest
	})
}

func (c *Controller) add(spec *functions.Job, version int) {
	if c.jobs == nil {
		c.jobs = map[string]*job{}
	}
	j := c.jobs[spec.Name]
	if j == nil {
		j = &job{view: jobmanager.JobView{
			Name: spec.Name, Namespace: spec.Namespace, UID: "uid-" + spec.Name, State: jobmanager.Running,
			Parallelism: spec.Parallelism, KeyGroups: spec.KeyGroups, Tasks: spec.Parallelism,
			Attempt: 1, Checkpoint: 41, CommittedAt: Epoch(), CreatedAt: Epoch(), In: 48211, Out: 9804,
		}}
		c.jobs[spec.Name] = j
	}
	for i := range j.versions {
		j.versions[i].Current = false
	}
	j.versions = append(j.versions, jobmanager.VersionView{Version: version, CreatedAt: Epoch(), Current: true, Spec: *spec})
	j.view.Version = version
}

// Jobs returns all jobs by name.
func (c *Controller) Jobs(context.Context) ([]jobmanager.JobView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var views []jobmanager.JobView
	for _, j := range c.jobs {
		views = append(views, j.view)
	}
	slices.SortFunc(views, func(a, b jobmanager.JobView) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return views, nil
}

// Job returns one job.
func (c *Controller) Job(_ context.Context, name string) (jobmanager.JobView, error) {
	return c.change(name, func(*job) error { return nil })
}

// change runs f on a job and returns the view it leaves.
func (c *Controller) change(name string, f func(*job) error) (jobmanager.JobView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobs[name]
	if j == nil {
		return jobmanager.JobView{}, &router.Problem{
			Status: http.StatusNotFound, Type: "no-such-job", Title: "no such job",
			Detail: fmt.Sprintf("there is no job %q", name), Docs: "/docs/jobs",
		}
	}
	if err := f(j); err != nil {
		return jobmanager.JobView{}, err
	}
	return j.view, nil
}

// Versions returns the versions of a job.
func (c *Controller) Versions(_ context.Context, name string) (versions []jobmanager.VersionView, err error) {
	_, err = c.change(name, func(j *job) error {
		versions = slices.Clone(j.versions)
		return nil
	})
	return versions, err
}

// Checkpoints returns Manifests.
func (c *Controller) Checkpoints(ctx context.Context, name string) ([]jobmanager.CheckpointView, error) {
	_, err := c.Job(ctx, name)
	return c.Manifests, err
}

// Events returns that the job was created.
func (c *Controller) Events(ctx context.Context, name string) ([]jobmanager.Event, error) {
	_, err := c.Job(ctx, name)
	return []jobmanager.Event{{Time: Epoch(), Attempt: 1, Kind: "created", Detail: name}}, err
}

// Lanes returns Publishers.
func (c *Controller) Lanes(ctx context.Context, name string) ([]jobmanager.LaneView, error) {
	_, err := c.Job(ctx, name)
	return c.Publishers, err
}

// State returns what States holds.
func (c *Controller) State(ctx context.Context, name string, function functions.TypeName, key string) (jobmanager.StateView, error) {
	if _, err := c.Job(ctx, name); err != nil {
		return jobmanager.StateView{}, err
	}
	return jobmanager.StateView{
		Function: function.String(), Key: key, Checkpoint: 41, Age: 2, States: c.States[function.String()+"/"+key],
	}, nil
}

// Logs yields Lines, and More when it follows.
func (c *Controller) Logs(ctx context.Context, name string, follow bool, yield func(jobmanager.LogLine) bool) error {
	if _, err := c.Job(ctx, name); err != nil {
		return err
	}
	for _, line := range c.Lines {
		if !yield(line) {
			return nil
		}
	}
	if !follow || c.More == nil {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case line, ok := <-c.More:
			if !ok || !yield(line) {
				return nil
			}
		}
	}
}

// DeadLetters returns the last of DeadLetter.
func (c *Controller) DeadLetters(ctx context.Context, name string, limit int) ([]jobmanager.DeadLetterView, error) {
	_, err := c.Job(ctx, name)
	return c.DeadLetter[max(0, len(c.DeadLetter)-limit):], err
}

// Stop finishes a job.
func (c *Controller) Stop(ctx context.Context, name string) (jobmanager.JobView, error) {
	return c.to(ctx, name, jobmanager.Finished)
}

// Cancel cancels a job.
func (c *Controller) Cancel(ctx context.Context, name string) (jobmanager.JobView, error) {
	return c.to(ctx, name, jobmanager.Canceled)
}

// CancelDiscarding cancels a job.
func (c *Controller) CancelDiscarding(ctx context.Context, name string) (jobmanager.JobView, error) {
	return c.to(ctx, name, jobmanager.Canceled)
}

// Restart runs a job.
func (c *Controller) Restart(ctx context.Context, name string) (jobmanager.JobView, error) {
	return c.to(ctx, name, jobmanager.Running)
}

// Pause suspends a job.
func (c *Controller) Pause(ctx context.Context, name string) (jobmanager.JobView, error) {
	return c.to(ctx, name, jobmanager.Suspended)
}

// Resume runs a job.
func (c *Controller) Resume(ctx context.Context, name string) (jobmanager.JobView, error) {
	return c.to(ctx, name, jobmanager.Running)
}

func (c *Controller) to(ctx context.Context, name string, state jobmanager.JobState) (jobmanager.JobView, error) {
	if c.Hang {
		<-ctx.Done()
		return jobmanager.JobView{}, ctx.Err()
	}
	return c.change(name, func(j *job) error {
		j.view.State = state
		return nil
	})
}

// Rollback goes back one version.
func (c *Controller) Rollback(_ context.Context, name string) (jobmanager.JobView, error) {
	return c.change(name, func(j *job) error {
		if j.view.Version == 1 {
			return &router.Problem{Status: http.StatusConflict, Type: "no-earlier-version", Title: "nothing to go back to",
				Detail: "version 1 is the first"}
		}
		j.view.Version--
		for i := range j.versions {
			j.versions[i].Current = j.versions[i].Version == j.view.Version
		}
		return nil
	})
}

// Delete forgets a job that does not run.
func (c *Controller) Delete(_ context.Context, name string) error {
	_, err := c.change(name, func(j *job) error {
		if j.view.State == jobmanager.Running {
			return &router.Problem{Status: http.StatusConflict, Type: "job-running", Title: "the job runs",
				Detail: "stop or cancel it first"}
		}
		delete(c.jobs, name)
		return nil
	})
	return err
}

// Divert clears the error of a lane.
func (c *Controller) Divert(ctx context.Context, name, lane string) (jobmanager.LaneView, error) {
	if _, err := c.Job(ctx, name); err != nil {
		return jobmanager.LaneView{}, err
	}
	for _, l := range c.Publishers {
		if l.ID == lane {
			l.Error = ""
			return l, nil
		}
	}
	return jobmanager.LaneView{}, &router.Problem{Status: http.StatusNotFound, Type: "no-such-lane", Title: "no such lane",
		Detail: fmt.Sprintf("job %s has no lane %q", name, lane)}
}

// Redrive counts what was asked for; letters that are not there are refused.
func (c *Controller) Redrive(ctx context.Context, name string, ids []string) (jobmanager.RedriveView, error) {
	if _, err := c.Job(ctx, name); err != nil {
		return jobmanager.RedriveView{}, err
	}
	for _, id := range ids {
		if !slices.ContainsFunc(c.DeadLetter, func(l jobmanager.DeadLetterView) bool { return l.ID == id }) {
			return jobmanager.RedriveView{}, &router.Problem{Status: http.StatusNotFound, Type: "no-such-letter", Title: "no such dead letter",
				Detail: fmt.Sprintf("%q is no dead letter of job %s", id, name)}
		}
	}
	var view jobmanager.RedriveView
	for _, l := range c.DeadLetter {
		switch {
		case len(ids) > 0 && !slices.Contains(ids, l.ID):
		case l.Function == "":
			view.Unfit++
		default:
			view.Redriven++
		}
	}
	return view, nil
}

// Ready returns NotReady.
func (c *Controller) Ready(context.Context) error { return c.NotReady }

// Dispatch is a router.Dispatch that asks Call.
func (c *Controller) Dispatch(_ context.Context, call *router.Call) (router.Answer, error) {
	return c.Call(call)
}
