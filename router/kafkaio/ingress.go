package kafkaio

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// IngressConfig describes the share that one task has of an ingress.
type IngressConfig struct {
	Ingress functions.Ingress
	Task    int
	Tasks   int
	// Positions are those of the checkpoint; those of other tasks and other ingresses are left out. They win over
	// Ingress.Start.
	Positions []router.Position
	// Started says that the ingress has run before, so that a partition without a position is one that appeared since
	// and is read from its beginning.
	Started bool
	Secrets Secrets // nil: credentials stand for themselves
	Dial    Dial    // nil is TCP
	Log     *slog.Logger
}

// partitionKey names a partition within an ingress.
type partitionKey struct {
	topic string
	id    int32
}

// Ingress reads the partitions of one task. It implements router.Ingress.
type Ingress struct {
	cfg   IngressConfig
	rules rules
	cl    *kgo.Client
	adm   *kadm.Client
	watch *watch
	spawn func(func(context.Context) error) // has Run start a goroutine and join it; set by Run

	ready  chan struct{} // capacity 1
	look   chan struct{} // capacity 1: asks for a discovery at once
	dirty  chan struct{} // capacity 1: offsets wait to be committed to the group
	failed chan error    // capacity 1: a batch that cannot be read
	finder finder        // owned by Run's discovery
	reader reader        // owned by the task

	mu       sync.Mutex // guards the fields below
	sources  map[partitionKey]*source
	fetchers map[int32]*fetcher // by broker
	queue    []*delivery        // fetched and not yet taken: at most one of each fetcher
	settled  bool
	bounds   bounds
	offsets  map[partitionKey]router.Position // committed, not yet told to the group
}

// OpenIngress checks cfg and makes an ingress. It does not connect: Run does.
func OpenIngress(cfg IngressConfig) (*Ingress, error) {
	if cfg.Tasks < 1 || cfg.Task < 0 || cfg.Task >= cfg.Tasks {
		return nil, fmt.Errorf("open ingress %s: task %d of %d", cfg.Ingress.ID, cfg.Task, cfg.Tasks)
	}
	rules, err := compileRules(cfg.Ingress.Topics)
	if err != nil {
		return nil, fmt.Errorf("open ingress %s: %w", cfg.Ingress.ID, err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = cfg.Log.With("ingress", cfg.Ingress.ID)
	i := &Ingress{
		cfg: cfg, rules: rules, watch: newWatch(cfg.Log),
		ready: make(chan struct{}, 1), look: make(chan struct{}, 1), dirty: make(chan struct{}, 1), failed: make(chan error, 1),
		sources: map[partitionKey]*source{}, fetchers: map[int32]*fetcher{}, offsets: map[partitionKey]router.Position{},
		bounds: bounds{topics: map[string]bool{}},
		reader: reader{maxBytes: cfg.Ingress.Invalid.MaxBytes, plain: &room{}, names: map[string]string{}},
	}
	i.finder.started = cfg.Started
	i.finder.adopt(i, cfg.Positions)
	opts, err := options(cfg.Ingress.Cluster, cfg.Secrets, "weir-ingress", i.watch, cfg.Dial)
	if err != nil {
		return nil, fmt.Errorf("open ingress %s: %w", cfg.Ingress.ID, err)
	}
	i.cl, err = kgo.NewClient(append(opts, kgo.WithPools(i.reader.plain), kgo.MaxDecompressBatchBytes(maxPlainBytes))...)
	if err != nil {
		return nil, fmt.Errorf("open ingress %s: %w", cfg.Ingress.ID, err)
	}
	i.adm = kadm.NewClient(i.cl)
	i.reader.codec = i.cl.OptValue(kgo.WithDecompressor).(kgo.Decompressor) // the library's, with the bound and the room above
	return i, nil
}

// Run implements router.Ingress.
func (i *Ingress) Run(ctx context.Context) error {
	defer i.cl.Close()
	group, ctx := errgroup.WithContext(ctx)
	i.spawn = func(f func(context.Context) error) { group.Go(func() error { return f(ctx) }) }
	group.Go(func() error { return i.discover(ctx) })
	group.Go(func() error { return i.commitOffsets(ctx) })
	group.Go(func() error {
		select {
		case err := <-i.watch.refused:
			return err
		case err := <-i.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("ingress %s: %w", i.cfg.Ingress.ID, err)
	}
	return nil
}

// Ready implements router.Ingress.
func (i *Ingress) Ready() <-chan struct{} { return i.ready }

// Positions implements router.Ingress.
func (i *Ingress) Positions() ([]router.Position, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p := make([]router.Position, 0, len(i.sources))
	for _, s := range i.sources {
		p = append(p, s.start)
	}
	return p, i.settled
}

// owns says whether a partition belongs to this task: stable for a name, whatever else exists.
func (i *Ingress) owns(k partitionKey) bool {
	h := fnv.New32a()
	h.Write([]byte(k.topic)) // a hash never fails
	return (uint64(h.Sum32())+uint64(k.id))%uint64(i.cfg.Tasks) == uint64(i.cfg.Task)
}
