package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/runtime/jobmanager"
)

// brokerFolder holds the log of the embedded broker, inside of the data directory.
const brokerFolder = "kafka"

// dev runs everything in one process, and deploys the function in a folder whenever its source changes.
func (s *shell) dev() *cobra.Command {
	var file string
	flags := configFlags(".weir", "127.0.0.1:9092", "where the embedded broker listens")
	cmd := &cobra.Command{
		Use:   "dev [FOLDER]",
		Short: "Run everything in one process, and reload the function in FOLDER when it is saved",
		Long: `Runs the server together with a broker that any Kafka client can use, builds and deploys the function in FOLDER (the
current one by default), and does so again whenever its source changes: state is kept. What it keeps is in .weir: it goes
on from there when it is started again. It is not for production.`,
		Example: `  weir new counter && cd counter && weir dev
  weir dev ./counter --listen 127.0.0.1:9999`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := s.loadConfig(s.configFile(file), flags)
			if err != nil {
				return err
			}
			folder := s.dir
			if len(args) == 1 {
				folder = s.path(args[0])
			}
			if err := s.holdsFunction(folder); err != nil {
				return err
			}
			return s.runDev(cmd.Context(), folder, set)
		},
	}
	// What the lines on standard output tell need not be told twice.
	flags.Lookup("log-level").DefValue = "warn"
	if err := flags.Lookup("log-level").Value.Set("warn"); err != nil {
		panic(fmt.Sprintf("weir: default of --log-level: %v", err))
	}
	cmd.Flags().AddFlagSet(flags)
	cmd.Flags().StringVar(&file, "config", "", "configuration file (environment: WEIR_CONFIG)")
	return cmd
}

