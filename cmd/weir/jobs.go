package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/jobmanager"
)

func (s *shell) jobs() *cobra.Command {
	return &cobra.Command{
		Use:   "jobs [JOB]",
		Short: "List jobs, or describe one",
		Example: `  weir jobs
  weir jobs ad-billing -o json`,
		Args:              arguments(0, 1),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return s.describeJob(ctx, api, args[0])
			}
			var jobs []jobmanager.JobView
			if err := api.get(ctx, &jobs, "v1", "jobs"); err != nil {
				return err
			}
			return s.show(jobs, func(t *table) {
				t.row("JOB", "STATE", "VER", "TASKS", "IN/s", "OUT/s", "LAG", "EPOCH", "P99", "RESTARTS")
				for i := range jobs {
					t.row(jobCells(&jobs[i])...)
				}
			})
		},
	}
}

func jobCells(j *jobmanager.JobView) []any {
	return []any{
		j.Name, j.State, j.Version, fmt.Sprintf("%d/%d", j.Tasks, j.Parallelism), count(int64(j.InRate)), count(int64(j.OutRate)),
		count(j.Lag), millis(j.EpochMillis), millis(j.P99Millis), j.Restarts,
	}
}

// jobDescription is what weir jobs JOB shows.
type jobDescription struct {
	jobmanager.JobView
	Versions []jobmanager.VersionView `json:"versions"`
	Events   []jobmanager.Event       `json:"events"`
}

func (s *shell) describeJob(ctx context.Context, api *client, name string) error {
	var d jobDescription
	if err := api.get(ctx, &d.JobView, "v1", "jobs", name); err != nil {
		return err
	}
	if err := api.get(ctx, &d.Versions, "v1", "jobs", name, "versions"); err != nil {
		return err
	}
	if err := api.get(ctx, &d.Events, "v1", "jobs", name, "events"); err != nil {
		return err
	}
	return s.show(d, func(t *table) { jobRows(t, &d) })
}

func jobRows(t *table, d *jobDescription) {
	t.row("job", d.Name)
	t.row("state", d.State)
	if d.Waiting != "" {
		t.row("waits for", d.Waiting)
	}
	if d.Error != "" {
		t.row("last error", d.Error)
	}
	if d.State == jobmanager.Failed {
		t.row("see", see(restDocs))
	}
	t.row("tasks", fmt.Sprintf("%d of %d", d.Tasks, d.Parallelism))
	t.row("values", fmt.Sprintf("%s, %s: one per key and state, and one per Idempotency-Key of the last day", count(d.Keys), size(d.StateBytes)))
	t.row("checkpoint", fmt.Sprintf("%s at %s", count(d.Checkpoint), clock(d.CommittedAt)))
	t.row("messages", fmt.Sprintf("%s in, %s out, lag %s, %s dead letters", count(d.In), count(d.Out), count(d.Lag), count(d.DeadLetters)))
	for i := range d.Versions {
		v := &d.Versions[i]
		t.row("version", fmt.Sprintf("%d  %s%s", v.Version, clock(v.CreatedAt), mark(v.Current)))
	}
	for _, e := range d.Events {
		t.row("event", strings.TrimSpace(fmt.Sprintf("%s  %s %s", clock(e.Time), e.Kind, e.Detail)))
	}
}

func mark(current bool) string {
	if current {
		return "  current"
	}
	return ""
}

// change is a command that changes a job by a verb of the API.
func (s *shell) change(verb, short, long, done string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " JOB", Short: short, Long: long,
		Example:           "  weir " + verb + " ad-billing",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			var job jobmanager.JobView
			err = s.during("waiting for "+args[0]+" to "+verb, func() error {
				if err := api.post(ctx, verbRoute(args[0], verb), nil, &job); err != nil {
					return err
				}
				job, err = api.settled(ctx, settleTimeout, args[0])
				return err
			})
			if errors.Is(err, context.DeadlineExceeded) {
				return pending(verb, args[0])
			}
			if err != nil {
				return err
			}
			return s.show(job, func(t *table) {
				if job.Waiting != "" {
					defer t.row("waiting", job.Waiting)
				}
				t.row(done, fmt.Sprintf("%s version %d, %s, checkpoint %s", job.Name, job.Version, job.State, count(job.Checkpoint)))
			})
		},
	}
}

// pending is a change that was asked for and not seen done. A server that has taken it goes on with it: the wish is stored.
func pending(verb, job string) error {
	return &failure{
		code: exitTimeout, what: fmt.Sprintf("timed out: %s has not come to %s yet; it is still pending, and may take effect later", job, verb),
		todo: []string{"weir jobs " + job + " shows whether it has, and what the job waits for", "--timeout sets how long a command may take"},
	}
}

// completeJobs offers the names of jobs to the shell.
func (s *shell) completeJobs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	api, err := s.api()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var jobs []jobmanager.JobView
	if err := api.get(cmd.Context(), &jobs, "v1", "jobs"); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	names := make([]string, 0, len(jobs))
	for i := range jobs {
		names = append(names, jobs[i].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// eachJob visits the jobs with the function types of their current versions, until visit says that it has seen enough.
func eachJob(ctx context.Context, api *client, visit func(job string, types []string) bool) error {
	var jobs []jobmanager.JobView
	if err := api.get(ctx, &jobs, "v1", "jobs"); err != nil {
		return err
	}
	for i := range jobs {
		var versions []jobmanager.VersionView
		if err := api.get(ctx, &versions, "v1", "jobs", jobs[i].Name, "versions"); err != nil {
			return err
		}
		for v := range versions {
			if versions[v].Current && !visit(jobs[i].Name, functionTypes(&versions[v].Spec)) {
				return nil
			}
		}
	}
	return nil
}

// jobOf finds the job that runs a function type, unless the user has named it.
func jobOf(ctx context.Context, api *client, named string, function functions.TypeName) (string, error) {
	if named != "" {
		return named, nil
	}
	var found string
	var known []string
	err := eachJob(ctx, api, func(job string, types []string) bool {
		if slices.Contains(types, function.String()) {
			found = job
			return false
		}
		known = append(known, types...)
		return true
	})
	if err != nil || found != "" {
		return found, err
	}
	f := &failure{code: exitFailed, what: fmt.Sprintf("no job runs function type %s", function)}
	if len(known) > 0 {
		f.todo = append(f.todo, "jobs run "+strings.Join(known, ", "))
	}
	return "", f
}

// functionTypes are the names of the function types of a job's modules.
func functionTypes(job *functions.Job) []string {
	var names []string
	for _, m := range job.Modules {
		if m.Description == nil {
			continue
		}
		for _, f := range m.Description.Functions {
			names = append(names, f.Type.String())
		}
	}
	return names
}
