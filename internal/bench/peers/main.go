// Command peers runs Weir and other systems on the same keyed counter, in turn, in one run, against one real Kafka, and
// writes what it measured to bench/peers.json and into docs/peers.md. `make bench-peers` calls it; no test does.
//
// It hides how each system is fetched, started and stopped, and how its work is measured from outside: end offsets, /proc,
// and a read_committed consumer. Its invariants: every system gets the same records from the same broker; a figure is
// written only when that run's output was checked and nothing of it was lost or doubled; a system that cannot be fetched,
// started or trusted has a row that says so. It owns the processes it starts. The peers' programs are in bench/peers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/weir-run/weir/internal/bench/peers/tally"
	"github.com/weir-run/weir/internal/kafkabroker"
)

// brokerPort is the port of the broker that a run starts, out of the way of Kafka's own and of other benchmarks'.
const brokerPort = 25192

// contest is one run of all systems.
type contest struct {
	dir      string // of everything that is written while it runs
	brokers  string
	records  int64 // of a throughput run behind its first, equal pass; 0 leaves throughput out
	seconds  int   // of a latency run behind its first, equal pass, and of a pass of calls; 0 leaves both out
	keys     int64
	tasks    int // of each system
	kafka    *topics
	log      *slog.Logger
	systems  map[string]system
	answer   map[string]answering
	versions map[string]string
	unfit    map[string]error // why a system could not be prepared
	brokerIs string           // its version, as far as it is known
	rows     []row
	callRows []callRow
	written  map[string]bool // topics that hold the records of throughput runs
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run() error {
	c := &contest{log: slog.New(slog.NewTextHandler(os.Stderr, nil)), versions: map[string]string{}, unfit: map[string]error{}, written: map[string]bool{}}
	var only, delivery, kafka, work, weir string
	flag.StringVar(&weir, "weir", "bin/weir", "the binary to measure")
	flag.StringVar(&only, "only", "", "systems beside weir, comma separated; empty runs all and writes the documents")
	flag.StringVar(&delivery, "delivery", "", "exactly-once or at-least-once; empty runs both and writes the documents")
	flag.StringVar(&kafka, "kafka", "", "address of a broker that runs; empty starts one")
	flag.StringVar(&work, "dir", ".cache", "where files are written")
	flag.Int64Var(&c.records, "records", 20_000_000, "records of a throughput run, behind as many that warm it up; 0 leaves throughput out")
	flag.IntVar(&c.seconds, "seconds", 60, "of load of a latency run, behind as many that warm it up, and of calls; 0 leaves both out")
	flag.Int64Var(&c.keys, "keys", 1_000_000, "distinct keys")
	flag.IntVar(&c.tasks, "tasks", 2, "tasks or threads of each system")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	chosen, err := choose(only, delivery)
	if err != nil {
		return err
	}
	if c.keys < 1 || c.keys > tally.MaxKeys || c.tasks < 1 || c.records < 0 || c.seconds < 0 {
		return fmt.Errorf("-keys must be 1 to %d, -tasks at least 1, -records and -seconds not negative", tally.MaxKeys)
	}
	calling := chooseCalls(only, delivery)
	if c.seconds == 0 {
		calling = nil
	}
	if err := c.prepare(ctx, work, weir, chosen, calling); err != nil {
		return err
	}
	failed := c.count(ctx, kafka, chosen)
	if failed != nil && len(c.rows) == 0 {
		return failed // no broker, and nothing to write
	}
	failed = errors.Join(failed, c.call(ctx, calling))
	if only == "" && delivery == "" && ctx.Err() == nil {
		failed = errors.Join(failed, c.write())
	}
	return failed
}

// count runs what goes from Kafka to Kafka.
func (c *contest) count(ctx context.Context, kafka string, chosen []entry) (err error) {
	if len(chosen) == 0 {
		return nil
	}
	c.brokers, c.brokerIs = kafka, "at "+kafka
	if kafka == "" {
		broker, err := c.startKafka(ctx)
		if err != nil {
			return err
		}
		defer func() {
			if err := broker.Stop(); err != nil {
				c.log.Warn("broker did not stop", "err", err)
			}
		}()
	}
	if c.kafka, err = dial(c.brokers); err != nil {
		return err
	}
	defer c.kafka.close()
	return c.all(ctx, chosen)
}

// choose keeps the entries of the systems and the guarantee asked for. Weir takes part beside any other: without it there is
// no ratio. None is left when all that are asked for answer calls alone.
func choose(only, delivery string) ([]entry, error) {
	if delivery != "" && delivery != exactlyOnce && delivery != atLeastOnce {
		return nil, fmt.Errorf("delivery %q: want %s or %s", delivery, exactlyOnce, atLeastOnce)
	}
	names := strings.Split(only, ",")
	some := only == ""
	for _, name := range names {
		counts := slices.ContainsFunc(lineup, func(e entry) bool { return e.System == name })
		if only != "" && !counts && !slices.Contains(callLineup, name) {
			return nil, fmt.Errorf("no system %q", name)
		}
		some = some || counts
	}
	var chosen []entry
	for _, e := range lineup {
		if some && (only == "" || e.System == weirName || slices.Contains(names, e.System)) && (delivery == "" || e.Delivery == delivery) {
			chosen = append(chosen, e)
		}
	}
	return chosen, nil
}

// chooseCalls is choose for the systems that answer calls, which are exactly-once.
func chooseCalls(only, delivery string) []string {
	names := strings.Split(only, ",")
	if delivery == atLeastOnce || only != "" && !slices.ContainsFunc(callLineup, func(name string) bool { return slices.Contains(names, name) }) {
		return nil
	}
	var chosen []string
	for _, name := range callLineup {
		if only == "" || name == weirName || slices.Contains(names, name) {
			chosen = append(chosen, name)
		}
	}
	return chosen
}

// prepare makes an empty directory and brings every system that takes part. One that cannot be brought is told in its rows.
func (c *contest) prepare(ctx context.Context, work, weir string, chosen []entry, calling []string) error {
	var err error
	if c.dir, err = filepath.Abs(filepath.Join(work, "peers")); err != nil {
		return fmt.Errorf("make work directory: %w", err)
	}
	if err := errors.Join(os.RemoveAll(c.dir), os.MkdirAll(c.dir, 0o755)); err != nil {
		return fmt.Errorf("make work directory: %w", err)
	}
	if weir, err = filepath.Abs(weir); err != nil {
		return fmt.Errorf("find weir: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fmt.Errorf("find a place for the peers' libraries: %w", err)
	}
	cache = filepath.Join(cache, "weir-peers")
	own := &weirSystem{binary: weir, dir: c.dir}
	c.systems = map[string]system{
		weirName:   own,
		"flink":    &javaSystem{name: "flink", library: "flink-streaming-java", cache: cache, dir: c.dir, options: flinkOptions},
		"statefun": &javaSystem{name: "statefun", library: "statefun-flink-harness", cache: cache, dir: c.dir, options: flinkOptions},
		"kstreams": &javaSystem{name: "kstreams", library: "kafka-streams", cache: cache, dir: c.dir},
	}
	c.answer = map[string]answering{weirName: own, restateName: &restateSystem{cache: cache}}
	for _, e := range chosen {
		c.bring(ctx, e.System, c.systems[e.System].prepare)
	}
	for _, name := range calling {
		c.bring(ctx, name, c.answer[name].prepare)
	}
	return ctx.Err()
}

// bring prepares a system once.
func (c *contest) bring(ctx context.Context, name string, prepare func(context.Context) (string, error)) {
	if c.versions[name] != "" || c.unfit[name] != nil {
		return
	}
	var err error
	if c.versions[name], err = prepare(ctx); err != nil {
		c.log.Error("system cannot take part", "system", name, "err", err)
		c.unfit[name] = err
	}
}

func (c *contest) startKafka(ctx context.Context) (*kafkabroker.Broker, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find kafka: %w", err)
	}
	broker, err := kafkabroker.Start(ctx, kafkabroker.Config{
		Dir: filepath.Join(c.dir, "broker"), Port: brokerPort, Cache: filepath.Join(cache, "weir-kafka"), Heap: kafkabroker.UsualHeap,
	})
	if err != nil {
		return nil, err
	}
	c.brokers, c.brokerIs = broker.Address(), kafkabroker.Version
	return broker, nil
}
