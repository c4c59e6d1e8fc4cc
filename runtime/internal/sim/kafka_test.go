package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/runtime/internal/sim"
	"github.com/weir-run/weir/runtime/taskmanager"
)

// kafka is a sim.Broker: a kfake cluster over pipes, which the product's own adapter speaks to. Connections break, before or
// behind a request's effect.
type kafka struct {
	t       testing.TB
	cluster *kfake.Cluster
	writer  *kgo.Client
	reader  *kgo.Client
	done    sync.WaitGroup
	stop    context.CancelFunc

	mu       sync.Mutex // guards what follows; a leaf
	random   *rand.Rand
	perMille int // of reads from a connection, how many find it broken
	pipes    map[string]chan net.Conn
	records  map[string][][]sim.Record
}

// newKafka makes a cluster with the topics of the workload.
func newKafka(t testing.TB, seed uint64) *kafka {
	k := &kafka{t: t, random: rand.New(rand.NewPCG(seed, 0x4b41)), pipes: map[string]chan net.Conn{}, records: map[string][][]sim.Record{}}
	for _, topic := range []string{workload.Effects, workload.Acks, sim.Copies} {
		k.records[topic] = make([][]sim.Record, sim.MaxPartitions)
	}
	k.perMille = k.random.IntN(2) * k.random.IntN(30)
	var err error
	k.cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(k.listen),
		kfake.SeedTopics(sim.MaxPartitions, workload.Inputs, workload.Effects, workload.Acks, sim.Copies, "dead"))
	if err != nil {
		t.Fatal(err)
	}
	k.writer = k.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	k.reader = k.client(kgo.ConsumeTopics(workload.Effects, workload.Acks, sim.Copies), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.done.Go(func() { k.read(ctx) })
	return k
}

// client is one whose connections do not break.
func (k *kafka) client(opts ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(k.Address()), kgo.Dialer(k.connect))...)
	if err != nil {
		k.t.Fatal(err)
	}
	return c
}

// close ends the cluster and everything that speaks to it.
func (k *kafka) close() {
	k.stop()
	k.done.Wait()
	k.reader.Close()
	k.writer.Close()
	k.cluster.Close()
}

// read collects what a reader of committed records sees.
func (k *kafka) read(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := k.reader.PollFetches(ctx)
		k.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) {
			partitions := k.records[r.Topic]
			partitions[r.Partition] = append(partitions[r.Partition], sim.Record{Key: string(r.Key), Value: string(r.Value)})
		})
		k.mu.Unlock()
	}
}

// listener accepts the other ends of pipes.
type listener struct {
	address *net.TCPAddr
	accept  chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func (k *kafka) listen(string, string) (net.Listener, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := &listener{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092 + len(k.pipes)}, make(chan net.Conn), make(chan struct{}), sync.Once{}}
	k.pipes[l.address.String()] = l.accept
	return l, nil
}

func (l *listener) Addr() net.Addr { return l.address }
func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (k *kafka) connect(ctx context.Context, _, address string) (net.Conn, error) {
	k.mu.Lock()
	accept := k.pipes[address]
	k.mu.Unlock()
	if accept == nil {
		return nil, errors.New("nobody listens at " + address)
	}
	here, there := net.Pipe()
	select {
	case accept <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dial is connect for the product, whose connections break.
func (k *kafka) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := k.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &brittle{c, k}, nil
}

// brittle is a connection that breaks now and then, when an answer is read: its request was carried out.
type brittle struct {
	net.Conn
	kafka *kafka
}

func (b *brittle) Read(p []byte) (int, error) {
	if b.kafka.breaks() {
		_ = b.Conn.Close() // a pipe closes
		return 0, net.ErrClosed
	}
	return b.Conn.Read(p)
}

func (b *brittle) Write(p []byte) (int, error) {
	if b.kafka.breaks() {
		_ = b.Conn.Close() // a pipe closes
		return 0, net.ErrClosed
	}
	return b.Conn.Write(p)
}

func (k *kafka) breaks() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.perMille > 0 && k.random.IntN(1000) < k.perMille
}

func (k *kafka) Calm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.perMille = 0
}

func (k *kafka) Address() string { return k.cluster.ListenAddrs()[0] }

func (k *kafka) Produce(topic string, partition int, key, value string) {
	r := &kgo.Record{Topic: topic, Partition: int32(partition), Key: []byte(key), Value: []byte(value)}
	if err := k.writer.ProduceSync(context.Background(), r).FirstErr(); err != nil {
		k.t.Errorf("produce to %s %s: %v", topic, strconv.Itoa(partition), err)
	}
}

func (k *kafka) Records(topic string) [][]sim.Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	var copied [][]sim.Record
	for _, p := range k.records[topic] {
		copied = append(copied, append([]sim.Record(nil), p...))
	}
	return copied
}

func (k *kafka) Ingress(r *taskmanager.IngressRequest) (router.Ingress, error) {
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
		Ingress: *r.Spec, Task: r.Task, Tasks: r.Tasks, Positions: r.Positions, Started: r.Started, Dial: k.dial, Log: r.Log,
	})
	if err != nil {
		return nil, err
	}
	return in, nil
}

func (k *kafka) Egress(r *taskmanager.EgressRequest) (router.Egress, error) {
	cfg := kafkaio.EgressConfig{Cluster: r.Cluster, TxnTimeout: r.TxnTimeout, Dial: k.dial, Log: r.Log}
	for name, create := range r.Topics {
		cfg.Topics = append(cfg.Topics, kafkaio.EgressTopic{Name: name, Create: create})
	}
	e, err := kafkaio.OpenEgress(cfg)
	if err != nil {
		return nil, err
	}
	return e, nil
}

var scenariosFlag = flag.Uint64("scenarios", 3, "how many runs over Kafka's own protocol")

// TestNothingIsLostOrDoubledOverKafka runs the product's own adapter over kfake. Its goroutines are the library's, so that a run
// does not replay exactly; a failure tells its history.
func TestNothingIsLostOrDoubledOverKafka(t *testing.T) {
	if *seedFlag != 0 {
		return
	}
	for seed := uint64(1) + *shardFlag; seed <= *scenariosFlag; seed += *shardsFlag {
		var r *sim.Result
		var told bytes.Buffer
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			cryptotest.SetGlobalRandom(t, seed)
			synctest.Test(t, func(t *testing.T) {
				k := newKafka(t, seed)
				r = sim.Run(seed, sim.Options{Broker: k, Log: &told})
				k.close()
			})
		})
		if !r.Good() {
			report(t, r)
			t.Logf("its history is in %s", keep(t, seed, &told, r))
		}
	}
}

// keep leaves what happened in a failed run where a person finds it: every step, and what came in and out.
func keep(t *testing.T, seed uint64, told *bytes.Buffer, r *sim.Result) string {
	t.Helper()
	if err := json.NewEncoder(told).Encode(r.History); err != nil {
		t.Error(err)
	}
	name := filepath.Join(os.TempDir(), fmt.Sprintf("weir-sim-%d.log", seed))
	if err := os.WriteFile(name, told.Bytes(), 0o600); err != nil {
		t.Error(err)
	}
	return name
}
