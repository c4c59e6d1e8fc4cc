// Package runtimetest runs the roles in one process over things that a test controls: functions written in Go behind the
// real ABI, logs in memory in place of Kafka, storage that loses what was not synced. A crash is the end of every goroutine
// and of everything that was not durable.
//
// It hides no protocol: the roles are the product's own. It is not a simulation, for its schedule is Go's.
package runtimetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"sync"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/runtime/taskmanager"
	"github.com/weir-run/weir/sdk/abi"
)

// Call is one invocation as a test's function sees it.
type Call struct {
	Function string
	Key      string
	Value    []byte
	States   [][]byte // by index; nil is absent. Set replaces
	set      map[int][]byte
	writer   *abi.Writer
}

// Set writes a state; nil deletes it.
func (c *Call) Set(index int, value []byte) {
	c.States[index] = value
	c.set[index] = value
}

// Int and SetInt treat a state as a number.
func (c *Call) Int(index int) int64 {
	if len(c.States[index]) != 8 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(c.States[index]))
}

// SetInt writes a state as a number.
func (c *Call) SetInt(index int, v int64) {
	c.Set(index, binary.LittleEndian.AppendUint64(nil, uint64(v)))
}

// Send sends a message to a function.
func (c *Call) Send(function, key string, value []byte) {
	c.writer.Op(&abi.Op{Kind: abi.Send, Target: []byte(function), Key: []byte(key), Value: value})
}

// SendWith sends a message with extensions of the guest's own making.
func (c *Call) SendWith(function, key string, value, ext []byte) {
	c.writer.Op(&abi.Op{Kind: abi.Send, Target: []byte(function), Key: []byte(key), Value: value, Ext: ext})
}

// Put writes a record to an egress.
func (c *Call) Put(egress, key string, value []byte) {
	c.writer.Op(&abi.Op{Kind: abi.Egress, Target: []byte(egress), Key: []byte(key), Value: value})
}

// Reply answers.
func (c *Call) Reply(value []byte) { c.writer.Op(&abi.Op{Kind: abi.Reply, Value: value}) }

// Function is a function type written in Go.
type Function struct {
	Type   string
	States []string
	Run    func(*Call) error
}

// Module is a module of functions written in Go; it implements taskmanager.Module.
type Module []Function

// Description is what the module says of itself.
func (m Module) Description() *functions.Description {
	d := &functions.Description{ABI: abi.Version}
	for _, f := range m {
		name, err := functions.ParseTypeName(f.Type)
		if err != nil {
			panic(fmt.Sprintf("runtimetest: %v", err))
		}
		spec := functions.FunctionSpec{Type: name}
		for _, s := range f.States {
			spec.States = append(spec.States, functions.StateSpec{Name: s, Type: "bytes"})
		}
		d.Functions = append(d.Functions, spec)
	}
	return d
}

// NewInvoker makes an instance.
func (m Module) NewInvoker(func(int, []byte)) (taskmanager.Invoker, error) {
	return &invoker{module: m, out: make([]byte, 1<<20)}, nil
}

// Close does nothing.
func (m Module) Close() {}

type invoker struct {
	module Module
	out    []byte
	spent  int64 // by the last call: one unit per message
}

// Fuel is what a real instance measures; here it is the number of messages.
func (i *invoker) Fuel() int64 { return i.spent }

func (i *invoker) Close() {}

func (i *invoker) Call(in []byte, _ int64, _ uint64) ([]byte, error) {
	var reader abi.Reader
	if err := reader.Open(in); err != nil {
		return nil, err
	}
	var writer abi.Writer
	writer.Reset(i.out)
	i.spent = 0
	for reader.Next() {
		i.group(&reader, &writer)
	}
	if err := reader.Err(); err != nil {
		return nil, err
	}
	n := writer.Finish()
	if n < 0 {
		return nil, fmt.Errorf("result does not fit: %d", n)
	}
	return i.out[:n], nil
}

func (i *invoker) group(reader *abi.Reader, writer *abi.Writer) {
	f := &i.module[reader.Function()]
	writer.Group()
	c := &Call{Function: f.Type, Key: string(reader.Key), writer: writer, set: map[int][]byte{}}
	for index := range reader.States() {
		value, present := reader.State(index)
		if present {
			value = append([]byte{}, value...)
		} else {
			value = nil
		}
		c.States = append(c.States, value)
	}
	kept := map[int][]byte{}
	failed := false
	for reader.NextMessage() {
		if failed {
			continue
		}
		i.spent++
		c.Value = reader.Value
		before := append([][]byte(nil), c.States...)
		c.set = map[int][]byte{}
		if err := f.Run(c); err != nil {
			writer.Fail(1, err.Error())
			c.States, failed = before, true
			continue
		}
		writer.Commit()
		for index, value := range c.set {
			kept[index] = value
		}
	}
	for index := range c.States {
		if value, ok := kept[index]; ok {
			writer.State(index, value, value == nil)
		}
	}
}

