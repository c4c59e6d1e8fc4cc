package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

const (
	// fetchBytes bounds one fetch of one broker, and so what is buffered: one fetch per broker and the one in work.
	fetchBytes = 8 << 20
	// fetchPartitionBytes is the protocol's usual share of one partition; a larger batch still comes whole.
	fetchPartitionBytes = 1 << 20
	// pollRecords bounds what waits between the fetching goroutine and the task: enough for some guest batches.
	pollRecords = 2048
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
	Log     *slog.Logger
}

// partitionKey names a partition within an ingress.
type partitionKey struct {
	topic string
	id    int32
}

// source is one partition that the task owns. Only next changes once it is fetched from.
type source struct {
	start router.Position
	rule  int   // index into functions.Ingress.Topics
	next  int64 // after the last record fetched; guarded by Ingress.mu
}

// run is a run of records of one source.
type run struct {
	src       *source
	records   []*kgo.Record
	highWater int64
}

// Ingress reads the partitions of one task. It implements router.Ingress.
type Ingress struct {
	cfg   IngressConfig
	rules rules
	cl    *kgo.Client
	adm   *kadm.Client
	watch *watch

	ready    chan struct{} // capacity 1
	handoff  chan []run    // capacity 1: a task that does not poll stops the fetching behind it
	look     chan struct{} // capacity 1: asks for a discovery at once
	dirty    chan struct{} // capacity 1: offsets wait to be committed to the group
	finder   finder        // owned by Run's discovery
	runs     []run         // owned by the task: what Poll has taken
	at       int           // owned by the task: the run being handed out
	given    []*kgo.Record // owned by the task: what the last Poll handed out
	fetch    router.Fetch  // owned by the task, reused
	records  []router.Record
	headers  []router.Header
	maxBytes int

	mu      sync.Mutex // guards the fields below
	sources map[partitionKey]*source
	settled bool
	offsets map[partitionKey]router.Position // committed, not yet told to the group
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
	cfg.Log = cfg.Log.With("ingress", cfg.Ingress.ID, "task", cfg.Task)
	i := &Ingress{
		cfg: cfg, rules: rules, watch: newWatch(cfg.Log), maxBytes: cfg.Ingress.Invalid.MaxBytes,
		ready: make(chan struct{}, 1), handoff: make(chan []run, 1), look: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
		sources: map[partitionKey]*source{}, offsets: map[partitionKey]router.Position{},
	}
	i.finder.started = cfg.Started
	i.finder.adopt(i, cfg.Positions)
	opts, err := options(cfg.Ingress.Cluster, cfg.Secrets, "weir-ingress", i.watch)
	if err != nil {
		return nil, fmt.Errorf("open ingress %s: %w", cfg.Ingress.ID, err)
	}
	i.cl, err = kgo.NewClient(append(opts,
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // so that a position moves past them, and is not left behind when they expire
		kgo.WithPools(&pool{}),
		kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchPartitionBytes),
	)...)
	if err != nil {
		return nil, fmt.Errorf("open ingress %s: %w", cfg.Ingress.ID, err)
	}
	i.adm = kadm.NewClient(i.cl)
	return i, nil
}

