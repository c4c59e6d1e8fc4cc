package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/weir-run/weir/internal/binary"
)

// weirSystem is the built weir, with the guest of the other benchmarks: the counter as the Go SDK writes it, built by the
// standard compiler.
type weirSystem struct {
	binary string
	dir    string
}

func (w *weirSystem) guest() string { return filepath.Join(w.dir, "guest.wasm") }

func (w *weirSystem) prepare(ctx context.Context) (string, error) {
	build := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-o", w.guest(), "./internal/bench/guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the guest: %w: %s", err, out)
	}
	if _, err := os.Stat(w.binary); err != nil {
		return "", fmt.Errorf("find weir: %w; run make build", err)
	}
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "of unknown commit", nil // outside of git there is none
	}
	return strings.TrimSpace(string(out)), nil
}

// weirJob is a module.yaml with everything at its default that the contest does not set for all systems.
const weirJob = `kind: weir.v1/job
spec:
  name: %[1]s
  namespace: %[1]s
  parallelism: %[2]d
  checkpoints: {interval: %[3]s}
---
kind: weir.v1/module
spec: {file: guest.wasm}
`

// weirTopics is the part of a module.yaml that reads one topic and writes another.
const weirTopics = `---
kind: io.statefun.kafka.v1/ingress
spec:
  id: bench/in
  address: embedded
  consumerGroupId: %[1]s
  topics: [{topic: %[2]s, valueType: bench/record, targets: [bench/count]}]
---
kind: io.statefun.kafka.v1/egress
spec: {id: out, address: embedded, deliverySemantic: {type: %[4]s}, topic: %[3]s, topics: [%[3]s], compression: none}
`

func (w *weirSystem) start(ctx context.Context, a assignment) (process, error) {
	interval := a.Interval
	if interval != auto {
		interval += "ms"
	}
	job := fmt.Sprintf(weirJob, a.id, a.tasks, interval) + fmt.Sprintf(weirTopics, a.id, a.in, a.out, a.Delivery)
	return w.run(ctx, a.dir, a.id, job, a.brokers)
}

// callJob is the job that answers calls, and its namespace.
const callJob = "calls"

func (w *weirSystem) serve(ctx context.Context, dir string, tasks int) (callee, error) {
	return w.run(ctx, dir, callJob, fmt.Sprintf(weirJob, callJob, tasks, auto), "")
}

// run starts weir with one job. Without a broker it has none.
func (w *weirSystem) run(ctx context.Context, dir, name, job, brokers string) (*weirProcess, error) {
	guest, err := os.ReadFile(w.guest())
	if err != nil {
		return nil, fmt.Errorf("read guest: %w", err)
	}
	for file, text := range map[string][]byte{"guest.wasm": guest, "module.yaml": []byte(job)} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			return nil, fmt.Errorf("write job %s: %w", name, err)
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	server, err := binary.Start(ctx, binary.Config{Path: w.binary, Data: filepath.Join(dir, "data"), Kafka: brokers, Log: log})
	p := &weirProcess{server, log}
	if err == nil {
		if err = server.Deploy(ctx, dir, name); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%w; stop: %v; see %s", err, p.stop(), log.Name())
}

type weirProcess struct {
	server *binary.Server
	log    *os.File
}

func (p *weirProcess) pid() int { return p.server.PID() }

func (p *weirProcess) pids() []int { return []int{p.pid()} }

func (p *weirProcess) url(key string) string {
	return p.server.DataPlane + "/n/" + callJob + "/in/bench/hit/" + key
}

func (p *weirProcess) ended() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // it asks, and does not wait
	defer cancel()
	state, err := p.server.Wait(ctx)
	if err != nil {
		return nil
	}
	return fmt.Errorf("weir ended by itself: %v; see %s", state, p.log.Name())
}

func (p *weirProcess) stop() error {
	err := p.server.Stop()
	return errors.Join(err, p.log.Close())
}
