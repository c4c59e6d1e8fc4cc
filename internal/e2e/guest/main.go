// Command guest holds the functions under proof. A source takes inputs and fans each out to counters; a counter counts,
// tells so on an egress, and acknowledges to the source, which sends the branch on to the next counter until its hops are
// used up. Every message carries its sender's running number, every record the receiver's, so that order can be checked.
package main

import (
	"github.com/weir-run/weir/internal/e2e/workload"
	weir "github.com/weir-run/weir/sdk/go"
)

var (
	count = weir.Int64("count") // messages received, but for inputs
	sent  = weir.Int64("sent")  // messages sent
	seq   = weir.Int64("seq")   // last input; sources only
)

func init() {
	weir.Egresses(workload.Effects, workload.Acks)
	weir.Ingress(workload.Inputs, workload.Source)
	weir.Handle(workload.Source, source, count, sent, seq)
	weir.Handle(workload.Counter, counter, count, sent)
}

// source takes an input from its ingress, or the acknowledgement of a counter. It does not guard against an input that comes
// twice: what the platform doubles must show.
func source(c *weir.Call, text string) error {
	me, err := workload.ParseKey(c.Key(), 's')
	if err != nil {
		return err
	}
	if c.Origin() == weir.FromFunction {
		return acknowledged(c, me, text)
	}
	in, err := workload.ParseInput(text)
	if err != nil {
		return err
	}
	seq.Set(c, int64(in.Seq))
	for branch := range in.Fanout {
		send(c, workload.Message{
			Token: workload.Token{Source: me, Seq: in.Seq, Branch: branch}, Hops: in.Hops, From: me,
		})
	}
	return nil
}

func acknowledged(c *weir.Call, me uint16, text string) error {
	m, err := workload.ParseMessage(text)
	if err != nil {
		return err
	}
	n := count.Get(c) + 1
	count.Set(c, n)
	c.Egress(workload.Acks).PutBytes(c.Key(), workload.Output{Message: m, Count: uint32(n)}.Append(nil))
	m.Hop++
	m.From = me
	send(c, m)
	return nil
}

// send numbers a message and sends it to its counter.
func send(c *weir.Call, m workload.Message) {
	m.Number = next(c)
	c.SendBytes(workload.Counter, workload.CounterKey(m.Target()), m.Append(nil))
}

func next(c *weir.Call) uint32 {
	n := sent.Get(c) + 1
	sent.Set(c, n)
	return uint32(n)
}

// counter counts a message of a source or an HTTP client.
func counter(c *weir.Call, text string) error {
	me, err := workload.ParseKey(c.Key(), 'c')
	if err != nil {
		return err
	}
	m, err := workload.ParseMessage(text)
	if err != nil {
		return err
	}
	n := count.Get(c) + 1
	count.Set(c, n)
	c.Egress(workload.Effects).PutBytes(c.Key(), workload.Output{Message: m, Count: uint32(n)}.Append(nil))
	if m.HTTP {
		return c.Reply(n)
	}
	if m.Hop < m.Hops {
		m.From, m.Number = me, next(c)
		c.SendBytes(workload.Source, workload.SourceKey(m.Source), m.Append(nil))
	}
	return nil
}

func main() {}
