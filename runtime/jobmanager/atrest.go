package jobmanager

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/weir-run/weir/router"
)

// unread says why nobody answered a read of the job's state within readLimit.
func (j *master) unread(ctx context.Context) error {
	problem, err := ask1(ctx, j, func() (error, error) {
		interval := j.version().Job.Checkpoints.Interval
		switch {
		case j.phase == running && interval > 0:
			return refusal(http.StatusGatewayTimeout, "no-commit", "no commit in time",
				fmt.Sprintf("job %s runs, and a read waits for its next checkpoint: none came within %v, and checkpoints.interval is %v; read again later, or deploy the job with a shorter interval",
					j.name, readLimit, interval)), nil
		case j.phase == running:
			return refusal(http.StatusGatewayTimeout, "no-commit", "no commit in time",
				fmt.Sprintf("job %s runs, and a read waits for its next checkpoint: none came within %v; weir jobs %s shows what it waits for", j.name, readLimit, j.name)), nil
		}
		if rests := j.atRest(); rests != nil {
			return rests, nil
		}
		return refusal(http.StatusServiceUnavailable, "job-not-running", "the job does not run",
			fmt.Sprintf("job %s is %s: try again when it runs; weir jobs %s shows it", j.name, j.state, j.name)), nil
	})
	if err != nil {
		return err
	}
	return problem
}

// atRest is the refusal of whatever needs the job to run while somebody has to start it, and nil when it starts by itself.
func (j *master) atRest() *router.Problem {
	const rests = "the job is at rest"
	p := &router.Problem{Type: "job-at-rest", Title: rests, Status: http.StatusServiceUnavailable, Docs: "docs/errors.md#job-at-rest"}
	switch j.state {
	case Suspended:
		p.Detail = fmt.Sprintf("job %s is paused: weir resume %s", j.name, j.name)
		if j.refusedRecord != nil {
			p.Detail = fmt.Sprintf("job %s is suspended, as a broker refuses a record of it: weir outbox list %s shows which", j.name, j.name)
		}
	case Failed:
		p.Detail = fmt.Sprintf("job %s has failed: weir jobs %s shows why; then weir restart %s", j.name, j.name, j.name)
	case Finished, Canceled:
		p.Detail = fmt.Sprintf("job %s is %s: weir restart %s runs it again", j.name, j.state, j.name)
	default:
		return nil
	}
	return p
}

// Dispatch answers calls with next. What that turns away because no task runs the function is told as it is of a job that
// somebody has to start.
func (m *Manager) Dispatch(next router.Dispatch) router.Dispatch {
	return func(ctx context.Context, call *router.Call) (router.Answer, error) {
		answer, err := next(ctx, call)
		if p := answer.Problem; err != nil || p == nil || p.Type != "job-not-running" && p.Type != "function-not-running" {
			return answer, err
		}
		for _, j := range m.all() {
			owned := j.owned.Load()
			if owned == nil || owned.namespace != call.Namespace || !slices.Contains(owned.functions, call.Type) {
				continue
			}
			rests, err := ask1(ctx, j, func() (*router.Problem, error) { return j.atRest(), nil })
			if err == nil && rests != nil {
				return router.Answer{Status: rests.Status, Problem: rests}, nil
			}
		}
		return answer, nil
	}
}