// Broker is a log in memory: topics with partitions, exactly-once lanes by marker. It outlives crashes of the roles.
type Broker struct {
	mu      sync.Mutex
	topics  map[string][][]Record
	markers map[string]uint64
	holder  map[string]int // fencing: the newest holder of a lane
	waiters []chan struct{}
	// Recovering is called when a lane has fenced who held it before.
	Recovering func(lane string)
	// Prepared is called when an outbox is prepared, before its epoch is decided.
	Prepared func(lane string, number uint64)
	// Discarded is called when what was prepared is given up.
	Discarded func(lane string)
	// Publish is called before an outbox is published; an error fails the publication.
	Publish func(lane string, number uint64) error
	// Refuse is asked for every record of an outbox; an error is the broker's refusal for good.
	Refuse func(*router.EgressRecord) error
}

// Record is one record of a Broker's topic.
type Record struct {
	Key, Value []byte
	Headers    map[string]string
}

// NewBroker makes a broker with topics of so many partitions.
func NewBroker(partitions int, topics ...string) *Broker {
	b := &Broker{topics: map[string][][]Record{}, markers: map[string]uint64{}, holder: map[string]int{}}
	for _, t := range topics {
		b.topics[t] = make([][]Record, partitions)
	}
	return b
}

func partitionOf(key []byte, n int) int {
	h := fnv.New32a()
	_, _ = h.Write(key) // never fails
	return int(h.Sum32() % uint32(n))
}

// Produce appends a record by key.
func (b *Broker) Produce(topic, key string, value []byte) {
	b.ProduceRecord(topic, Record{Key: []byte(key), Value: value})
}

