package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
)

// settleTimeout is how long a deployed job may take to run or to say what it waits for.
const settleTimeout = 30 * time.Second

// restDocs tells what to do about a job that does not run.
const restDocs = "docs/errors.md#why-a-job-does-not-run"

// deployed is the answer of weir deploy.
type deployed struct {
	jobmanager.DeployedView
	Modules []deploy.Uploaded `json:"modules"`
	Waiting string            `json:"waiting,omitempty"`
	State   string            `json:"state,omitempty"` // of a job that neither runs nor waits
	Error   string            `json:"error,omitempty"`

	job *functions.Job
}

func (s *shell) deploy() *cobra.Command {
	var file string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "deploy [PATH]",
		Short: "Build, check and deploy a job, or its next version",
		Long: `Deploys what PATH holds: a folder with a module.yaml or a main.go (the current one by default), a module.yaml, or a
lone .wasm file. Source is built, modules are uploaded once, and everything is checked before anything changes. A job that
runs switches to the new version at a checkpoint; its state is kept.`,
		Example: `  weir deploy
  weir deploy counter.wasm --dry-run`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := s.dir
			switch {
			case len(args) == 1 && file != "":
				return misused("PATH and --file both say what to deploy")
			case len(args) == 1:
				path = s.path(args[0])
			case file != "":
				path = s.path(file)
			}
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			plan, err := s.planFor(path)
			if err != nil {
				return err
			}
			for _, w := range plan.warnings() {
				fmt.Fprintln(s.err, "warning:", w)
			}
			if err := s.during("compiling", func() error { _, err := plan.build(ctx, s); return err }); err != nil {
				return err
			}
			var d deployed
			err = s.during("deploying", func() error { d, err = api.deploy(ctx, plan, dryRun); return err })
			if err != nil {
				return err
			}
			return s.show(d, func(t *table) { deployedRows(t, &d) })
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the module.yaml to deploy, instead of PATH")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check everything and change nothing")
	return cmd
}

// warnings are what the document's reader noticed.
func (p *plan) warnings() []string {
	if p.job == nil {
		return nil
	}
	var texts []string
	for i := range p.job.Warnings {
		texts = append(texts, p.job.Warnings[i].Error())
	}
	return texts
}

// deploy uploads the modules of a plan, has everything checked, and makes it the next version.
func (c *client) deploy(ctx context.Context, p *plan, dryRun bool) (deployed, error) {
	var d deployed
	var digests []string
	var descriptions []*functions.Description
	for i := range p.modules {
		uploaded, err := c.upload(ctx, &p.modules[i])
		if err != nil {
			return d, err
		}
		d.Modules = append(d.Modules, uploaded)
		digests = append(digests, uploaded.Digest)
		descriptions = append(descriptions, uploaded.Description)
	}
	job, err := p.describe(digests, descriptions, functions.EmbeddedCluster)
	if err != nil {
		return d, err
	}
	d.job = job
	path := route("v1", "jobs", job.Name)
	if err := c.send(ctx, http.MethodPut, path+"?dryRun=true", job, &d.DeployedView); err != nil {
		return d, placed(job, err)
	}
	if dryRun {
		return d, nil
	}
	checked := d.Checked
	if err := c.send(ctx, http.MethodPut, path, job, &d.DeployedView); err != nil {
		return d, err
	}
	d.Checked = checked
	view, err := c.settled(ctx, settleTimeout, job.Name)
	if err != nil {
		return d, err
	}
	d.Waiting = view.Waiting
	if d.Waiting == "" && view.State != jobmanager.Running {
		d.State, d.Error = string(view.State), view.Error
	}
	return d, nil
}

// placed adds to a refusal because of a topic where module.yaml names that topic: the server has not seen the file.
func placed(job *functions.Job, err error) error {
	var p *router.Problem
	if !errors.As(err, &p) || p.Type != "unknown-topic" {
		return err
	}
	mentions := func(topic string) bool { return topic != "" && strings.Contains(p.Detail, fmt.Sprintf("%q", topic)) }
	for i := range job.Ingresses {
		for t := range job.Ingresses[i].Topics {
			if mentions(job.Ingresses[i].Topics[t].Topic) {
				return at(job.Place(fmt.Sprintf("ingresses[%d].topics[%d].topic", i, t)), p)
			}
		}
	}
	for i := range job.Egresses {
		if slices.ContainsFunc(job.Egresses[i].Topics, mentions) {
			return at(job.Place(fmt.Sprintf("egresses[%d]", i)), p)
		}
	}
	return err
}

func at(place string, p *router.Problem) error {
	if place == "" {
		return p
	}
	what, todo, _ := strings.Cut(p.Detail, "; ")
	f := &failure{code: exitFailed, what: place + ": " + what}
	if todo != "" {
		f.todo = append(f.todo, todo)
	}
	return f
}

// upload sends a module unless the server has it.
func (c *client) upload(ctx context.Context, m *planned) (deploy.Uploaded, error) {
	module, digest, err := m.read()
	if err != nil {
		return deploy.Uploaded{}, err
	}
	if len(module) == 0 {
		return deploy.Uploaded{}, failed(m.file+" is empty", "build the module again")
	}
	var known deploy.Uploaded
	err = c.get(ctx, &known, "v1", "modules", digest)
	var p *router.Problem
	if err == nil || !errors.As(err, &p) || p.Status != http.StatusNotFound {
		return known, err
	}
	err = c.call(ctx, http.MethodPost, "/v1/modules", "application/wasm", bytes.NewReader(module), &known)
	if errors.As(err, &p) {
		p.Title = m.name() + ": " + p.Title
	}
	return known, err
}

func deployedRows(t *table, d *deployed) {
	for i := range d.Modules {
		t.row("module", fmt.Sprintf("%s  %s  %s", shortDigest(d.Modules[i].Digest), d.job.Modules[i].File, typesOf(d.Modules[i].Description)))
	}
	if len(d.Checked) > 0 {
		t.row("checked", strings.Join(d.Checked, ", "))
	}
	switch {
	case d.DryRun:
		t.row("dry run", fmt.Sprintf("%s would become version %d; nothing was changed", d.Job, d.Version))
	case d.Unchanged:
		t.row("unchanged", fmt.Sprintf("%s version %d runs already", d.Job, d.Version))
	case d.Waiting != "":
		t.row("deployed", runningText(&d.DeployedView))
		t.row("waiting", d.Waiting)
	case d.State != "":
		t.row("deployed", runningText(&d.DeployedView))
		t.row(d.State, d.Error)
		if d.Error != "" {
			t.row("see", see(restDocs))
		}
	default:
		t.row("running", runningText(&d.DeployedView))
	}
}

func runningText(d *jobmanager.DeployedView) string {
	if d.Previous == 0 {
		return fmt.Sprintf("%s version %d", d.Job, d.Version)
	}
	how := "no restart"
	if d.Restarted {
		how = "restarted"
	}
	return fmt.Sprintf("%s version %d (was %d), switched at checkpoint %s, %s", d.Job, d.Version, d.Previous, count(d.Checkpoint), how)
}

// shortDigest is enough of a digest to tell modules apart.
func shortDigest(digest string) string {
	const shown = len("sha256:") + 8
	return digest[:min(shown, len(digest))] + "…"
}

func typesOf(d *functions.Description) string {
	names := make([]string, 0, len(d.Functions))
	for _, f := range d.Functions {
		names = append(names, f.Type.String())
	}
	return fmt.Sprintf("%s: %s", plural(len(names), "function type"), strings.Join(names, " "))
}
