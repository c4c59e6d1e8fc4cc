package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

const (
	// defaultMaxBytes is Kafka's default of max.message.bytes, for when the topic's own may not be read.
	defaultMaxBytes = 1048588
	// defaultTxnTimeout ends a transaction that a dead worker left open, should nobody recover the lane: until then it
	// holds back read_committed readers of its partitions.
	defaultTxnTimeout = time.Minute
	// limitRounds is how many metadata rounds pass between two looks at max.message.bytes: it hardly ever changes.
	limitRounds = 6
)

// EgressTopic is one topic that the egresses of a job may write to.
type EgressTopic struct {
	Name        string
	Create      int    // partitions, when it does not exist; 0 does not create
	Compression string // none, gzip, snappy, lz4, zstd; empty is none
}

// EgressConfig describes one Kafka cluster as the egresses of a job in a worker use it.
type EgressConfig struct {
	Cluster    functions.Cluster
	Topics     []EgressTopic // every topic that effects may name, dead letters included
	TxnTimeout time.Duration // 0 is a minute
	// Embedded says that the cluster is the broker of weir dev: recovery then checks each partition of an outbox,
	// because that broker can lose part of a commit when it is killed.
	Embedded bool
	Secrets  Secrets // nil: credentials stand for themselves
	Dial     Dial    // nil is TCP
	Log      *slog.Logger
}

// topic is what is known of a topic: never changed, replaced by the next look.
type topic struct {
	name     string
	id       [16]byte
	leaders  []int32 // by partition; -1 has none
	maxBytes int     // of one batch
	codec    string
}

// Egress implements router.Egress.
type Egress struct {
	cfg         EgressConfig
	declared    map[string]EgressTopic
	compressors map[string]kgo.Compressor
	opts        []kgo.Opt
	cl          *kgo.Client
	adm         *kadm.Client
	watch       *watch

	// topics is read by every task for every record, hence lock-free; look replaces it.
	topics  atomic.Pointer[map[string]*topic]
	looking chan struct{} // capacity 1: held by who looks
	rounds  int           // guarded by looking

	sender *sender // at-least-once

	mu       sync.Mutex // guards the fields below
	extra    map[string]bool
	refusals map[string]error // topics that the last look was not allowed to see
}

// OpenEgress checks cfg and makes an egress. It connects when it is first used.
func OpenEgress(cfg EgressConfig) (*Egress, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.TxnTimeout == 0 {
		cfg.TxnTimeout = defaultTxnTimeout
	}
	e := &Egress{
		cfg: cfg, declared: map[string]EgressTopic{}, compressors: map[string]kgo.Compressor{}, watch: newWatch(cfg.Log),
		looking: make(chan struct{}, 1), extra: map[string]bool{},
	}
	e.sender = newSender(e)
	for _, t := range cfg.Topics {
		codec, err := codecNamed(t.Compression)
		if err != nil {
			return nil, fmt.Errorf("open egress: topic %s: %w", t.Name, err)
		}
		if e.compressors[t.Compression], err = kgo.DefaultCompressor(codec); err != nil {
			return nil, fmt.Errorf("open egress: topic %s: %w", t.Name, err)
		}
		e.declared[t.Name] = t
	}
	opts, err := options(cfg.Cluster, cfg.Secrets, "weir-egress", e.watch, cfg.Dial)
	if err != nil {
		return nil, fmt.Errorf("open egress: %w", err)
	}
	e.opts = opts
	if e.cl, err = kgo.NewClient(opts...); err != nil {
		return nil, fmt.Errorf("open egress: %w", err)
	}
	e.adm = kadm.NewClient(e.cl)
	return e, nil
}

func codecNamed(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "", "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("compression %q is none of none, gzip, snappy, lz4, zstd", name)
}

// Run implements router.Egress. What was sent at least once and is not acknowledged when it returns waits for Close.
func (e *Egress) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.refresh(ctx) })
	group.Go(func() error { return e.sender.run(ctx) })
	if err := group.Wait(); err != nil {
		return fmt.Errorf("egress %s: %w", e.cfg.Cluster.Address, err)
	}
	return nil
}

