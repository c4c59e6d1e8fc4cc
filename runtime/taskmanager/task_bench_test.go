package taskmanager

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/sdk/abi"
	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/checkpoint"
	"github.com/weir-run/weir/statestore/memory"
)

const (
	benchKeys  = 100_000
	benchValue = 100
)

// BenchmarkLoop is a task's own cost per record: from a fetch through a keyed count, which is Go here, to its outbox. One op
// is one record.
func BenchmarkLoop(b *testing.B) {
	for _, delivery := range []functions.Delivery{functions.ExactlyOnce, functions.AtLeastOnce} {
		b.Run(string(delivery), func(b *testing.B) {
			t := benchTask(b, delivery)
			b.ReportAllocs()
			for done := 0; b.Loop(); done++ {
				if done%pollRecords != 0 {
					continue
				}
				if err := t.turn(); err != nil {
					b.Fatal(err)
				}
				for t.mailbox.bytes > 0 {
					if err := t.process(); err != nil {
						b.Fatal(err)
					}
				}
				if done%(64*pollRecords) == 0 { // an epoch
					t.outboxes.take()
					t.state.Seal().Release()
				}
			}
		})
	}
}

// benchTask is a task that reads endless records and counts them per key.
func benchTask(b *testing.B, delivery functions.Delivery) *task {
	return benchTaskOf(b, delivery, newEndless(), countingModule{}, &functions.Description{ABI: abi.Version, Functions: []functions.FunctionSpec{
		{Type: benchCounter, States: []functions.StateSpec{{Name: "n"}}},
	}})
}

var benchCounter = functions.TypeName{Namespace: "bench", Name: "count"}

// benchTaskOf is a task whose records go to function bench/count of a module.
func benchTaskOf(b *testing.B, delivery functions.Delivery, source router.Ingress, module Module, description *functions.Description) *task {
	cluster := functions.Cluster{Address: "memory"}
	job := functions.Job{
		Name: "bench", KeyGroups: functions.DefaultKeyGroups, Parallelism: 1,
		Modules:   []functions.Module{{Description: description}},
		Ingresses: []functions.Ingress{{ID: "in", Cluster: cluster, Topics: []functions.IngressTopic{{Topic: "in", Targets: []functions.TypeName{benchCounter}}}}},
		Egresses:  []functions.Egress{{ID: "out", Cluster: cluster, Delivery: delivery, Topic: "out", Topics: []string{"out"}}},
	}
	m := New(wire.NewNetwork().Join("taskmanager"), Config{
		State: func(from, to functions.KeyGroup) statestore.Backend {
			return memory.New(memory.Config{From: from, To: to})
		},
		Ingress: func(*IngressRequest) (router.Ingress, error) { return source, nil },
		Modules: func(context.Context, *functions.Module) (Module, error) { return module, nil },
		Log:     slog.New(slog.DiscardHandler),
	})
	d := &wire.Deploy{Version: wire.Version{Job: job, Dictionary: new(functions.Dictionary).Extend(&job)}, Tasks: []int{0}, Manifest: &checkpoint.Manifest{}}
	w := newWorker(m, d, func() {})
	var err error
	if w.program, err = w.link(b.Context(), &d.Version); err != nil {
		b.Fatal(err)
	}
	for _, c := range w.program.clusters {
		c.egress = sink{}
	}
	if err := errors.Join(w.makeTasks(d.Tasks), w.openIngresses(d, nil)); err != nil {
		b.Fatal(err)
	}
	t := w.local[0]
	t.wanted, t.urgent = true, true // nobody is told
	b.Cleanup(func() {
		if err := t.state.Close(); err != nil {
			b.Error(err)
		}
	})
	return t
}

// endless hands out the same records over and over, each fetch from another place.
type endless struct {
	records []router.Record
	fetch   router.Fetch
	at      int
}

func newEndless() *endless {
	random := rand.New(rand.NewPCG(1, 2))
	e := &endless{fetch: router.Fetch{Partition: router.Partition{Ingress: "in", Topic: "in"}}}
	value := make([]byte, benchValue)
	for range 4 * benchKeys {
		e.records = append(e.records, router.Record{
			Key: strconv.AppendInt([]byte("customer-"), random.Int64N(benchKeys), 10), Value: value, Time: 1_700_000_000_000,
		})
	}
	return e
}

func (e *endless) Run(context.Context) error            { return nil }
func (e *endless) Ready() <-chan struct{}               { return nil }
func (e *endless) Positions() ([]router.Position, bool) { return nil, true }
func (e *endless) Done() bool                           { return false }
func (e *endless) Committed([]router.Position)          {}
func (e *endless) Poll(limit int) *router.Fetch {
	if e.at+limit > len(e.records) {
		e.at = 0
	}
	e.fetch.Records = e.records[e.at : e.at+limit]
	e.at += limit
	return &e.fetch
}

// sink is an egress without a broker.
type sink struct{ router.Egress }

func (sink) Check(*router.EgressRecord) error { return nil }
func (sink) Send(_ []byte, done func(error))  { done(nil) }

// countingModule counts per key, natively: what is measured is the task.
type countingModule struct{}

func (countingModule) NewInvoker(func(int, []byte)) (Invoker, error) {
	return &counting{out: make([]byte, 64<<10)}, nil
}
func (countingModule) Close() {}

type counting struct {
	reader abi.Reader
	writer abi.Writer
	out    []byte
	value  [8]byte
}

func (c *counting) Close() {}

var benchEgress = []byte("out")

func (c *counting) Call(in []byte, _ int64, _ uint64) ([]byte, error) {
	if err := c.reader.Open(in); err != nil {
		return nil, err
	}
	c.writer.Reset(c.out)
	for c.reader.Next() {
		c.writer.Group()
		count := uint64(0)
		if value, present := c.reader.State(0); present {
			count = binary.LittleEndian.Uint64(value)
		}
		for c.reader.NextMessage() {
			count++
			binary.LittleEndian.PutUint64(c.value[:], count)
			c.writer.Op(&abi.Op{Kind: abi.Egress, Target: benchEgress, Key: c.reader.Key, Value: c.value[:]})
			c.writer.Commit()
		}
		c.writer.State(0, c.value[:], false)
	}
	return c.out[:c.writer.Finish()], c.reader.Err()
}
