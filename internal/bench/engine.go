package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/weir-run/weir/internal/bench/calls"
)

const (
	// engineSteps take some ten seconds.
	engineSteps = 20_000_000
	// look is the pause between two looks at a scenario's progress.
	look = 50 * time.Millisecond
)

// engine counts keys that a function of the same job feeds: mailbox, batches, guest, state and checkpoints, no Kafka and
// no HTTP. Each count costs one message from function to function, so the figure holds sending it too.
func (b *bench) engine(ctx context.Context) error {
	s, err := b.server(ctx, "engine")
	if err != nil {
		return err
	}
	defer b.end(s)
	j := job{name: "engine", parallelism: 1, interval: "auto"}
	if err := b.deploy(ctx, s, j); err != nil {
		return err
	}
	key := strconv.FormatInt(b.keys, 10)
	before, err := used(s.PID())
	if err != nil {
		return err
	}
	from := time.Now()
	if err := post(ctx, http.DefaultClient, s.DataPlane+j.path("feed", key), strconv.Itoa(engineSteps)); err != nil {
		return err
	}
	for done := int64(0); done < engineSteps; {
		pause(ctx, look)
		if err := ctx.Err(); err != nil {
			return err
		}
		var view struct {
			States []struct {
				Name  string
				Value int64
			}
		}
		if err := s.Get(ctx, "/v1/jobs/"+j.name+"/state/bench/feed/"+key, &view); err != nil {
			return err
		}
		for _, state := range view.States {
			if state.Name == "fed" {
				done = state.Value
			}
		}
	}
	seconds := time.Since(from).Seconds()
	after, err := used(s.PID())
	if err != nil {
		return err
	}
	b.add("engine: keyed counts per CPU-second, 1 task, fed by a function", engineSteps/(after.cpu-before.cpu), "1/s", ">= 5000000")
	b.add("engine: keyed counts per second, 1 task", engineSteps/seconds, "1/s", "")
	b.add("engine: memory of the process", after.resident/1e6, "MB", "")
	return nil
}

// post sends one request and wants a good answer.
func post(ctx context.Context, client *http.Client, url, body string) error {
	_, err := calls.Post(ctx, client, url, body)
	if err != nil {
		return fmt.Errorf("invoke: %w", err)
	}
	return nil
}