// refresh looks at the topics now and then.
func (e *Egress) refresh(ctx context.Context) error {
	for failures := 0; ; {
		wait := router.DiscoveryInterval
		if err := e.look(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if isAuth(err) {
				return authError(err)
			}
			failures++
			wait = backoff(failures + 5)
		} else {
			failures = 0
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case err := <-e.watch.refused:
			t.Stop()
			return err
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		t.Stop()
	}
}

// Check implements router.Egress.
func (e *Egress) Check(r *router.EgressRecord) error {
	limit := defaultMaxBytes
	if known := e.topics.Load(); known != nil {
		t, ok := (*known)[string(r.Topic)]
		if !ok {
			return fmt.Errorf("%w: %s", router.ErrUnknownTopic, r.Topic)
		}
		limit = t.maxBytes
	} else if _, ok := e.declared[string(r.Topic)]; !ok { // Kafka has not answered yet
		return fmt.Errorf("%w: %s", router.ErrUnknownTopic, r.Topic)
	}
	if size := batchHeader + recordBound(r); size > limit {
		return fmt.Errorf("%w: %s takes %d bytes, the record has up to %d", router.ErrTooLarge, r.Topic, limit, size)
	}
	return nil
}

// Close implements router.Egress.
func (e *Egress) Close() error {
	e.sender.close()
	e.cl.Close()
	return nil
}

// known is a topic as last seen, or nil.
func (e *Egress) known(name string) *topic {
	if m := e.topics.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

// denied is why a topic is not known, when this identity may not see it.
func (e *Egress) denied(name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refusals[name]
}

// want makes look ask for a topic that is not declared: an older version of the job wrote to it.
func (e *Egress) want(name string) {
	e.mu.Lock()
	e.extra[name] = true
	e.mu.Unlock()
}

// look asks for the topics' ids, leaders and limits, and creates declared ones that do not exist. One caller at a time.
func (e *Egress) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	select {
	case e.looking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-e.looking }()
	e.mu.Lock()
	names := slices.Collect(maps.Keys(e.extra))
	e.mu.Unlock()
	for name := range e.declared {
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil
	}
	for try := 1; ; try++ {
		topics, err := metadata(ctx, e.cl, names)
		if err != nil {
			return err
		}
		created := false
		for _, t := range e.declared {
			if t.Create > 0 && errors.Is(topics[t.Name].err, kerr.UnknownTopicOrPartition) {
				if err := createTopic(ctx, e.adm, t.Name, t.Create, nil); err != nil {
					return err
				}
				created = true
			}
		}
		if !created {
			e.learn(ctx, topics)
			return nil
		}
		if err := pause(ctx, try+3); err != nil {
			return err
		}
	}
}

// learn replaces what is known by what the metadata says. A topic whose answer is an error that heals keeps its entry.
func (e *Egress) learn(ctx context.Context, topics map[string]seen) {
	before, after, refusals := e.topics.Load(), map[string]*topic{}, map[string]error{}
	var unsized []string
	for name, s := range topics {
		var old *topic
		if before != nil {
			old = (*before)[name]
		}
		if s.err != nil {
			if old != nil && !errors.Is(s.err, kerr.UnknownTopicOrPartition) && !isAuth(s.err) {
				after[name] = old
			}
			if isAuth(s.err) {
				refusals[name] = s.err
			}
			continue
		}
		t := &topic{name: name, id: s.id, leaders: s.leaders, maxBytes: defaultMaxBytes, codec: e.declared[name].Compression}
		if old != nil {
			t.maxBytes = old.maxBytes
		}
		if old == nil || e.rounds%limitRounds == 0 {
			unsized = append(unsized, name)
		}
		after[name] = t
	}
	e.rounds++
	if len(unsized) > 0 {
		// Without the right to describe a topic, the default limit stands.
		if configs, err := e.adm.DescribeTopicConfigs(ctx, unsized...); err == nil {
			for _, rc := range configs {
				for _, c := range rc.Configs {
					if n, err := strconv.Atoi(c.MaybeValue()); err == nil && c.Key == "max.message.bytes" && after[rc.Name] != nil {
						after[rc.Name].maxBytes = n
					}
				}
			}
		}
	}
	e.mu.Lock()
	e.refusals = refusals
	e.mu.Unlock()
	e.topics.Store(&after)
}
