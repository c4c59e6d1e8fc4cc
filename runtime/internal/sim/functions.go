package sim

import (
	"fmt"
	"strconv"

	"github.com/weir-run/weir/internal/e2e/workload"
	"github.com/weir-run/weir/runtime/runtimetest"
	"github.com/weir-run/weir/runtime/taskmanager"
	"github.com/weir-run/weir/sdk/abi"
)

// States of a source and a counter, by index.
const (
	count = 0
	sent  = 1
	seq   = 2 // of a source
)

// Copies is the topic of at-least-once output: of every effect a copy.
const Copies = "sim-copies"

// proof holds the functions of the e2e proof, in Go: a source fans inputs out to counters, which acknowledge in cycles.
// copying does the same, and copies what counters put out.
var proof, copying = module(workload.Effects), module(workload.Effects, Copies)

// module makes the functions; effects are the egresses to which counters write.
func module(effects ...string) runtimetest.Module {
	return runtimetest.Module{
		{Type: workload.Source, States: []string{"count", "sent", "seq"}, Run: source},
		{Type: workload.Counter, States: []string{"count", "sent"}, Run: func(c *runtimetest.Call) error { return counter(c, effects) }},
	}
}

// module is what the job of the run deploys.
func (w *world) module() runtimetest.Module {
	if w.plan.copies {
		return copying
	}
	return proof
}

func source(c *runtimetest.Call) error {
	me, err := workload.ParseKey(c.Key, 's')
	if err != nil {
		return err
	}
	if m, err := workload.ParseMessage(string(c.Value)); err == nil {
		n := c.Int(count) + 1
		c.SetInt(count, n)
		c.Put(workload.Acks, c.Key, workload.Output{Message: m, Count: uint32(n)}.Append(nil))
		m.Hop++
		m.From = me
		send(c, m)
		return nil
	}
	in, err := workload.ParseInput(string(c.Value))
	if err != nil {
		return err
	}
	c.SetInt(seq, int64(in.Seq))
	for branch := range in.Fanout {
		send(c, workload.Message{Token: workload.Token{Source: me, Seq: in.Seq, Branch: branch}, Hops: in.Hops, From: me})
	}
	return nil
}

func send(c *runtimetest.Call, m workload.Message) {
	m.Number = next(c)
	c.Send(workload.Counter, workload.CounterKey(m.Target()), m.Append(nil))
}

func next(c *runtimetest.Call) uint32 {
	n := c.Int(sent) + 1
	c.SetInt(sent, n)
	return uint32(n)
}

func counter(c *runtimetest.Call, effects []string) error {
	me, err := workload.ParseKey(c.Key, 'c')
	if err != nil {
		return err
	}
	m, err := workload.ParseMessage(string(c.Value))
	if err != nil {
		return err
	}
	n := c.Int(count) + 1
	c.SetInt(count, n)
	for _, egress := range effects {
		c.Put(egress, c.Key, workload.Output{Message: m, Count: uint32(n)}.Append(nil))
	}
	switch {
	case m.HTTP:
		c.Reply(strconv.AppendInt(nil, n, 10))
	case m.Hop < m.Hops:
		m.From, m.Number = me, next(c)
		c.Send(workload.Source, workload.SourceKey(m.Source), m.Append(nil))
	}
	return nil
}

// gated is a module whose calls wait for the scheduler, so that things come while a guest runs.
type gated struct {
	runtimetest.Module
	process *process
}

func (g gated) NewInvoker(log func(int, []byte)) (taskmanager.Invoker, error) {
	invoker, err := g.Module.NewInvoker(log)
	if err != nil || !g.process.world.plan.gated {
		return invoker, err
	}
	return &gate{invoker, g.process}, nil
}

type gate struct {
	taskmanager.Invoker
	process *process
}

func (g *gate) Call(in []byte, now int64, seed uint64) ([]byte, error) {
	if g.process.world.scheduler.hold(g.process, guest, fmt.Sprintf("%d/guest/%s", g.process.number, first(in))) == died {
		return nil, errDied
	}
	return g.Invoker.Call(in, now, seed)
}

// first names a batch by its first message. It tells calls apart that wait at once, since an instance does not know which
// task it belongs to.
func first(in []byte) string {
	var reader abi.Reader
	if err := reader.Open(in); err != nil || !reader.Next() || !reader.NextMessage() {
		return "empty"
	}
	return fmt.Sprintf("%s %s", reader.Key, reader.Value)
}
