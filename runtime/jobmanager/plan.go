package jobmanager

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/internal/wire"
)

// plan is a deployment that has passed every check.
type plan struct {
	next *deployedVersion
	view DeployedView
}

// current is a copy of a job's record, or nil when there is no such job.
func (m *Manager) current(ctx context.Context, name string) (*record, error) {
	j := m.master(name)
	if j == nil {
		return nil, nil
	}
	return ask1(ctx, j, func() (*record, error) {
		r := *j.record
		return &r, nil
	})
}

// plan checks a job against everything that could refuse it, and changes nothing.
func (m *Manager) plan(ctx context.Context, job *functions.Job, current *record) (*plan, error) {
	p := &plan{next: &deployedVersion{Version: wire.Version{Number: 1, Job: *job}, CreatedAt: time.Now()}}
	p.view = DeployedView{Job: job.Name, Version: 1}
	var dictionary functions.Dictionary
	if current != nil {
		running := current.version(current.Current)
		p.next.Number = current.latest() + 1
		p.view.Version, p.view.Previous = p.next.Number, running.Number
		if same(job, &running.Job) && current.Desired == wantRunning {
			p.view.Version, p.view.Unchanged = running.Number, true
			p.view.Functions = functionNames(job)
			return p, nil
		}
		// A state that a version dropped is still there, as that version wrote it: each that is kept has to fit.
		for i := range current.Versions {
			if err := functions.Compatible(&current.Versions[i].Job, job); err != nil {
				return nil, incompatible(err, current.Versions[i].Number, p.next.Number, running.Number)
			}
		}
		dictionary = current.Versions[len(current.Versions)-1].Dictionary
		p.view.Checked = append(p.view.Checked, "states unchanged")
	}
	if err := dictionary.Room(job); err != nil {
		return nil, refusal(http.StatusConflict, "job-too-old", "the job has no numbers left", err.Error())
	}
	p.next.Dictionary = dictionary.Extend(job)
	if err := m.owns(job); err != nil {
		return nil, err
	}
	checked, err := m.config.Check(ctx, job)
	if err != nil {
		return nil, err
	}
	p.view.Checked = append(p.view.Checked, checked...)
	p.view.Functions = functionNames(job)
	return p, nil
}

// owns refuses a job whose function type another job of the same tenant has: its HTTP ingress would be ambiguous.
func (m *Manager) owns(job *functions.Job) error {
	mine := map[string]bool{}
	for _, name := range functionNames(job) {
		mine[name] = true
	}
	m.mu.Lock()
	others := make([]*master, 0, len(m.masters))
	for _, j := range m.masters {
		others = append(others, j)
	}
	m.mu.Unlock()
	for _, j := range others {
		other := j.owned.Load()
		if other == nil || j.name == job.Name || other.namespace != job.Namespace {
			continue
		}
		for _, name := range other.functions {
			if mine[name] {
				return refusal(http.StatusConflict, "function-taken", "another job has this function",
					fmt.Sprintf("function %s belongs to job %s of namespace %s; delete that job, or give the function another name", name, j.name, job.Namespace))
			}
		}
	}
	return nil
}

func functionNames(job *functions.Job) []string {
	var names []string
	for i := range job.Modules {
		if job.Modules[i].Description == nil {
			continue
		}
		for _, f := range job.Modules[i].Description.Functions {
			names = append(names, f.Type.String())
		}
	}
	return names
}

func same(a, b *functions.Job) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
