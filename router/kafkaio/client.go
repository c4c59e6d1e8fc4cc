package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

const (
	// quietEnd is how long a consumer waits for the rest of a log that compaction may have emptied up to its end.
	quietEnd = 5 * time.Second
	// closeNames bounds the suggestions for a mistyped topic.
	closeNames = 3
)

// Client is what the command line asks of a Kafka cluster.
type Client struct {
	address string // as the cluster names it
	known   bool   // it has credentials
	opts    []kgo.Opt
	cl      *kgo.Client
	adm     *kadm.Client
	watch   *watch
}

// TopicDescription is a topic as a person sees it.
type TopicDescription struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Replicas   int               `json:"replicas"`
	Partitions []PartitionBounds `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"` // those that differ from the broker's defaults
}

// PartitionBounds is the range of a partition's log.
type PartitionBounds struct {
	ID     int32 `json:"id"`
	Leader int32 `json:"leader"`
	Start  int64 `json:"start"`
	End    int64 `json:"end"`
}

// ConsumedRecord is one record of a topic.
type ConsumedRecord struct {
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	Key       []byte // nil: no key
	Value     []byte // nil: a tombstone
	Headers   []router.Header
}

// ProducedRecord is a record to be written.
type ProducedRecord struct {
	Topic     string
	Partition int32 // -1: chosen by the key, as every client does
	Key       []byte
	Value     []byte
	Headers   []router.Header
}

// Consumption says what to read.
type Consumption struct {
	Topic       string
	Partition   int32 // -1: all
	Offset      int64 // FromStart, FromEnd, or an offset in every partition read
	Count       int   // records; 0 reads all
	Uncommitted bool  // also records of open and aborted transactions
	Follow      bool  // waits for more at the end
}

// FromStart and FromEnd are offsets of a Consumption.
const (
	FromStart int64 = math.MinInt64
	FromEnd   int64 = math.MaxInt64
)

// OpenClient makes a client. It connects with the first request.
func OpenClient(cluster functions.Cluster, secrets Secrets, log *slog.Logger) (*Client, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Client{address: cluster.Address, known: cluster.SASL != nil, watch: newWatch(log)}
	var err error
	if c.opts, err = options(cluster, secrets, "weir-cli", c.watch, nil); err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	c.cl, err = kgo.NewClient(append(c.opts[:len(c.opts):len(c.opts)],
		kgo.RecordPartitioner(choice{kgo.StickyKeyPartitioner(nil)}), kgo.ProducerLinger(0))...)
	if err != nil {
		return nil, fmt.Errorf("open kafka client: %w", err)
	}
	c.adm = kadm.NewClient(c.cl)
	return c, nil
}

// Close gives the connections back.
func (c *Client) Close() { c.cl.Close() }

// Reach connects to the cluster. A broker that is there but does not fit the settings is a ConnectionError at once; one
// that is away is waited for, as for every request.
func (c *Client) Reach(ctx context.Context) error {
	err := c.guarded(ctx, c.cl.Ping)
	var ended *kgo.ErrFirstReadEOF
	var misfit *ConnectionError
	if !errors.As(err, &misfit) && errors.As(err, &ended) && !c.known {
		err = &ConnectionError{c.address, WantsSASL, err}
	}
	if err != nil {
		return fmt.Errorf("reach kafka: %w", named(err))
	}
	return nil
}

// guarded runs do until it is done or a broker turns out not to fit the settings, which some requests would wait out.
func (c *Client) guarded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }() // ends with ctx, and is waited for
	var err error
	select {
	case err = <-done:
		if err == nil {
			return nil
		}
	case m := <-c.watch.misfits:
		cancel()
		<-done
		return m
	}
	select {
	case m := <-c.watch.misfits: // says more than the request's error
		return m
	default:
		return err
	}
}

// Topics describes all topics but Kafka's own, by name.
func (c *Client) Topics(ctx context.Context) ([]TopicDescription, error) {
	return c.describe(ctx)
}

// Describe describes one topic; router.ErrUnknownTopic when it does not exist.
func (c *Client) Describe(ctx context.Context, topic string) (TopicDescription, error) {
	all, err := c.describe(ctx, topic)
	if err != nil {
		return TopicDescription{}, err
	}
	if len(all) == 0 {
		return TopicDescription{}, fmt.Errorf("%w: %s", router.ErrUnknownTopic, topic)
	}
	d := all[0]
	configs, err := c.adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return TopicDescription{}, fmt.Errorf("describe topic %s: %w", topic, named(err))
	}
	d.Configs = map[string]string{}
	for _, rc := range configs {
		for _, kv := range rc.Configs {
			if strings.HasPrefix(kv.Source.String(), "DYNAMIC_TOPIC") && !kv.Sensitive {
				d.Configs[kv.Key] = kv.MaybeValue()
			}
		}
	}
	return d, nil
}

