package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	idleJobs = 50
	idleTime = 10 * time.Second
)

// idle measures what jobs cost that have nothing to do: one, many, and many that have done something.
func (b *bench) idle(ctx context.Context) error {
	s, err := b.server(ctx, "idle")
	if err != nil {
		return err
	}
	defer b.end(s)
	var first usage
	idler := func(i int) job { return job{name: fmt.Sprintf("idle-%d", i), parallelism: 1, interval: "auto"} }
	for i := range idleJobs {
		if err := b.deploy(ctx, s, idler(i)); err != nil {
			return err
		}
		if i == 0 {
			if first, err = b.resting(ctx, s.PID(), "1 job", "<= 0.1", "<= 30"); err != nil {
				return err
			}
		}
	}
	many, err := b.resting(ctx, s.PID(), fmt.Sprintf("%d jobs", idleJobs), "<= 0.1", "")
	if err != nil {
		return err
	}
	b.add("idle: memory per further job", (many.resident-first.resident)/1e6/(idleJobs-1), "MB", "<= 0.3")
	for i := range idleJobs {
		if err := post(ctx, http.DefaultClient, s.DataPlane+idler(i).path("hit", "once"), "1"); err != nil {
			return err
		}
	}
	pause(ctx, idleTime)
	warm, err := used(s.PID())
	if err != nil {
		return err
	}
	b.add("idle: memory per instance that was called, with the state and the checkpoint of the call", (warm.resident-many.resident)/1e6/idleJobs, "MB", "<= 0.2")
	return nil
}

func (b *bench) resting(ctx context.Context, pid int, name, cpuTarget, memoryTarget string) (usage, error) {
	pause(ctx, idleTime) // what the deployment left behind settles
	before, err := used(pid)
	if err != nil {
		return usage{}, err
	}
	pause(ctx, idleTime)
	after, err := used(pid)
	if err != nil {
		return usage{}, err
	}
	b.add("idle: CPU with "+name, 100*(after.cpu-before.cpu)/idleTime.Seconds(), "% of a core", cpuTarget)
	b.add("idle: memory with "+name, after.resident/1e6, "MB", memoryTarget)
	return after, nil
}
