package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	roles "github.com/weir-run/weir/runtime"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/resourcemanager"
	"github.com/weir-run/weir/runtime/taskmanager"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
	"github.com/weir-run/weir/statestore/memory"
)

// Folders of a data directory.
const (
	checkpointFolder = "checkpoints"
	moduleFolder     = "modules"
	cacheFolder      = "cache"
)

// embeddedAddress is how jobs name the broker that the server itself brings or is told of.
const embeddedAddress = "embedded"

// wire names the implementation behind every contract.
func wire(w wiring) (*node, error) {
	storage, err := checkpoint.Directory(filepath.Join(w.Config.Data, checkpointFolder))
	if err == nil {
		err = storage.Recycle() // the lock of the data directory keeps others out
	}
	if err != nil {
		return nil, err
	}
	engine, err := wasm.New(wasm.Config{CacheDir: filepath.Join(w.Config.Data, cacheFolder), Log: w.Log, Drafts: w.Tiered})
	if err != nil {
		return nil, err
	}
	cache := newModuleCache(engine, w.Tiered, w.Log)
	modules, err := deploy.OpenModules(filepath.Join(w.Config.Data, moduleFolder), cache.prepare)
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	cache.read = modules.Get
	load := cache.load
	if w.Config.PProf != "" {
		load = profiled(load)
	}
	network := roles.Local()
	a := &adapters{wiring: w}
	tasks := taskmanager.New(network.Join("taskmanager-1"), taskmanager.Config{
		Slots: w.Config.Slots, Storage: storage, Log: w.Log,
		State: func(from, to functions.KeyGroup) statestore.Backend {
			return memory.New(memory.Config{From: from, To: to})
		},
		Ingress: a.ingress, Egress: a.egress, Modules: load, Meter: w.Telemetry.meter, Tracing: w.Telemetry.tracing,
	})
	resources := resourcemanager.New(network.Join(roles.ResourceManager), w.Log)
	jobs := jobmanager.New(network.Join(roles.JobManager), jobmanager.Config{
		Storage: storage, Cores: runtime.GOMAXPROCS(0), Check: a.check, Dispatch: tasks.Dispatch, Letters: a.letters, Log: w.Log,
		Meter: w.Telemetry.meter, Tracing: w.Telemetry.tracing,
	})
	return &node{
		Run: func(ctx context.Context) error {
			group, ctx := errgroup.WithContext(ctx)
			group.Go(func() error { return runRoles(ctx, jobs, resources, tasks) })
			if w.Tiered {
				group.Go(func() error { return cache.run(ctx) })
			}
			return group.Wait()
		},
		Controller: jobs, Dispatch: jobs.Dispatch(tasks.Dispatch), Modules: modules,
		Close: func() error { return errors.Join(cache.close(), engine.Close(), storage.Close()) },
	}, nil
}

// runRoles runs the JobManager until ctx is done and it has drained its jobs; the others outlive it, since they do the
// draining.
func runRoles(ctx context.Context, jobs *jobmanager.Manager, resources *resourcemanager.Manager, tasks *taskmanager.Manager) error {
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error { return tasks.Run(serving) })
	group.Go(func() error { return resources.Run(serving) })
	group.Go(func() error { return jobs.Run(serving) })
	group.Go(func() error {
		defer end()
		select {
		case <-serving.Done(): // a role that fails ends the others
			return nil
		case <-ctx.Done():
			return jobs.Drain(serving)
		}
	})
	return group.Wait()
}

// adapters makes the adapters of jobs.
type adapters struct{ wiring }

// cluster replaces the address that stands for the server's own broker. What the job does not say of TLS and SASL is
// as the server has it.
func (a *adapters) cluster(c functions.Cluster) (functions.Cluster, bool, error) {
	if c.Address != embeddedAddress {
		return c, false, nil
	}
	if a.Broker.Address == "" {
		return c, false, &router.Problem{Type: "no-broker", Title: "the job names no broker", Status: http.StatusConflict,
			Detail: "the job means the server's own broker, but it has none: set spec.address in module.yaml, or start weir server with --kafka"}
	}
	c.Address = a.Broker.Address
	if c.TLS == nil {
		c.TLS = a.Broker.TLS
	}
	if c.SASL == nil {
		c.SASL = a.Broker.SASL
	}
	return c, a.Embedded, nil
}

func (a *adapters) ingress(r *taskmanager.IngressRequest) (router.Ingress, error) {
	spec := *r.Spec
	var err error
	if spec.Cluster, _, err = a.cluster(spec.Cluster); err != nil {
		return nil, err
	}
	return kafkaio.OpenIngress(kafkaio.IngressConfig{
		Ingress: spec, Task: r.Task, Tasks: r.Tasks, Positions: r.Positions, Started: r.Started, Secrets: a.Secrets, Log: r.Log,
	})
}

func (a *adapters) egress(r *taskmanager.EgressRequest) (router.Egress, error) {
	cluster, embedded, err := a.cluster(r.Cluster)
	if err != nil {
		return nil, err
	}
	config := kafkaio.EgressConfig{Cluster: cluster, TxnTimeout: r.TxnTimeout, Embedded: embedded, Secrets: a.Secrets, Log: r.Log}
	for topic, create := range r.Topics {
		config.Topics = append(config.Topics, kafkaio.EgressTopic{Name: topic, Create: create, Compression: r.Compression[topic]})
	}
	slices.SortFunc(config.Topics, func(x, y kafkaio.EgressTopic) int { return strings.Compare(x.Name, y.Name) })
	return kafkaio.OpenEgress(config)
}
