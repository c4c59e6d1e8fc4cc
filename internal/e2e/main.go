// Command e2e proves exactly-once from outside: it runs the workload on a built weir and a real Apache Kafka, or on weir
// dev and its embedded broker, kills everything again and again while records flow, and judges what is left with package
// history.
//
// It hides how faults are made. Its invariant: what it reports was read back from the topics, under read_committed, and
// from the API after everything came to rest; nothing is believed because it was sent. The last line it prints is the
// verdict, and it exits with 0 only when that line says that nothing was lost, doubled or out of order.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/kafkabroker"
)

// options are the command line.
type options struct {
	kafka       string
	embedded    bool
	kills       int
	brokerKills int
	records     int
	rate        int
	seed        uint64
	weir        string
	keep        bool
	soak        time.Duration // 0 runs the proof
	report      string
}

func parse() (*options, error) {
	o := &options{}
	flag.StringVar(&o.kafka, "kafka", kafkabroker.Version, "version of Apache Kafka")
	flag.BoolVar(&o.embedded, "embedded", false, "run weir dev with its embedded broker in place of Apache Kafka")
	flag.IntVar(&o.kills, "kills", 30, "how often weir is killed; half of them at the failpoints of a commit")
	flag.IntVar(&o.brokerKills, "broker-kills", 5, "how often the broker is killed; the embedded one dies with weir")
	flag.IntVar(&o.records, "records", 200_000, "input records")
	flag.IntVar(&o.rate, "rate", 1500, "input records a second")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of the inputs and faults")
	flag.StringVar(&o.weir, "weir", "", "a weir built with -tags failpoint; empty builds one")
	flag.BoolVar(&o.keep, "keep", false, "keep data and logs also when all is well")
	flag.DurationVar(&o.soak, "soak", 0, "run a soak for so long in place of the proof: kills, stops, deployments, and a look at what grows")
	flag.StringVar(&o.report, "report", "bench/soak.md", "where a soak writes its report")
	flag.Parse()
	if o.embedded {
		o.brokerKills = 0
	}
	if o.soak != 0 && (o.soak < shortestSoak || o.embedded) {
		return nil, fmt.Errorf("e2e: wrong usage: a soak takes at least %v, and Apache Kafka", shortestSoak)
	}
	if flag.NArg() > 0 || o.kills < 2*len(failpoints) || o.records < 1000 || o.rate < 1 || o.brokerKills < 0 {
		return nil, fmt.Errorf("e2e: wrong usage: at least %d kills, so that each failpoint is hit, and 1000 records", 2*len(failpoints))
	}
	return o, nil
}

func main() {
	o, err := parse()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := prove(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
}

var errBad = errors.New("the history is bad")

func prove(ctx context.Context, o *options) (err error) {
	dir, err := os.MkdirTemp("", "weir-e2e-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() {
		if err != nil || o.keep {
			fmt.Fprintf(os.Stderr, "e2e: data and logs are in %s\n", dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	say("seed %d", o.seed)
	w, err := openWorld(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if o.soak > 0 {
		return w.soakAndReport(ctx)
	}
	return w.proveOnce(ctx)
}

func (w *world) proveOnce(ctx context.Context) error {
	r, err := w.run(ctx)
	if err != nil {
		return err
	}
	verdict := history.Check(&r.history)
	tell(&verdict)
	say("failpoints hit %v, parallelism changed %d times, %d %% through while faults ran", r.hits, r.rescales, r.throughPercent)
	fmt.Println("e2e: " + lastLine(&r.tally, &verdict))
	if !verdict.Good() {
		return errBad
	}
	return r.enough(w.options)
}

// tell prints what was found and the totals.
func tell(v *history.Verdict) {
	for _, detail := range v.Details {
		fmt.Println("e2e:", detail)
	}
	say("%s", v.String())
}

func lastLine(t *tally, v *history.Verdict) string {
	return fmt.Sprintf("worker kills %d, broker kills %d, records %d, lost %d, doubled %d, out of order %d",
		t.workerKills, t.brokerKills, v.Records, v.Lost, v.Doubled, v.OutOfOrder)
}

// say tells progress, with the time of day, on standard error.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().UTC().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}
