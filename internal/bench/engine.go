package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weir-run/weir/internal/bench/calls"
)

const (
	// engineTime is how many records BenchmarkEngine measures, for some ten seconds.
	engineTime = "10000000x"
	// engineSteps take some ten seconds.
	engineSteps = 20_000_000
	// look is the pause between two looks at a scenario's progress.
	look = 50 * time.Millisecond
)

// engine measures without Kafka and HTTP: records from memory, and then messages between functions of a server.
func (b *bench) engine(ctx context.Context) error {
	if err := b.loop(ctx); err != nil {
		return err
	}
	return b.fed(ctx)
}

// engineLine is a line of BenchmarkEngine, as `go test -bench` writes it.
var engineLine = regexp.MustCompile(`(?m)^BenchmarkEngine/(\S+?)/10000000_keys\S*\s.*?([0-9.e+]+) records/cpu-s.*?([0-9]+) allocs/op`)

// loop runs BenchmarkEngine: fetches, batches, guest and state of ten million keys, and encoded output.
func (b *bench) loop(ctx context.Context) error {
	run := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkEngine$/.*/10000000", "-benchtime", engineTime, "./runtime/taskmanager")
	out, err := run.CombinedOutput()
	if err != nil {
		return fmt.Errorf("run BenchmarkEngine: %w: %s", err, out)
	}
	found := engineLine.FindAllSubmatch(out, -1)
	targets := map[string]string{"guest_in_C": ">= 4000000", "Go_guest": ">= 2000000"}
	if len(found) != len(targets) {
		return fmt.Errorf("BenchmarkEngine has %d lines, want %d: %s", len(found), len(targets), out)
	}
	for _, line := range found {
		guest := string(line[1])
		perCPU, err := strconv.ParseFloat(string(line[2]), 64)
		if err != nil {
			return fmt.Errorf("read BenchmarkEngine: %w", err)
		}
		allocs, err := strconv.ParseFloat(string(line[3]), 64)
		if err != nil {
			return fmt.Errorf("read BenchmarkEngine: %w", err)
		}
		text := "engine: records per CPU-second, 10000000 keys, " + strings.ReplaceAll(guest, "_", " ")
		b.add(text, perCPU, "1/s", targets[guest])
		b.add(text+", allocations per record", allocs, "", "<= 0")
	}
	return nil
}

// fed counts keys that a function of the same job feeds: mailbox, batches, guest, state and checkpoints. Each count costs one
// message from function to function, so the figure holds sending it too.
func (b *bench) fed(ctx context.Context) error {
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
	b.add("engine: keyed counts per CPU-second, 1 task, fed by a function", engineSteps/(after.cpu-before.cpu), "1/s", "")
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
