package weirtest

import (
	"bytes"

	"github.com/weir-run/weir/sdk/abi"
	weir "github.com/weir-run/weir/sdk/go"
)

// maxOutput is where the output buffer stops doubling.
const maxOutput = 64 << 20

// invoke runs one message as a batch of its own and applies its effects.
func (h *Harness) invoke(m *message) {
	h.t.Helper()
	index := h.index(m.function)
	h.ids++
	m.abi.ID = h.ids
	h.batch.Reset(h.now.UnixMilli(), h.seed)
	h.batch.Group(uint16(index), []byte(m.key))
	for _, s := range h.functions[index].States {
		value, ok := h.Bytes(m.function, m.key, s.Name)
		h.batch.State(value, ok)
	}
	h.batch.Message(&m.abi)
	in := h.batch.Bytes()
	copy(h.guest.In(len(in)), in)
	size := abi.GuestFull
	for size == abi.GuestFull && h.output <= maxOutput {
		h.guest.Out(h.output)
		if size = h.guest.Batch(len(in)); size == abi.GuestFull {
			h.output *= 2
		}
	}
	if size < 0 {
		h.t.Fatalf("weirtest: %s/%s: the batch ends with code %d", m.function, m.key, size)
	}
	var r abi.Result
	if err := r.Open(bytes.Clone(h.guest.Out(0)[:size]), h.batch.Groups(), h.batch.Counts()); err != nil {
		h.t.Fatalf("weirtest: %s/%s: %v", m.function, m.key, err)
	}
	r.Next()
	h.apply(m, index, &r)
}

func (h *Harness) apply(m *message, index int, r *abi.Result) {
	h.t.Helper()
	if code, text, failed := r.Failure(); failed {
		f := Failure{m.function, m.key, code, string(text)}
		h.failures = append(h.failures, f)
		if m.root != nil {
			m.root.Failure = &f
		}
	}
	var s abi.StateWrite
	for r.NextState(&s) {
		at := place{m.function, m.key, h.functions[index].States[s.Index].Name}
		if s.Delete {
			delete(h.state, at)
		} else {
			h.state[at] = s.Value
		}
	}
	var op abi.Op
	for r.NextOp(&op) {
		switch op.Kind {
		case abi.Send:
			h.send(m, &op)
		case abi.Egress:
			h.records = append(h.records, record(&op))
		case abi.Reply:
			if m.root != nil {
				m.root.Replied, m.root.Value = true, Value{op.Value}
			}
		}
	}
}

func (h *Harness) send(m *message, op *abi.Op) {
	h.t.Helper()
	target := string(op.Target)
	h.sent = append(h.sent, Sent{weir.Address{Type: m.function, Key: m.key}, target, string(op.Key), string(op.Type), Value{op.Value}})
	if h.index(target) < 0 || h.held[target] {
		return
	}
	h.queue = append(h.queue, message{target, string(op.Key), abi.Message{
		Kind: abi.KindSend, Time: m.abi.Time, Type: op.Type, SenderType: []byte(m.function), SenderKey: []byte(m.key),
		Value: op.Value, Ext: op.Ext,
	}, nil})
}

func record(op *abi.Op) Record {
	r := Record{Egress: string(op.Target), Topic: string(op.Topic), Key: string(op.Key), Tombstone: op.NoValue, Value: Value{op.Value}}
	for rest := op.Ext; ; {
		tag, v, after, ok := abi.NextExt(rest)
		if !ok {
			return r
		}
		if tag == abi.TagHeader {
			if k, value, ok := abi.SplitHeader(v); ok {
				r.Headers = append(r.Headers, Header{string(k), string(value)})
			}
		}
		rest = after
	}
}
