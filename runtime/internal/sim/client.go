package sim

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// betweenTries is how long a client waits that was turned away.
const betweenTries = 20 * time.Millisecond

// callRecord is a request and its answers.
type callRecord struct {
	history.Call
	done bool
}

// request makes a client that asks until it is answered, and now and then once more.
func (w *world) request(number int) {
	c := &callRecord{Call: history.Call{Client: uint16(1000 + number), Seq: 1}}
	w.mu.Lock()
	w.calls = append(w.calls, c)
	w.mu.Unlock()
	times := 1 + w.random.IntN(2)
	w.scheduler.note("call %d, %d times", c.Client, times)
	w.clients.Go(func() {
		for range times {
			answer, ok := w.ask(c)
			if !ok {
				return
			}
			w.mu.Lock()
			c.Answers = append(c.Answers, answer)
			w.mu.Unlock()
		}
		w.mu.Lock()
		c.done = true
		w.mu.Unlock()
	})
}

// ask sends a request, under one Idempotency-Key, until it has its answer.
func (w *world) ask(c *callRecord) (count uint32, ok bool) {
	token := workload.Token{HTTP: true, Source: c.Client, Seq: c.Seq}
	body := workload.Message{Token: token, From: c.Client, Number: c.Seq}.Append(nil)
	for try := 0; ; try++ {
		if w.scheduler.hold(nil, client, fmt.Sprintf("client/%d", c.Client)) == died {
			return 0, false
		}
		p := w.front.Load()
		answer, err := p.tasks[try%len(p.tasks)].Dispatch(p.ctx, &router.Call{
			Namespace: "default", Type: workload.Counter, Key: []byte(workload.CounterKey(token.Target())), Body: body,
			Idempotency: "client-" + strconv.Itoa(int(c.Client)),
		})
		if err != nil || answer.Status != 200 {
			time.Sleep(betweenTries)
			continue
		}
		if !w.manifests.wrote(answer.Epoch) {
			w.violate("commit", "call %d is answered with epoch %d, whose manifest is not durable", c.Client, answer.Epoch)
		}
		n, err := strconv.ParseUint(string(answer.Body), 10, 32)
		if err != nil {
			w.violate("history", "call %d is answered %q", c.Client, answer.Body)
		}
		return uint32(n), true
	}
}

// wishFor runs what an operator does, one wish at a time.
func (w *world) wishFor(what string, do func(context.Context, *jobmanager.Manager) error) {
	p := w.front.Load()
	done := make(chan error, 1)
	w.wish, w.resting = done, false
	w.scheduler.note("wish: %s", what)
	w.clients.Go(func() { done <- do(p.ctx, p.jobs) })
}

// idle says that no wish is under way.
func (w *world) idle() bool {
	if w.wish == nil {
		return true
	}
	select {
	case err := <-w.wish:
		w.wish = nil
		if err != nil {
			w.scheduler.note("wish ended: %v", err)
			w.outrun = errors.Is(err, checkpoint.ErrExists)
		}
		return true
	default:
		return false
	}
}

// deploy deploys the job as it is to be.
func (w *world) deploy(parallelism, version int) {
	w.wishFor(fmt.Sprintf("deploy parallelism %d version %d", parallelism, version), func(ctx context.Context, jobs *jobmanager.Manager) error {
		_, err := jobs.Deploy(ctx, w.job(parallelism, version), jobmanager.DeployOptions{})
		return err
	})
}

// cancel cancels the job. It runs again when somebody looks after it.
func (w *world) cancel() {
	p := w.front.Load()
	w.wishFor("cancel", func(ctx context.Context, jobs *jobmanager.Manager) error {
		view, err := jobs.Cancel(ctx, jobName)
		if err == nil && view.State == jobmanager.Canceled {
			w.tell(p, view.State)
		}
		return err
	})
}

// revive does what a person does who finds the job missing, failed or canceled.
func (w *world) revive() {
	p := w.front.Load()
	parallelism, version, again := w.plan.parallelism, 1, false
	if w.plan.cancels > 0 { // drawn ahead: who is asked answers in an order that is Go's
		parallelism, version, again = 1+w.random.IntN(4), 1+w.random.IntN(2), w.random.IntN(2) == 0
	}
	w.wishFor("look after the job", func(ctx context.Context, jobs *jobmanager.Manager) error {
		view, err := jobs.Job(ctx, jobName)
		if err != nil {
			_, err = jobs.Deploy(ctx, w.job(w.plan.parallelism, 1), jobmanager.DeployOptions{})
			return err
		}
		if view.State != jobmanager.Failed && view.State != jobmanager.Suspended && view.State != jobmanager.Canceled {
			return nil
		}
		if err := p.comes("resume"); err != nil {
			return err
		}
		if view.State == jobmanager.Canceled && again {
			_, err = jobs.Deploy(ctx, w.job(parallelism, version), jobmanager.DeployOptions{})
			return err
		}
		_, err = jobs.Resume(ctx, jobName)
		return err
	})
}
