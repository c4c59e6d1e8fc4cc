// Command bench runs system scenarios against the built weir and a real Kafka, and writes what it measured to
// bench/results.json and docs/benchmarks.md. `make bench` calls it; no test does.
//
// It hides load, clocks and the reading of /proc. Its invariant: a figure is written only when the same run's output was
// checked, record by record, and found exact; and every figure names its unit and, where there is one, its target. It owns
// the processes it starts. Micro-benchmarks are not here: they stand beside their code.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weir-run/weir/internal/kafkabroker"
)

// brokerPort is the port of the broker that a run starts, out of the way of Kafka's own.
const brokerPort = 25092

// bench is one run of all scenarios.
type bench struct {
	weir    string // path of the binary
	dir     string // of everything that is written while it runs
	kafka   string // address
	records int64
	keys    int64
	seconds int
	rate    int64 // records per second of scheduled load with large state or a hot key
	held    int64 // keys of the large state
	large   bool
	log     *slog.Logger
	results []result
}

// scenario measures one thing. It may add several results.
type scenario struct {
	name  string
	kafka bool // needs a broker
	run   func(*bench, context.Context) error
}

var scenarios = []scenario{
	{"engine", false, (*bench).engine},
	{"throughput", true, (*bench).throughput},
	{"latency", true, (*bench).latency},
	{"http", false, (*bench).invoke},
	{"pace", true, (*bench).pace},
	{"hotkey", true, (*bench).hotkey},
	{"hostile", false, (*bench).hostile},
	{"recovery", true, (*bench).recovery},
	{"state", true, (*bench).state},
	{"memory", true, (*bench).memory},
	{"idle", false, (*bench).idle},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	b := &bench{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	var only, kafka, version, work string
	flag.StringVar(&b.weir, "weir", "bin/weir", "the binary to measure")
	flag.StringVar(&only, "only", "", "scenarios, comma separated; empty runs all and writes the documents")
	flag.StringVar(&kafka, "kafka", "", "address of a broker that runs; empty starts one")
	flag.StringVar(&version, "kafka-version", kafkabroker.Version, "of the broker to start")
	flag.StringVar(&work, "dir", ".cache", "where files are written")
	flag.Int64Var(&b.records, "records", 6_000_000, "records of the throughput scenario")
	flag.Int64Var(&b.keys, "keys", 1_000_000, "distinct keys")
	flag.IntVar(&b.seconds, "seconds", 30, "of load in the latency scenarios")
	flag.Int64Var(&b.rate, "rate", 10_000, "records per second of load in the scenarios state and hotkey")
	flag.Int64Var(&b.held, "state-keys", 1_000_000, "keys of 100 bytes, key included, in the scenario state; a tenth as many for comparison")
	flag.BoolVar(&b.large, "large", false, "the scenarios of large state at the size of their goals, which take minutes, and documents of their own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	whole := only == ""
	if b.large {
		b.held, only = stateGoalKeys, cmp.Or(only, "state,memory")
	}
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	if err := b.prepare(ctx, work); err != nil {
		return err
	}
	b.kafka = kafka
	if kafka == "" && slices.ContainsFunc(chosen, func(s scenario) bool { return s.kafka }) {
		broker, err := b.startKafka(ctx, version)
		if err != nil {
			return err
		}
		defer func() {
			if err := broker.Stop(); err != nil {
				b.log.Warn("broker did not stop", "err", err)
			}
		}()
	}
	if err := b.all(ctx, chosen); err != nil {
		return err
	}
	if !whole {
		return nil
	}
	return b.write(version)
}

func choose(only string) ([]scenario, error) {
	if only == "" {
		return scenarios, nil
	}
	var chosen []scenario
	for _, name := range strings.Split(only, ",") {
		at := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
		if at < 0 {
			return nil, fmt.Errorf("no scenario %q", name)
		}
		chosen = append(chosen, scenarios[at])
	}
	return chosen, nil
}

// measured is how long scheduled load is timed.
func (b *bench) measured() time.Duration { return time.Duration(b.seconds) * time.Second }

// prepare makes an empty directory with the guests in it.
func (b *bench) prepare(ctx context.Context, work string) error {
	var err error
	if b.weir, err = filepath.Abs(b.weir); err != nil {
		return fmt.Errorf("find weir: %w", err)
	}
	if b.dir, err = filepath.Abs(filepath.Join(work, "bench")); err != nil {
		return fmt.Errorf("make work directory: %w", err)
	}
	if err := errors.Join(os.RemoveAll(b.dir), os.MkdirAll(b.dir, 0o755)); err != nil {
		return fmt.Errorf("make work directory: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-o", filepath.Join(b.dir, goGuest), "./internal/bench/guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the guest: %w: %s", err, out)
	}
	inC, err := os.ReadFile(filepath.Join("internal/bench/guest/c", cGuest))
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, cGuest), inC, 0o644)
	}
	if err != nil {
		return fmt.Errorf("copy the guest in C: %w", err)
	}
	return nil
}

func (b *bench) startKafka(ctx context.Context, version string) (*kafkabroker.Broker, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find kafka: %w", err)
	}
	broker, err := kafkabroker.Start(ctx, kafkabroker.Config{
		Version: version, Dir: filepath.Join(b.dir, "broker"), Port: brokerPort, Cache: filepath.Join(cache, "weir-kafka"), Heap: kafkabroker.UsualHeap,
	})
	if err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	b.kafka = broker.Address()
	return broker, nil
}

// all runs scenarios one after the other, each on a quiet machine. One that fails does not keep the others from running.
func (b *bench) all(ctx context.Context, chosen []scenario) error {
	var failed error
	for _, s := range chosen {
		if ctx.Err() != nil {
			return errors.Join(failed, ctx.Err())
		}
		quiet(ctx)
		from := time.Now()
		err := s.run(b, ctx)
		b.log.Info("scenario", "name", s.name, "seconds", int(time.Since(from).Seconds()), "err", err)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return failed
}
