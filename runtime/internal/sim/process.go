package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/resourcemanager"
	"github.com/weir-run/weir/runtime/taskmanager"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
	"github.com/weir-run/weir/statestore/memory"
)

// process is one life of the platform: its roles, and the network between them.
type process struct {
	world  *world
	number int
	jobs   *jobmanager.Manager
	tasks  []*taskmanager.Manager
	ctx    context.Context
	kill   context.CancelFunc
	done   sync.WaitGroup
	dead   atomic.Bool
	blind  atomic.Bool // reads of the disk fail
	behind bool        // it has been replaced, and does not know

	mu       sync.Mutex // guards what follows; a leaf
	inboxes  map[place]*wire.Inbox[[]byte]
	newest   uint64 // attempt that has an inbox
	channels []*channel
}

// place is where a task of an attempt receives.
type place struct {
	attempt uint64
	task    int
}

// channel is the way of frames from one task to another.
type channel struct {
	attempt  uint64
	from, to int
	sent     *wire.Inbox[[]byte]
}

// begin starts a process, which becomes the one that clients and operators speak to.
func (w *world) begin() *process {
	w.lives++
	p := &process{world: w, number: w.lives, inboxes: map[place]*wire.Inbox[[]byte]{}}
	p.ctx, p.kill = context.WithCancel(context.Background())
	network := runtime.Local()
	network.Carry = p.carry
	log := slog.New(slog.DiscardHandler)
	if w.options.Log != nil {
		log = slog.New(slog.NewTextHandler(w.options.Log, nil)).With("process", p.number)
	}
	storage := &mount{w.disk, p}
	for i := range w.plan.taskManagers {
		p.tasks = append(p.tasks, taskmanager.New(network.Join(fmt.Sprintf("taskmanager-%d", i+1)), taskmanager.Config{
			Storage: storage, Log: log, Ingress: p.ingress, Egress: p.egress, Link: p.link,
			State: func(from, to functions.KeyGroup) statestore.Backend {
				return memory.New(memory.Config{From: from, To: to})
			},
			Modules: func(context.Context, *functions.Module) (taskmanager.Module, error) { return gated{w.module(), p}, nil },
		}))
	}
	resources := resourcemanager.New(network.Join(runtime.ResourceManager), log)
	p.jobs = jobmanager.New(network.Join(runtime.JobManager), jobmanager.Config{
		Storage: storage, Cores: 2, Dispatch: p.tasks[0].Dispatch, Log: log, Inline: w.plan.inline,
		Check: func(context.Context, *functions.Job) ([]string, error) { return nil, p.comes("check") },
		Letters: func(context.Context, *functions.Job, int) ([]jobmanager.Letter, error) {
			return nil, errors.ErrUnsupported
		},
	})
	for _, t := range p.tasks {
		p.done.Go(func() { p.ended("taskmanager", t.Run(p.ctx)) })
	}
	p.done.Go(func() { p.ended("resourcemanager", resources.Run(p.ctx)) })
	p.done.Go(func() { p.ended("jobmanager", p.jobs.Run(p.ctx)) })
	w.processes = append(w.processes, p)
	w.front.Store(p)
	return p
}

func (p *process) ended(role string, err error) {
	if err != nil && !p.dead.Load() && !errors.Is(err, checkpoint.ErrExists) {
		p.world.violate("roles", "%s of process %d ended: %v", role, p.number, err)
	}
}

// comes makes what an operator does next a step of its own: behind an answer of a role, who goes on first, the role or the
// operator, would be Go's choice.
func (p *process) comes(what string) error {
	if p.world.scheduler.hold(p, client, fmt.Sprintf("%d/operator/%s", p.number, what)) == died {
		return errDied
	}
	return nil
}

// carry holds control messages. Those to and from the ResourceManager go at once: who is late there is lost, and what the
// loss of a TaskManager does is not what is simulated.
func (p *process) carry(from, to string, message wire.Message, deliver func()) {
	if from == runtime.ResourceManager || to == runtime.ResourceManager {
		deliver()
		return
	}
	switch m := message.(type) {
	case *wire.Deploy:
		p.world.noteDeploy(p, m)
	case *wire.Complete:
		p.world.manifests.completes(m)
	}
	p.world.scheduler.add(&pending{
		lane: fmt.Sprintf("%d/control/%s>%s", p.number, from, to), what: reflect.TypeOf(message).Elem().Name(), kind: control, process: p,
		happen: func(v verdict) {
			if v != died {
				deliver()
			}
		},
	})
}

// link is where frames from a task to another go: they wait to be delivered.
func (p *process) link(attempt wire.Attempt, from, to int, inbox *wire.Inbox[[]byte]) *wire.Inbox[[]byte] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if inbox != nil {
		p.inboxes[place{attempt.Attempt, to}] = inbox
		p.newest = max(p.newest, attempt.Attempt)
	}
	if from == to {
		return inbox
	}
	c := &channel{attempt: attempt.Attempt, from: from, to: to, sent: wire.NewInbox[[]byte](nil)}
	p.channels = append(p.channels, c)
	return c.sent
}

// drain takes what tasks have sent, and holds it.
func (p *process) drain() {
	p.mu.Lock()
	channels := p.channels
	p.mu.Unlock()
	for _, c := range channels {
		for _, b := range c.sent.Take(nil) {
			p.world.scheduler.add(&pending{
				lane: fmt.Sprintf("%d/frame/%d/%d>%d", p.number, c.attempt, c.from, c.to), kind: frame, process: p,
				happen: func(verdict) { p.world.arrive(p, c, b) },
			})
		}
	}
}

// arrive brings a frame to its task. One of an attempt that has ended comes to the task that has its number in the attempt
// that runs instead, as on a connection that was opened again, and perhaps once more later.
func (w *world) arrive(p *process, c *channel, b []byte) {
	to := p
	if p.dead.Load() {
		to = w.front.Load()
	}
	to.mu.Lock()
	late := to != p || c.attempt < to.newest
	inbox := to.inboxes[place{c.attempt, c.to}]
	if late {
		inbox = to.inboxes[place{to.newest, c.to}]
	}
	to.mu.Unlock()
	if inbox != nil {
		inbox.Put(b)
	}
	if late {
		w.lateFrames++
		if w.scheduler.random.IntN(3) == 0 {
			w.scheduler.add(&pending{
				lane: fmt.Sprintf("late/%d/%d>%d", c.attempt, c.from, c.to), kind: frame,
				happen: func(verdict) { w.arrive(p, c, b) },
			})
		}
	}
}

// end kills a process: nothing of it is left but frames on their way, and, when its machine stays up, what it wrote.
func (w *world) end(p *process, power bool) {
	p.drain()
	w.scheduler.settle()
	p.dead.Store(true)
	p.kill()
	w.scheduler.sweep(p, power)
	p.done.Wait()
	p.drain()
	if power {
		w.disk.crash()
	} else {
		w.disk.flush()
	}
	w.disk.look()
	for i, other := range w.processes {
		if other == p {
			w.processes = append(w.processes[:i], w.processes[i+1:]...)
			break
		}
	}
}
