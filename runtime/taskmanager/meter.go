package taskmanager

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/weir-run/weir/internal/telemetry"
	"github.com/weir-run/weir/router"
)

// meter is what one task counts for telemetry beside taskStats: in plain fields of the task's goroutine, published once
// per turn of its loop. Methods of a nil meter do nothing: telemetry that is off costs one test per batch.
type meter struct {
	counted counts                     // this and what follows is of the task's goroutine
	taken   map[router.Partition]int64 // unix ms of the last record
	spent   []*int64                   // fuel by module of counted.program
	size    func(messages int)
	clock   clock

	mu    sync.Mutex // guards shown; a leaf
	shown counts
}

// counts are the numbers of a task. As published they are immutable but for their slices, which read copies.
type counts struct {
	program   *program
	batches   uint64
	functions []functionCounts  // by id
	fuel      map[string]*int64 // by file of the module
	ingresses []ingressLag
}

type functionCounts struct {
	messages, failures uint64
	keys, bytes        int64
}

// ingressLag says how far a task is behind in one ingress.
type ingressLag struct {
	id      string
	pending int64
	oldest  int64 // unix ms of the last record taken from the partition that is furthest behind
}

// metered is an Invoker that knows what its last Call spent, in units of fuel.
type metered interface{ Fuel() int64 }

func newMeter(i *instruments) *meter {
	if i == nil {
		return nil
	}
	return &meter{taken: map[router.Partition]int64{}, counted: counts{fuel: map[string]*int64{}}, shown: counts{fuel: map[string]*int64{}}}
}

// begin says where a task's histogram goes, from its first turn on.
func (m *meter) begin(ctx context.Context, t *task) {
	if m == nil {
		return
	}
	histogram := t.worker.manager.instruments.batchSize
	attributes := []metric.RecordOption{metric.WithAttributes(telemetry.Job.String(t.worker.job), telemetry.Task.Int(t.id))}
	m.size = func(messages int) { histogram.Record(ctx, float64(messages), attributes...) }
	m.clock.start(time.Now())
}

// rest notes that the task waits: for something to do, or for room.
func (m *meter) rest(hasRoom bool) {
	switch {
	case m == nil:
	case hasRoom:
		m.clock.turn(unoccupied, time.Now())
	default:
		m.clock.turn(heldBack, time.Now())
	}
}

// resume notes that the task works again.
func (m *meter) resume() {
	if m != nil {
		m.clock.turn(busy, time.Now())
	}
}

// called counts a batch that a guest has been given.
func (m *meter) called(t *task, module int, b *batch) {
	m.counted.batches++
	m.size(b.n)
	m.fit(t.program)
	for i := range b.groupN {
		m.counted.functions[b.groups[i].target].messages += uint64(b.groups[i].count)
	}
	if guest, ok := t.invokers[module].(metered); ok {
		*m.spent[module] += guest.Fuel()
	}
}

// fit makes room for the functions of a program.
func (m *meter) fit(p *program) {
	if m.counted.program == p {
		return
	}
	m.counted.program = p
	if missing := len(p.functions) - len(m.counted.functions); missing > 0 {
		m.counted.functions = append(m.counted.functions, make([]functionCounts, missing)...)
	}
	m.spent = m.spent[:0]
	for i := range p.job.Modules {
		m.spent = append(m.spent, m.counted.spentOn(p.job.Modules[i].File))
	}
}

// spentOn is where the fuel of a module is summed up.
func (c *counts) spentOn(file string) *int64 {
	if c.fuel[file] == nil {
		c.fuel[file] = new(int64)
	}
	return c.fuel[file]
}

// took notes how far a fetch goes, and how far its ingress is behind.
func (m *meter) took(in *ingress, fetch *router.Fetch) {
	if m == nil {
		return
	}
	if n := len(fetch.Records); n > 0 {
		m.taken[fetch.Partition] = fetch.Records[n-1].Time
	}
	m.measure(in)
}

// measure sums up how far an ingress is behind.
func (m *meter) measure(in *ingress) {
	lag := ingressLag{id: in.spec.ID}
	for partition, pending := range in.lag {
		lag.pending += pending
		if at := m.taken[partition]; pending > 0 && (lag.oldest == 0 || at < lag.oldest) {
			lag.oldest = at
		}
	}
	if i := slices.IndexFunc(m.counted.ingresses, func(l ingressLag) bool { return l.id == lag.id }); i >= 0 {
		m.counted.ingresses[i] = lag
		return
	}
	m.counted.ingresses = append(m.counted.ingresses, lag)
}

// failed counts an invocation that failed.
func (m *meter) failed(t *task, target uint16) {
	if m == nil {
		return
	}
	m.fit(t.program)
	m.counted.functions[target].failures++
}

// sealed takes what is known at a barrier: how much state each function has.
func (m *meter) sealed(t *task) {
	if m == nil {
		return
	}
	m.fit(t.program)
	for id := range m.counted.functions {
		f := &m.counted.functions[id]
		f.keys, f.bytes = 0, 0
		for _, state := range t.program.functions[id].states {
			kept := t.state.State(state)
			f.keys += kept.Keys
			f.bytes += kept.Bytes
		}
	}
	for i := range t.ingresses {
		m.measure(&t.ingresses[i]) // also one that has brought nothing yet
	}
}

// publish shows the counts to who collects.
func (m *meter) publish() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shown.program, m.shown.batches = m.counted.program, m.counted.batches
	m.shown.functions = append(m.shown.functions[:0], m.counted.functions...)
	m.shown.ingresses = append(m.shown.ingresses[:0], m.counted.ingresses...)
	for file, spent := range m.counted.fuel {
		*m.shown.spentOn(file) = *spent
	}
}

// read returns a copy of what is shown.
func (m *meter) read() counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.shown
	c.functions, c.ingresses = slices.Clone(c.functions), slices.Clone(c.ingresses)
	c.fuel = make(map[string]*int64, len(m.shown.fuel))
	for file, spent := range m.shown.fuel {
		*c.spentOn(file) = *spent
	}
	return c
}

// activity is what a task does at a moment.
type activity int

const (
	busy activity = iota
	heldBack
	unoccupied
	activityN
)

// rateWindow is the least time that a rate per second is taken over: with two readers that collect shortly after one
// another, both see the same.
const rateWindow = time.Second

// clock sums up what a task spends its time on.
type clock struct {
	mu     sync.Mutex // guards all; a leaf
	doing  activity
	since  time.Time // of that; zero: it does not run yet
	totals [activityN]time.Duration
	window struct {
		at     time.Time
		totals [activityN]time.Duration
		rates  [activityN]float64
	}
}

func (c *clock) start(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since, c.window.at = now, now
}

// turn begins another activity.
func (c *clock) turn(to activity, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals[c.doing] += now.Sub(c.since)
	c.doing, c.since = to, now
}

// spent is the time of one activity.
type spent struct {
	total     time.Duration
	perSecond float64 // in milliseconds
}

// read sums up to now, and renews the rates when their window is over.
func (c *clock) read(now time.Time) (all [activityN]spent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		return all
	}
	totals := c.totals
	totals[c.doing] += now.Sub(c.since)
	if passed := now.Sub(c.window.at); passed >= rateWindow {
		for i := range totals {
			c.window.rates[i] = float64(totals[i]-c.window.totals[i]) / float64(passed) * 1000
		}
		c.window.at, c.window.totals = now, totals
	}
	for i := range all {
		all[i] = spent{total: totals[i], perSecond: c.window.rates[i]}
	}
	return all
}