// Run implements router.Ingress.
func (i *Ingress) Run(ctx context.Context) error {
	defer i.cl.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return i.pump(ctx) })
	group.Go(func() error { return i.discover(ctx) })
	group.Go(func() error { return i.commitOffsets(ctx) })
	group.Go(func() error {
		select {
		case err := <-i.watch.refused:
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

// Poll implements router.Ingress.
func (i *Ingress) Poll(max int) *router.Fetch {
	for _, k := range i.given {
		k.Recycle()
	}
	i.given = nil
	if i.at == len(i.runs) {
		select {
		case i.runs = <-i.handoff:
			i.at = 0
		default:
			i.runs, i.at = nil, 0
			return nil
		}
	}
	r := &i.runs[i.at]
	n := min(max, len(r.records))
	i.given = r.records[:n]
	i.view(r, i.given)
	if r.records = r.records[n:]; len(r.records) == 0 {
		i.at++
	}
	token(i.ready)
	return &i.fetch
}

// view fills i.fetch with views of records.
func (i *Ingress) view(r *run, records []*kgo.Record) {
	i.records, i.headers = i.records[:0], i.headers[:0]
	for _, k := range records {
		if k.Attrs.IsControl() {
			continue
		}
		from, size := len(i.headers), len(k.Key)+len(k.Value)
		for _, h := range k.Headers {
			i.headers = append(i.headers, router.Header(h))
			size += len(h.Key) + len(h.Value)
		}
		i.records = append(i.records, router.Record{
			Key: k.Key, Value: k.Value, Headers: i.headers[from:len(i.headers):len(i.headers)],
			Time: k.Timestamp.UnixMilli(), Offset: k.Offset,
			Oversized: i.maxBytes > 0 && size > i.maxBytes,
		})
	}
	last := records[len(records)-1]
	next := r.src.start
	next.Offset, next.LeaderEpoch = last.Offset+1, last.LeaderEpoch
	i.fetch = router.Fetch{
		Partition: r.src.start.Partition, Topic: r.src.rule, Records: i.records, Next: next, HighWater: r.highWater,
	}
}

// pump hands what the client has fetched to the task, one poll ahead of it at most.
func (i *Ingress) pump(ctx context.Context) error {
	failures := 0
	for {
		fetches := i.cl.PollRecords(ctx, pollRecords)
		if ctx.Err() != nil {
			return nil
		}
		runs, err := i.sort(fetches)
		if err != nil {
			if err := i.judge(ctx, err); err != nil {
				return err
			}
			if failures++; pause(ctx, failures+4) != nil {
				return nil
			}
		}
		if len(runs) == 0 {
			continue
		}
		failures = 0
		select {
		case i.handoff <- runs:
			token(i.ready)
		case <-ctx.Done():
			return nil
		}
	}
}

// fetchError is what a fetch said of one partition.
type fetchError struct {
	partitionKey
	err error
}

func (e *fetchError) Error() string {
	return fmt.Sprintf("fetch %s[%d]: %v", e.topic, e.id, e.err)
}

func (e *fetchError) Unwrap() error { return e.err }

// sort splits fetches into runs; the first error of a partition comes back with those of the others.
func (i *Ingress) sort(fetches kgo.Fetches) (runs []run, first error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		key := partitionKey{p.Topic, p.Partition}
		if p.Err != nil && first == nil {
			first = &fetchError{key, p.Err}
		}
		if src := i.sources[key]; src != nil && len(p.Records) > 0 {
			runs = append(runs, run{src, p.Records, p.HighWatermark})
			src.next = p.Records[len(p.Records)-1].Offset + 1
		}
	})
	return runs, first
}

// judge decides whether an error of a fetch ends the attempt (it comes back, named) or heals by itself (nil).
func (i *Ingress) judge(ctx context.Context, err error) error {
	var f *fetchError
	if !errors.As(err, &f) {
		return err
	}
	var loss *kgo.ErrDataLoss
	switch {
	case isAuth(err):
		return authError(err)
	case errors.Is(err, kerr.OffsetOutOfRange), errors.As(err, &loss):
		return i.truncated(ctx, f)
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID), errors.Is(err, kerr.UnknownTopicOrPartition):
		token(i.look) // discovery compares topic ids, and knows a broker that has just started from a topic that is gone
		return nil
	case kerr.IsRetriable(err), kgo.IsRetryableBrokerErr(err):
		return nil
	}
	return err
}

// truncated names the position that is outside of its log, and the log's range.
func (i *Ingress) truncated(ctx context.Context, f *fetchError) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	bounds := "unknown"
	starts, err := i.adm.ListStartOffsets(ctx, f.topic)
	if err == nil {
		var ends kadm.ListedOffsets
		if ends, err = i.adm.ListEndOffsets(ctx, f.topic); err == nil {
			start, _ := starts.Lookup(f.topic, f.id)
			end, _ := ends.Lookup(f.topic, f.id)
			bounds = fmt.Sprintf("%d to %d", start.Offset, end.Offset)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	at := int64(-1)
	if src := i.sources[f.partitionKey]; src != nil {
		at = src.next
	}
	return fmt.Errorf("%w: topic %s partition %d at offset %d, the log holds %s: %w", router.ErrTruncated, f.topic, f.id, at, bounds, f.err)
}

// owns says whether a partition belongs to this task: stable for a name, whatever else exists.
func (i *Ingress) owns(k partitionKey) bool {
	h := fnv.New32a()
	h.Write([]byte(k.topic)) // a hash never fails
	return (uint64(h.Sum32())+uint64(k.id))%uint64(i.cfg.Tasks) == uint64(i.cfg.Task)
}
