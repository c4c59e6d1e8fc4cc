package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weir-run/weir/internal/binary"
)

// job is what differs between the jobs of the scenarios.
type job struct {
	name        string // also the namespace: one tenant's function types belong to one job
	parallelism int
	interval    string // of checkpoints: auto or a duration
	delivery    string // of the egress
	kafka       bool   // gives the records of topic <name>-in to a function that writes to topic <name>-out
	function    string // that function, in namespace bench; empty is count
	source      string // a topic in place of <name>-in, which several jobs read
	guest       string // file of the module in the work directory; empty is that of the Go SDK
}

// The modules of the benchmarks, as prepare leaves them in the work directory.
const (
	goGuest = "guest.wasm" // all functions, with the Go SDK
	cGuest  = "count.wasm" // bench/count alone, in C and without an SDK
)

// document is the job's module.yaml.
func (j job) document() string {
	text := fmt.Sprintf(`kind: weir.v1/job
spec:
  name: %[1]s
  namespace: %[1]s
  parallelism: %[2]d
  checkpoints: {interval: %[3]s}
---
kind: weir.v1/module
spec: {file: guest.wasm}
`, j.name, j.parallelism, j.interval)
	if j.kafka {
		function := cmp.Or(j.function, "count")
		text += fmt.Sprintf(`---
kind: io.statefun.kafka.v1/ingress
spec:
  id: bench/in
  address: embedded
  consumerGroupId: %[1]s
  topics: [{topic: %[3]s, valueType: bench/record, targets: [bench/%[4]s]}]
---
kind: io.statefun.kafka.v1/egress
spec: {id: out, address: embedded, deliverySemantic: {type: %[2]s}, topic: %[1]s-out, topics: [%[1]s-out], compression: none}
`, j.name, j.delivery, j.in(), function)
	}
	return text
}

func (j job) in() string  { return cmp.Or(j.source, j.name+"-in") }
func (j job) out() string { return j.name + "-out" }

// data is where the server of that name keeps what it has.
func (b *bench) data(name string) string { return filepath.Join(b.dir, name+".data") }

// path is where invocations of the job's functions go.
func (j job) path(function, key string) string {
	return "/n/" + j.name + "/in/bench/" + function + "/" + key
}

// server starts weir with an empty data directory, without a job.
func (b *bench) server(ctx context.Context, name string) (*binary.Server, error) {
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return binary.Start(ctx, binary.Config{Path: b.weir, Data: b.data(name), Kafka: b.kafka, Log: log})
}

// fresh starts weir for a job whose topics are empty.
func (b *bench) fresh(ctx context.Context, k *topics, j job) (*binary.Server, error) {
	for _, topic := range []string{j.in(), j.out()} {
		if err := k.recreate(ctx, topic); err != nil {
			return nil, err
		}
	}
	quiet(ctx)
	return b.server(ctx, j.name)
}

// deploy deploys a job and waits until it runs.
func (b *bench) deploy(ctx context.Context, s *binary.Server, j job) error {
	dir := filepath.Join(b.dir, j.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write job %s: %w", j.name, err)
	}
	guest, err := os.ReadFile(filepath.Join(b.dir, cmp.Or(j.guest, goGuest)))
	if err != nil {
		return fmt.Errorf("read guest: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "guest.wasm"), guest, 0o644); err != nil {
		return fmt.Errorf("write job %s: %w", j.name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "module.yaml"), []byte(j.document()), 0o644); err != nil {
		return fmt.Errorf("write job %s: %w", j.name, err)
	}
	return s.Deploy(ctx, dir, j.name)
}

// end stops a server; what it complains about is logged, because the figures are taken already.
func (b *bench) end(s *binary.Server) {
	if err := s.Stop(); err != nil {
		b.log.Warn("server did not stop", "err", err)
	}
}