// ProduceRecord appends records with their headers, by key: all of them before any is read.
func (b *Broker) ProduceRecord(topic string, records ...Record) {
	b.mu.Lock()
	for _, r := range records {
		b.append(topic, r)
	}
	waiters := b.waiters
	b.mu.Unlock()
	for _, w := range waiters {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (b *Broker) append(topic string, r Record) {
	partitions := b.topics[topic]
	if partitions == nil {
		panic("runtimetest: no topic " + topic)
	}
	p := partitionOf(r.Key, len(partitions))
	partitions[p] = append(partitions[p], r)
}

// Records returns a topic's records, partition by partition.
func (b *Broker) Records(topic string) []Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Record
	for _, p := range b.topics[topic] {
		all = append(all, p...)
	}
	return all
}

// Count is how many records a topic has.
func (b *Broker) Count(topic string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.topics[topic] {
		n += len(p)
	}
	return n
}

// Ingress opens the part of an ingress that a task reads; it fits taskmanager.Config.
func (b *Broker) Ingress(r *taskmanager.IngressRequest) (router.Ingress, error) {
	in := &ingress{broker: b, request: r, ready: make(chan struct{}, 1)}
	topic := r.Spec.Topics[0].Topic
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := range b.topics[topic] {
		if p%r.Tasks != r.Task {
			continue
		}
		position := router.Position{Partition: router.Partition{Ingress: r.Spec.ID, Topic: topic, ID: int32(p)}}
		if r.Spec.Bounded != nil {
			position.End = int64(len(b.topics[topic][p]))
		}
		for _, known := range r.Positions {
			if known.Partition == position.Partition {
				position = known
			}
		}
		in.next = append(in.next, position)
	}
	in.start = append(in.start, in.next...)
	b.waiters = append(b.waiters, in.ready)
	in.ready <- struct{}{}
	return in, nil
}

type ingress struct {
	broker      *Broker
	request     *taskmanager.IngressRequest
	start, next []router.Position
	ready       chan struct{}
	turn        int
	fetch       router.Fetch
}

func (i *ingress) Run(ctx context.Context) error        { <-ctx.Done(); return nil }
func (i *ingress) Ready() <-chan struct{}               { return i.ready }
func (i *ingress) Positions() ([]router.Position, bool) { return i.start, true }
func (i *ingress) Committed([]router.Position)          {}

// Done holds for a bounded ingress that has handed out what each partition had when it was first opened.
func (i *ingress) Done() bool {
	for _, p := range i.next {
		if p.Offset < p.End {
			return false
		}
	}
	return i.request.Spec.Bounded != nil
}

func (i *ingress) Poll(limit int) *router.Fetch {
	i.broker.mu.Lock()
	defer i.broker.mu.Unlock()
	for range i.next {
		i.turn = (i.turn + 1) % len(i.next)
		p := &i.next[i.turn]
		log := i.broker.topics[p.Topic][p.ID]
		if i.request.Spec.Bounded != nil {
			log = log[:p.End]
		}
		if int(p.Offset) >= len(log) {
			continue
		}
		i.fetch = router.Fetch{Partition: p.Partition, HighWater: int64(len(log))}
		for len(i.fetch.Records) < limit && int(p.Offset) < len(log) {
			r := log[p.Offset]
			record := router.Record{Key: r.Key, Value: r.Value, Offset: p.Offset}
			for name, value := range r.Headers {
				record.Headers = append(record.Headers, router.Header{Key: name, Value: []byte(value)})
			}
			i.fetch.Records = append(i.fetch.Records, record)
			p.Offset++
		}
		i.fetch.Next = *p
		return &i.fetch
	}
	return nil
}

// Egress opens a job's way out; it fits taskmanager.Config.
func (b *Broker) Egress(*taskmanager.EgressRequest) (router.Egress, error) {
	return &egress{broker: b}, nil
}

type egress struct{ broker *Broker }

func (e *egress) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (e *egress) Close() error                  { return nil }
func (e *egress) Check(r *router.EgressRecord) error {
	e.broker.mu.Lock()
	defer e.broker.mu.Unlock()
	if e.broker.topics[string(r.Topic)] == nil {
		return router.ErrUnknownTopic
	}
	return nil
}

func (e *egress) Send(batch []byte, done func(error)) {
	e.broker.mu.Lock()
	err := e.broker.write(batch)
	e.broker.mu.Unlock()
	done(err)
}

func (b *Broker) write(batch []byte) error {
	for r, err := range router.EgressRecords(batch) {
		if err != nil {
			return err
		}
		record := Record{Key: append([]byte(nil), r.Key...), Value: append([]byte(nil), r.Value...), Headers: map[string]string{}}
		for k, v := range router.Headers(r.Ext) {
			record.Headers[string(k)] = string(v)
		}
		b.append(string(r.Topic), record)
	}
	return nil
}

func (e *egress) Lane(id string) (router.Lane, error) { return &lane{broker: e.broker, id: id}, nil }

type lane struct {
	broker   *Broker
	id       string
	term     int
	head     uint64 // prepared
	prepared []byte
}

// Prepare implements router.Lane: what is published under the same number has to be the same.
func (l *lane) Prepare(_ context.Context, number uint64, outbox [][]byte) {
	l.head, l.prepared = number, bytes.Join(outbox, nil)
	if l.broker.Prepared != nil {
		l.broker.Prepared(l.id, number)
	}
}

// Discard implements router.Lane.
func (l *lane) Discard(context.Context) {
	if l.head != 0 && l.broker.Discarded != nil {
		l.broker.Discarded(l.id)
	}
	l.head, l.prepared = 0, nil
}

func (l *lane) Cookie() []byte { return nil }
func (l *lane) Close() error   { return nil }

func (l *lane) Recover(_ context.Context, known bool, last uint64, _ []byte, pending []router.Pending) error {
	l.broker.mu.Lock()
	l.broker.holder[l.id]++
	l.term = l.broker.holder[l.id]
	marker, marked := l.broker.markers[l.id]
	if !marked {
		l.broker.markers[l.id] = 0
	}
	l.broker.mu.Unlock()
	if l.broker.Recovering != nil {
		l.broker.Recovering(l.id)
	}
	if known && !marked || marker > last {
		return fmt.Errorf("lane %s has marker %d (%v), manifest %d: %w", l.id, marker, marked, last, router.ErrMarker)
	}
	for _, p := range pending {
		if p.Number > marker {
			if err := l.publish(p.Number, p.Outbox); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lane) Publish(_ context.Context, number uint64, outbox [][]byte) error {
	if l.head == number && !bytes.Equal(l.prepared, bytes.Join(outbox, nil)) {
		return fmt.Errorf("lane %s publishes under %d what was not prepared", l.id, number)
	}
	l.head = 0
	return l.publish(number, outbox)
}

func (l *lane) publish(number uint64, outbox [][]byte) error {
	if l.broker.Publish != nil {
		if err := l.broker.Publish(l.id, number); err != nil {
			return err
		}
	}
	if err := l.broker.refused(number, outbox); err != nil {
		return err
	}
	l.broker.mu.Lock()
	defer l.broker.mu.Unlock()
	if l.broker.holder[l.id] != l.term {
		return fmt.Errorf("lane %s is fenced", l.id)
	}
	if l.broker.markers[l.id] >= number {
		return fmt.Errorf("lane %s publishes %d after %d", l.id, number, l.broker.markers[l.id])
	}
	for _, chunk := range outbox {
		if err := l.broker.write(chunk); err != nil {
			return err
		}
	}
	l.broker.markers[l.id] = number
	return nil
}

// refused asks Refuse about every record before any is written: a transaction is written whole or not at all.
func (b *Broker) refused(number uint64, outbox [][]byte) error {
	if b.Refuse == nil {
		return nil
	}
	index := 0
	for _, chunk := range outbox {
		for r, err := range router.EgressRecords(chunk) {
			if err != nil {
				return err
			}
			if err := b.Refuse(r); err != nil {
				return &router.Refused{Number: number, Record: index, Topic: string(r.Topic), Err: err}
			}
			index++
		}
	}
	return nil
}
