package deploy

import (
	"context"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/jobmanager"
)

// Controller decides what happens to jobs; the API only carries requests to it and answers back.
//
// Methods are called from many goroutines at once. Arguments belong to the controller after the call. What it refuses it
// returns as *router.Problem, whose status is the HTTP status; any other error is an internal one. A call that fails has
// changed nothing unless its problem says otherwise. A call whose context ends may still take effect.
type Controller interface {
	// Deploy makes job the next version, or only checks it. Every module of it has a digest known to Modules and a
	// description, and the job has been validated as far as the document itself allows.
	Deploy(ctx context.Context, job *functions.Job, options jobmanager.DeployOptions) (jobmanager.DeployedView, error)

	Jobs(ctx context.Context) ([]jobmanager.JobView, error)
	Job(ctx context.Context, job string) (jobmanager.JobView, error)
	Versions(ctx context.Context, job string) ([]jobmanager.VersionView, error)
	Checkpoints(ctx context.Context, job string) ([]jobmanager.CheckpointView, error)
	Events(ctx context.Context, job string) ([]jobmanager.Event, error)
	Lanes(ctx context.Context, job string) ([]jobmanager.LaneView, error)
	// State reads the last committed state of one address.
	State(ctx context.Context, job string, function functions.TypeName, key string) (jobmanager.StateView, error)
	// Logs yields the kept lines in order and, when follow is set, later ones until ctx ends or yield returns false.
	Logs(ctx context.Context, job string, follow bool, yield func(jobmanager.LogLine) bool) error
	// DeadLetters returns at most limit dead letters, the latest last.
	DeadLetters(ctx context.Context, job string, limit int) ([]jobmanager.DeadLetterView, error)

	// Stop ends the job after a final checkpoint whose output is published; Cancel ends it without one.
	Stop(ctx context.Context, job string) (jobmanager.JobView, error)
	Cancel(ctx context.Context, job string) (jobmanager.JobView, error)
	// CancelDiscarding is Cancel that drops the output which the job still owes; the job's events name it.
	CancelDiscarding(ctx context.Context, job string) (jobmanager.JobView, error)
	// Restart begins a new attempt: of a running job behind a final checkpoint, of one at rest from its last.
	Restart(ctx context.Context, job string) (jobmanager.JobView, error)
	// Rollback makes the version before the current one current: code goes back, state stays.
	Rollback(ctx context.Context, job string) (jobmanager.JobView, error)
	// Pause ends the job's tasks behind a final checkpoint and gives their slots back; Resume runs it from there.
	Pause(ctx context.Context, job string) (jobmanager.JobView, error)
	Resume(ctx context.Context, job string) (jobmanager.JobView, error)
	// Delete forgets a job at rest, its versions and its checkpoints.
	Delete(ctx context.Context, job string) error
	// Divert moves the record that a broker refused for good to the dead-letter topic, so that its lane goes on.
	Divert(ctx context.Context, job, lane string) (jobmanager.LaneView, error)
	// Redrive sends dead letters again to where they failed: those with these ids, or all when there are none.
	Redrive(ctx context.Context, job string, ids []string) (jobmanager.RedriveView, error)

	// Ready is nil when jobs can be deployed and called; otherwise the error says what is missing.
	Ready(ctx context.Context) error
}
