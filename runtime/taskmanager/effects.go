package taskmanager

import (
	"fmt"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/sdk/abi"
	"github.com/weir-run/weir/statestore"
)

// applyGroup applies the effects of one group's invocations, all or nothing for each. When one of them asks for what
// cannot be done, the group's messages run one by one instead, and that one fails.
func (t *task) applyGroup(b *batch, i int) error {
	g := &b.groups[i]
	check := b.result
	if bad, err := t.checkGroup(b, g, &check); err != nil {
		if g.count == 1 {
			return t.fail(&b.messages[bad], err.Error())
		}
		t.leave(b, g.first)
		return nil
	}
	t.applyStates(b, g)
	var op abi.Op
	answered := t.applyOps(b, g, &op)
	at := g.first
	for range b.result.Done() {
		m := &b.messages[at]
		if m.Kind == functions.KindRequest && !answered[at%batchMessages] {
			t.answer(m, router.Answer{Status: statusNoContent})
		}
		at = b.next[at]
	}
	_, text, failed := b.result.Failure()
	if !failed {
		return nil
	}
	t.leave(b, b.next[at])
	return t.fail(&b.messages[at], string(text))
}

// checkGroup says whether all ops and states of a group can be applied; bad is the message at fault.
func (t *task) checkGroup(b *batch, g *group, r *abi.Result) (bad int16, err error) {
	states := t.program.functions[g.target].states
	var write abi.StateWrite
	for r.NextState(&write) {
		if write.Index >= len(states) {
			return g.first, fmt.Errorf("guest wrote state %d of a function that declares %d", write.Index, len(states))
		}
		if len(write.Value) > statestore.MaxValueBytes {
			return g.first, fmt.Errorf("state %d of %d bytes is larger than the limit of %d", write.Index, len(write.Value), statestore.MaxValueBytes)
		}
	}
	var op abi.Op
	for r.NextOp(&op) {
		if err := t.checkOp(&op); err != nil {
			return b.nth(g, op.Message), err
		}
	}
	return 0, nil
}

// nth is the index in the batch of a group's n-th message.
func (b *batch) nth(g *group, n int) int16 {
	at := g.first
	for range n {
		at = b.next[at]
	}
	return at
}

func (t *task) checkOp(op *abi.Op) error {
	switch op.Kind {
	case abi.Send:
		if _, known := t.program.ids[string(op.Target)]; !known {
			return fmt.Errorf("send to %s: no module of the job has this function type", op.Target)
		}
		if len(op.Key) == 0 || len(op.Key) > maxKeyBytes {
			return fmt.Errorf("send to %s: key of %d bytes; it must have 1 to %d", op.Target, len(op.Key), maxKeyBytes)
		}
		if len(op.Value) > functions.MaxMessageBytes/2 {
			return fmt.Errorf("send to %s: value of %d bytes is larger than the limit of %d", op.Target, len(op.Value), functions.MaxMessageBytes/2)
		}
	case abi.Egress:
		egress := t.egress(op.Target)
		if egress == nil {
			return fmt.Errorf("egress %q is not declared by the job", op.Target)
		}
		if len(op.Topic) > 0 && !egress.topics[string(op.Topic)] {
			return fmt.Errorf("egress %q: topic %q is not declared; add it to spec.topics of the egress", op.Target, op.Topic)
		}
		t.record = egressRecord(egress, op)
		if err := t.program.clusters[egress.cluster].egress.Check(&t.record); err != nil {
			return fmt.Errorf("egress %q, topic %q: %w", op.Target, t.record.Topic, err)
		}
	}
	return nil
}

// egress finds an egress by its id, or nil. Most functions write to one: the last one found is looked at first.
func (t *task) egress(id []byte) *egressTarget {
	if e := t.lastEgress; e != nil && e.id == string(id) {
		return e
	}
	t.lastEgress = t.program.egresses[string(id)]
	return t.lastEgress
}

func egressRecord(egress *egressTarget, op *abi.Op) router.EgressRecord {
	record := router.EgressRecord{Topic: op.Topic, Key: op.Key, Value: op.Value, Ext: op.Ext}
	if len(record.Topic) == 0 {
		record.Topic = egress.topic
	}
	if op.NoKey {
		record.Key = nil
	} else if record.Key == nil {
		record.Key = []byte{}
	}
	if op.NoValue {
		record.Value = nil
	} else if record.Value == nil {
		record.Value = []byte{}
	}
	return record
}

func (t *task) applyStates(b *batch, g *group) {
	states := t.program.functions[g.target].states
	var write abi.StateWrite
	for b.result.NextState(&write) {
		t.writes = append(t.writes, statestore.Entry{
			Group: functions.GroupOf(g.hash, t.groups), State: states[write.Index], Hash: g.hash, Key: b.messages[g.first].Key,
			Value: write.Value, Present: !write.Delete,
		})
	}
}

// applyOps carries out the ops of a group and says which of the batch's messages have their answer.
func (t *task) applyOps(b *batch, g *group, op *abi.Op) (answered [batchMessages]bool) {
	at, n := g.first, 0
	for b.result.NextOp(op) {
		for ; n < op.Message; n++ {
			at = b.next[at]
		}
		m := &b.messages[at]
		switch op.Kind {
		case abi.Send:
			out := functions.Message{
				Target: t.program.ids[string(op.Target)], Sender: g.target, Kind: functions.KindSend, Time: m.Time,
				Key: op.Key, SenderKey: m.Key, Value: op.Value, Ext: op.Ext,
			}
			if len(op.Type) > 0 {
				out.Ext = functions.AppendExt(append([]byte(nil), op.Ext...), functions.TagType, op.Type)
			}
			if t.spans != nil {
				out.Ext = t.spans.sent(m, out.Ext)
			}
			t.deliver(&out)
		case abi.Egress:
			egress := t.egress(op.Target)
			record := egressRecord(egress, op)
			record.Time = t.now
			if t.spans != nil {
				t.spans.emitted(m, egress.delivery, &record, t.program.clusters[egress.cluster].egress)
			}
			t.emit(egress.cluster, egress.delivery, &record)
		case abi.Reply:
			if m.Kind == functions.KindRequest {
				answered[at] = true
				t.answer(m, router.Answer{Status: statusOK, Body: append([]byte(nil), op.Value...)})
			}
		}
	}
	return answered
}

// emit puts a record on its way out: into this epoch's outbox, or to the broker at once.
func (t *task) emit(cluster int, delivery functions.Delivery, record *router.EgressRecord) {
	t.stats.out.Add(1)
	if delivery == functions.AtLeastOnce {
		t.unacked.append(cluster, record)
		return
	}
	t.outboxes.append(cluster, record)
	t.waiting = true
	t.changed()
}