func (s *shell) runDev(ctx context.Context, folder string, set *settings) (err error) {
	if err := s.resolve(set); err != nil {
		return err
	}
	log := set.logger(s.err)
	for _, name := range set.ignored {
		log.Warn("environment variable is not known", "name", name)
	}
	held, err := lock(set.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	broker, err := kafkaio.StartEmbedded(ctx, kafkaio.EmbeddedConfig{
		Dir: filepath.Join(set.Data, brokerFolder), Address: set.Kafka, Log: log,
	})
	if err != nil {
		return portFailure(err, set.Kafka, "--kafka")
	}
	defer broker.Close()
	p, err := s.openProcess(ctx, set, log, wiring{
		Config: set.Config, Log: log, Broker: functions.Cluster{Address: broker.Address()}, Embedded: true, Tiered: true, Secrets: s.secret,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	d := &developer{
		shell: s, folder: folder,
		api:    newClient("http://" + p.control.Addr()),
		banner: fmt.Sprintf("http://%s   data plane  http://%s   kafka  %s (embedded)", p.control.Addr(), p.dataPlane.Addr(), broker.Address()),
		data:   s.shown(set.Data),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.run(ctx) })
	group.Go(func() error { return d.run(ctx) })
	return group.Wait()
}

// developer builds and deploys one folder as long as weir dev runs. What is wrong with the function is told, and waits to
// be repaired; only what is wrong with the server ends it.
type developer struct {
	*shell
	folder string
	data   string
	api    *client
	banner string // addresses of the API, of the data plane and of the broker
	runs   bool   // the folder's job has been deployed in this run
	job    string // its name then
}

func (d *developer) run(ctx context.Context) error {
	d.line("weir "+releaseVersion(), "dev mode: one process, data in "+d.data+", not for production")
	d.line("api", d.banner)
	err := d.loop(ctx)
	if ctx.Err() != nil {
		return nil // it was asked to end
	}
	return err
}

func (d *developer) loop(ctx context.Context) error {
	w, err := watch(d.folder, nil)
	if err != nil {
		return err
	}
	defer w.close() // it only listened
	w.ignoreOwn(d.out, d.err)
	if err := d.ready(ctx); err != nil {
		return err
	}
	if err := d.tellRestored(ctx); err != nil {
		return err
	}
	for {
		if err := d.refresh(ctx, w); err != nil && ctx.Err() == nil {
			report(d.err, d.colour(), err)
			d.line("broken", "waiting for a change in "+d.shown(d.folder))
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

func (d *developer) line(word, text string) { fmt.Fprintf(d.out, "  %-9s %s\n", word, text) }

// pollInterval is how often a state that takes milliseconds is asked for.
const pollInterval = 20 * time.Millisecond

// ready waits until jobs can be deployed.
func (d *developer) ready(ctx context.Context) error {
	return poll(ctx, d.timeout, func() (bool, error) { return d.api.get(ctx, nil, "readyz") == nil, nil })
}

// poll asks until the answer is yes.
func poll(ctx context.Context, limit time.Duration, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticks.C:
		}
	}
}

// settled waits until a job runs, or until it says what it waits for or why it does not run.
func (c *client) settled(ctx context.Context, limit time.Duration, name string) (job jobmanager.JobView, err error) {
	err = poll(ctx, limit, func() (bool, error) {
		job = jobmanager.JobView{}
		if err := c.get(ctx, &job, "v1", "jobs", name); err != nil {
			return false, err
		}
		return job.State != jobmanager.Created && job.State != jobmanager.Restarting || job.Waiting != "" || job.Error != "", nil
	})
	return job, err
}

// tellRestored says from where jobs of an earlier run go on.
func (d *developer) tellRestored(ctx context.Context) error {
	var jobs []jobmanager.JobView
	if err := d.api.get(ctx, &jobs, "v1", "jobs"); err != nil {
		return err
	}
	for i := range jobs {
		job, err := d.api.settled(ctx, d.timeout, jobs[i].Name)
		if err != nil {
			return err
		}
		if r := job.Restored; r != nil {
			d.line("restored", restoredText(job.Name, r))
		}
	}
	return nil
}

// restoredText says what a checkpoint held. How many records come after it is not known until they are read again.
func restoredText(job string, r *jobmanager.RestoredView) string {
	return fmt.Sprintf("job %s from checkpoint %s in %s: %s and %s under way; records after it are read again",
		job, count(r.Checkpoint), millis(r.Millis), plural(r.Keys, "value"), plural(r.Messages, "message"))
}

// refresh builds and deploys what the folder holds.
func (d *developer) refresh(ctx context.Context, w *watcher) error {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	p, err := d.planFor(d.folder)
	if err != nil {
		return err
	}
	for i := range p.modules {
		if p.modules[i].source {
			w.ignore[p.modules[i].file] = true
		}
	}
	var all []built
	err = d.during("compiling "+p.modules[0].name(), func() error {
		all, err = p.build(ctx, d.shell)
		return err
	})
	if err != nil {
		return err
	}
	compiled := time.Now()
	var done deployed
	err = d.during("preparing "+p.modules[0].name(), func() error {
		done, err = d.api.deploy(ctx, p, false)
		return err
	})
	if err != nil {
		return d.renamed(p, err)
	}
	if d.runs {
		d.tellReload(&done, time.Since(started))
		d.tellRest(&done)
		return nil
	}
	d.runs, d.job = true, done.Job
	ready := span(time.Since(compiled))
	for i := range all {
		d.line("built", all[i].summary()+"; ready "+ready+" later")
	}
	d.line("deployed", "job "+flow(done.job))
	d.tellRest(&done)
	return nil
}

// tellRest says why a job does not run, or not yet.
func (d *developer) tellRest(done *deployed) {
	switch {
	case done.Waiting != "":
		d.line("waiting", done.Waiting)
	case done.State != "":
		d.line(done.State, done.Error)
		if done.Error != "" {
			d.line("see", see(restDocs))
		}
	}
}

// renamed tells who renames the job of the folder that the one in the way is the same under its former name.
func (d *developer) renamed(p *plan, err error) error {
	var problem *router.Problem
	if !errors.As(err, &problem) || problem.Type != "function-taken" || p.job == nil || d.job == "" || p.job.Name == d.job ||
		!strings.Contains(problem.Detail, "job "+d.job+" ") {
		return err
	}
	return failed(fmt.Sprintf("the job of this folder was deployed as %s, and %s is another job with the same functions", d.job, p.job.Name),
		"name it "+d.job+" again to keep its state",
		"or give that up: weir stop "+d.job+" && weir delete "+d.job+", then save again")
}

func (d *developer) tellReload(done *deployed, took time.Duration) {
	names := strings.Join(functionTypes(done.job), " ")
	if done.Unchanged {
		d.line("unchanged", names+" is the same module")
		return
	}
	d.line("reloaded", fmt.Sprintf("%s in %s, state kept", names, span(took)))
}

// flow is a job on one line: what it reads, what runs, what it writes.
func flow(job *functions.Job) string {
	var from, to []string
	for _, in := range job.Ingresses {
		for _, t := range in.Topics {
			from = append(from, "topic "+t.Topic+t.Pattern)
		}
	}
	from = append(from, "http")
	for _, out := range job.Egresses {
		for _, topic := range out.Topics {
			to = append(to, "topic "+topic)
		}
	}
	text := fmt.Sprintf("%s: %s <- %s", job.Name, strings.Join(functionTypes(job), " "), strings.Join(from, ", "))
	if len(to) > 0 {
		text += "   -> " + strings.Join(to, ", ")
	}
	return text
}
