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
---
kind: io.statefun.kafka.v1/ingress
spec:
  id: bench/in
  address: embedded
  consumerGroupId: %[1]s
  topics: [{topic: %[4]s, valueType: bench/record, targets: [bench/count]}]
---
kind: io.statefun.kafka.v1/egress
spec: {id: out, address: embedded, deliverySemantic: {type: %[6]s}, topic: %[5]s, topics: [%[5]s], compression: none}
`

func (w *weirSystem) start(ctx context.Context, a assignment) (process, error) {
	interval := a.Interval
	if interval != auto {
		interval += "ms"
	}
	guest, err := os.ReadFile(w.guest())
	if err != nil {
		return nil, fmt.Errorf("read guest: %w", err)
	}
	job := fmt.Appendf(nil, weirJob, a.id, a.tasks, interval, a.in, a.out, a.Delivery)
	for name, text := range map[string][]byte{"guest.wasm": guest, "module.yaml": job} {
		if err := os.WriteFile(filepath.Join(a.dir, name), text, 0o644); err != nil {
			return nil, fmt.Errorf("write job %s: %w", a.id, err)
		}
	}
	log, err := os.Create(filepath.Join(a.dir, "log"))
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	server, err := binary.Start(ctx, binary.Config{Path: w.binary, Data: filepath.Join(a.dir, "data"), Kafka: a.brokers, Log: log})
	p := &weirProcess{server, log}
	if err == nil {
		if err = server.Deploy(ctx, a.dir, a.id); err == nil {
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