func (c *Client) describe(ctx context.Context, names ...string) ([]TopicDescription, error) {
	topics, err := metadata(ctx, c.cl, names)
	if err != nil {
		return nil, named(err)
	}
	var found []string
	for name, s := range topics {
		switch {
		case s.err == nil && !s.internal:
			found = append(found, name)
		case s.err != nil && !errors.Is(s.err, kerr.UnknownTopicOrPartition):
			return nil, fmt.Errorf("describe topic %s: %w", name, named(s.err))
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	slices.Sort(found)
	starts, err := c.adm.ListStartOffsets(ctx, found...)
	if err != nil {
		return nil, fmt.Errorf("ask for start offsets: %w", named(err))
	}
	ends, err := c.adm.ListEndOffsets(ctx, found...)
	if err != nil {
		return nil, fmt.Errorf("ask for end offsets: %w", named(err))
	}
	var all []TopicDescription
	for _, name := range found {
		s := topics[name]
		d := TopicDescription{Name: name, ID: kadm.TopicID(s.id).String(), Replicas: s.replicas}
		for p, leader := range s.leaders {
			start, _ := starts.Lookup(name, int32(p))
			end, _ := ends.Lookup(name, int32(p))
			d.Partitions = append(d.Partitions, PartitionBounds{int32(p), leader, start.Offset, end.Offset})
		}
		all = append(all, d)
	}
	return all, nil
}

// Create creates a topic with the broker's own replication factor. One that exists is an error here.
func (c *Client) Create(ctx context.Context, topic string, partitions int, configs map[string]string) error {
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	if _, err := c.adm.CreateTopic(ctx, int32(partitions), -1, values, topic); err != nil {
		return fmt.Errorf("create topic %s: %w", topic, named(err))
	}
	return nil
}

// Exists says whether a topic exists, and else which names are close to it, best first.
func (c *Client) Exists(ctx context.Context, topic string) (there bool, close []string, err error) {
	topics, err := metadata(ctx, c.cl, nil)
	if err != nil {
		return false, nil, named(err)
	}
	if s, ok := topics[topic]; ok && s.err == nil {
		return true, nil, nil
	}
	return false, closest(topic, slices.Collect(maps.Keys(topics))), nil
}

// Produce writes one record, acknowledged by all replicas, and returns where it stands.
func (c *Client) Produce(ctx context.Context, r *ProducedRecord) (partition int32, offset int64, err error) {
	k := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
	for _, h := range r.Headers {
		k.Headers = append(k.Headers, kgo.RecordHeader(h))
	}
	err = c.guarded(ctx, func(ctx context.Context) error { return c.cl.ProduceSync(ctx, k).FirstErr() })
	if err != nil {
		return 0, 0, fmt.Errorf("produce to %s: %w", r.Topic, named(err))
	}
	return k.Partition, k.Offset, nil
}

// choice lets a record name its partition; others go where the rest chooses.
type choice struct{ rest kgo.Partitioner }

func (c choice) ForTopic(topic string) kgo.TopicPartitioner { return chosen{c.rest.ForTopic(topic)} }

type chosen struct{ kgo.TopicPartitioner }

func (c chosen) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return c.TopicPartitioner.Partition(r, n)
}

// named gives a client library's error the name that callers branch on.
func named(err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("%w: %w", router.ErrUnknownTopic, err)
	case isAuth(err):
		return authError(err)
	}
	return err
}

// closest are the names that a person may have meant.
func closest(name string, names []string) []string {
	type scored struct {
		name     string
		distance int
	}
	var near []scored
	for _, n := range names {
		d := distance(name, n)
		if strings.HasPrefix(n, name) || strings.HasPrefix(name, n) {
			d = 1
		}
		if d <= max(2, len(name)/4) {
			near = append(near, scored{n, d})
		}
	}
	slices.SortFunc(near, func(a, b scored) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, s := range near[:min(len(near), closeNames)] {
		out = append(out, s.name)
	}
	return out
}

// distance is the number of bytes to insert, delete or replace to make a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
