package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/weir-run/weir/internal/binary"
	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/internal/kafkabroker"
)

const (
	// inputPartitions lets every parallelism up to it share the inputs; it is also the highest parallelism tried.
	inputPartitions = 8
	// outputPartitions make one outbox span several partitions, so that a torn commit shows.
	outputPartitions = 4
	// firstParallelism is that of the first deployment.
	firstParallelism = 2
)

// world is everything under proof: the broker, the server and the job.
type world struct {
	*options
	dir         string
	log         *os.File
	broker      *kafkabroker.Broker // nil on the embedded broker
	brokers     string              // address of the broker
	server      *binary.Server
	parallelism int
	version     int // which build of the guest is deployed
}

const (
	// dataDir is the server's, and guestFile the module of the job.
	dataDir   = "data"
	guestFile = "e2e.wasm"
)

func openWorld(ctx context.Context, o *options, dir string) (w *world, err error) {
	w = &world{options: o, dir: dir, parallelism: firstParallelism}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.log, err = os.Create(filepath.Join(dir, "weir.log")); err != nil {
		return w, fmt.Errorf("make a log: %w", err)
	}
	if err := w.build(ctx); err != nil {
		return w, err
	}
	if err := w.startBroker(ctx); err != nil {
		return w, err
	}
	if w.soak > 0 {
		if err := w.createTopics(ctx); err != nil {
			return w, err
		}
	}
	if err := w.writeJob(); err != nil {
		return w, err
	}
	config := binary.Config{Path: w.weir, Data: filepath.Join(dir, dataDir), Kafka: w.brokers, Log: w.log}
	if w.embedded {
		config.Dev = w.job()
	}
	if w.server, err = binary.Start(ctx, config); err != nil {
		return w, err
	}
	if !w.embedded {
		err = w.server.Deploy(ctx, w.job(), workload.Job)
	} else {
		err = w.server.WaitRunning(ctx, workload.Job)
	}
	return w, err
}

func (w *world) job() string { return filepath.Join(w.dir, "job") }

// build makes weir with its failpoints, unless one is given, and the guest.
func (w *world) build(ctx context.Context) error {
	if err := os.MkdirAll(w.job(), 0o700); err != nil {
		return fmt.Errorf("make the job's folder: %w", err)
	}
	if w.weir == "" {
		say("building weir with failpoints")
		w.weir = filepath.Join(w.dir, "weir")
		if err := goBuild(ctx, []string{"CGO_ENABLED=0"}, "-tags", "failpoint", "-o", w.weir, "./cmd/weir"); err != nil {
			return err
		}
	}
	if w.soak > 0 {
		for version, flags := range []string{"-ldflags=", "-ldflags=-s -w"} {
			if err := buildGuest(ctx, w.guest(version), flags); err != nil {
				return err
			}
		}
	}
	return buildGuest(ctx, filepath.Join(w.job(), guestFile), "-ldflags=")
}

// guest is a build of the functions that does the same and is another module.
func (w *world) guest(version int) string {
	return filepath.Join(w.dir, fmt.Sprintf("guest-%d.wasm", version))
}

func buildGuest(ctx context.Context, into, flags string) error {
	return goBuild(ctx, []string{"GOOS=wasip1", "GOARCH=wasm"}, "-buildmode=c-shared", flags, "-o", into, "./internal/e2e/guest")
}

func goBuild(ctx context.Context, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %v: %w: %s", args, err, out)
	}
	return nil
}

func (w *world) startBroker(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	w.brokers = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if w.embedded {
		return nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find the cache: %w", err)
	}
	say("starting Apache Kafka %s", w.kafka)
	w.broker, err = kafkabroker.Start(ctx, kafkabroker.Config{
		Version: w.kafka, Dir: filepath.Join(w.dir, "kafka"), Port: port, Cache: filepath.Join(cache, "weir-kafka"),
	})
	return err
}

// freePort is a port that nobody listens on, followed by one that nobody listens on either.
func freePort() (int, error) {
	for range 100 { // each try is a new port of the system's choice
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+1)))
		first.Close() // it was never used
		if err == nil {
			second.Close() // likewise
			return port, nil
		}
	}
	return 0, errors.New("find a free port: none with a free neighbour")
}

// writeJob writes module.yaml with the parallelism of the moment.
func (w *world) writeJob() error {
	address := w.brokers
	if w.embedded {
		address = "embedded"
	}
	text := fmt.Sprintf(`kind: weir.v1/job
spec: {name: %s, parallelism: %d}
---
kind: weir.v1/module
spec: {file: %[10]s}
---
kind: io.statefun.kafka.v1/ingress
spec:
  id: %[3]s
  address: %[4]s
  topics: [{topic: %[3]s, targets: [%[5]s], create: %[6]d}]
---
kind: io.statefun.kafka.v1/egress
spec: {id: %[7]s, address: %[4]s, create: %[9]d}
---
kind: io.statefun.kafka.v1/egress
spec: {id: %[8]s, address: %[4]s, create: %[9]d}
`, workload.Job, w.parallelism, workload.Inputs, address, workload.Source, inputPartitions, workload.Effects, workload.Acks, outputPartitions, guestFile)
	if err := os.WriteFile(filepath.Join(w.job(), "module.yaml"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the job: %w", err)
	}
	return nil
}

// rescale deploys the job with another parallelism. weir dev does it by itself when it sees the file.
func (w *world) rescale(ctx context.Context, parallelism int) error {
	w.parallelism = parallelism
	if err := w.writeJob(); err != nil || w.embedded {
		return err
	}
	if err := w.server.WaitRunning(ctx, workload.Job); err != nil {
		return err
	}
	return w.server.Deploy(ctx, w.job(), workload.Job)
}

func (w *world) close() error {
	var errs []error
	if w.server != nil {
		errs = append(errs, w.server.Kill())
	}
	if w.broker != nil {
		errs = append(errs, w.broker.Kill())
	}
	if w.log != nil {
		errs = append(errs, w.log.Close())
	}
	return errors.Join(errs...)
}
