package taskmanager

import (
	"encoding/binary"
	"fmt"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/sdk/abi"
	"github.com/weir-run/weir/statestore"
)

const (
	// batchMessages fills a guest call: measured, 64 messages carry all the gain of batching and 256 no more.
	batchMessages = 64
	// batchBytes closes a batch of large messages, so that guest buffers stay small.
	batchBytes = 32 << 10
	// scanMessages bounds how far one turn looks for messages of several modules.
	scanMessages = 4 * batchMessages
	// maxKeyBytes bounds a key of an address: the reference's id of a function is a name, not a payload.
	maxKeyBytes = statestore.MaxKeyBytes - 512
)

// batch is one guest call in the making: messages of one module, grouped by address in order of arrival.
type batch struct {
	messages [batchMessages]functions.Message
	next     [batchMessages]int16 // the next message of the same group, or -1
	groups   [batchMessages]group
	table    [2 * batchMessages]int16 // open addressing by hash: group index + 1
	n        int
	groupN   int
	bytes    int
	entries  []statestore.Entry // prefetched states, group by group
	encoder  abi.Batch
	result   abi.Result
}

// group is the messages of one address in a batch.
type group struct {
	hash        uint64
	target      uint16
	first, last int16
	count       int16
}

func (b *batch) reset() {
	b.n, b.groupN, b.bytes = 0, 0, 0
	b.table = [2 * batchMessages]int16{}
}

func (b *batch) full() bool { return b.n == batchMessages || b.bytes >= batchBytes }

// add puts a message into the group of its address.
func (b *batch) add(m *functions.Message, hash uint64) {
	i := int16(b.n)
	b.messages[i] = *m
	b.next[i] = -1
	b.n++
	b.bytes += len(m.Key) + len(m.Value) + len(m.Ext)
	for slot := (hash >> 16) % uint64(len(b.table)); ; slot = (slot + 1) % uint64(len(b.table)) {
		at := b.table[slot]
		if at == 0 {
			b.groups[b.groupN] = group{hash: hash, target: m.Target, first: i, last: i, count: 1}
			b.groupN++
			b.table[slot] = int16(b.groupN)
			return
		}
		g := &b.groups[at-1]
		if g.hash == hash && g.target == m.Target && string(b.messages[g.first].Key) == string(m.Key) {
			b.next[g.last] = i
			g.last = i
			g.count++
			return
		}
	}
}

// process runs at most one full batch per module.
func (t *task) process() error {
	if err := t.overrun(); err != nil || t.stalled() {
		return err
	}
	t.resetBatches()
	if err := t.collect(); err != nil {
		return err
	}
	if err := t.callAll(); err != nil {
		return err
	}
	return t.serveReads()
}

func (t *task) resetBatches() {
	for i := range t.batches {
		t.batches[i].reset()
	}
}

// callAll runs the batch of every module that has one.
func (t *task) callAll() error {
	for i := range t.batches {
		if t.batches[i].n == 0 {
			continue
		}
		if err := t.callModule(i); err != nil {
			return err
		}
	}
	return nil
}

// callModule runs the batch of one module, to the last message.
func (t *task) callModule(i int) error {
	t.worked = true
	if err := t.call(i, &t.batches[i]); err != nil {
		return err
	}
	return t.settleLeftovers(i)
}

// noModule is the cause of failure of messages that outlived the function they are for.
const noModule = "no module of the job's version has this function"

// collect takes messages off the mailbox until a batch is full.
func (t *task) collect() error {
	var m functions.Message
	for range scanMessages {
		ok, err := t.mailbox.next(&m)
		if err != nil || !ok {
			return err
		}
		if int(m.Target) >= len(t.program.functions) {
			return fmt.Errorf("message for function id %d, but version %d of the job has %d functions", m.Target, t.program.version, len(t.program.functions))
		}
		function := &t.program.functions[m.Target]
		if m.Kind == functions.KindRead {
			t.reads = append(t.reads, m)
			t.worked = true
			continue
		}
		if t.retries.holds(&m) {
			t.worked = true
			continue
		}
		if function.module < 0 {
			if err := t.fail(&m, noModule); err != nil {
				return err
			}
			continue
		}
		b := &t.batches[function.module]
		if m.Kind == functions.KindRequest {
			done, err := t.repeated(b, &m)
			if err != nil {
				return err
			}
			if done {
				t.worked = true
				continue
			}
		}
		b.add(&m, functions.Hash(m.Key))
		if b.full() {
			return nil
		}
	}
	return nil
}

// call makes one guest call and applies its effects. What could not be applied is left in leftovers, to be run one by one.
func (t *task) call(module int, b *batch) error {
	if err := t.encode(b); err != nil {
		return err
	}
	if t.spans != nil {
		t.spans.begin(t, b)
		defer t.spans.end()
	}
	t.stats.invocations.Add(uint64(b.n))
	t.sequence++
	out, err := t.invokers[module].Call(b.encoder.Bytes(), t.now, t.seed())
	if guest, ok := t.invokers[module].(metered); ok {
		t.stats.fuel.Add(uint64(guest.Fuel()))
	}
	if t.meter != nil {
		t.meter.called(t, module, b)
	}
	if err == nil {
		err = b.result.Open(out, b.groupN, b.encoder.Counts())
	}
	if err != nil {
		return t.discard(module, b, err)
	}
	t.writes = t.writes[:0]
	for i := 0; b.result.Next(); i++ {
		if err := t.applyGroup(b, i); err != nil {
			return err
		}
	}
	t.changed()
	return t.state.Write(t.writes)
}

// discard replaces an instance that trapped. A lone message has failed; of several, each runs on its own.
func (t *task) discard(module int, b *batch, cause error) error {
	t.invokers[module].Close()
	fresh, err := t.program.modules[module].NewInvoker(t.worker.guestLog(t.id))
	if err != nil {
		return fmt.Errorf("replace an instance that failed (%w): %w", cause, err)
	}
	t.invokers[module] = fresh
	if b.n == 1 {
		return t.fail(&b.messages[0], cause.Error())
	}
	for i := range b.groupN {
		t.leave(b, b.groups[i].first)
	}
	return nil
}

// leave puts a message and those behind it in its group aside, to be run one by one.
func (t *task) leave(b *batch, first int16) {
	for i := first; i >= 0; i = b.next[i] {
		t.spans.failed(&b.messages[i], "another message of the batch failed: this one runs again alone")
		t.leftovers = append(t.leftovers, b.messages[i])
	}
}

// settleLeftovers runs messages one by one, so that only the one that fails is failed.
func (t *task) settleLeftovers(module int) error {
	b := &t.batches[module]
	for i := 0; i < len(t.leftovers); i++ {
		m := t.leftovers[i]
		if t.retries.holds(&m) {
			continue
		}
		b.reset()
		b.add(&m, functions.Hash(m.Key))
		if err := t.call(module, b); err != nil {
			return err
		}
	}
	clear(t.leftovers)
	t.leftovers = t.leftovers[:0]
	return nil
}

// encode reads the states of every group in one go and writes the batch for the guest.
func (t *task) encode(b *batch) error {
	b.entries = b.entries[:0]
	for i := range b.groupN {
		g := &b.groups[i]
		key := b.messages[g.first].Key
		for _, id := range t.program.functions[g.target].states {
			b.entries = append(b.entries, statestore.Entry{Group: functions.GroupOf(g.hash, t.groups), State: id, Hash: g.hash, Key: key})
		}
	}
	if err := t.state.Read(t.now, b.entries); err != nil {
		return err
	}
	b.encoder.Reset(t.now, t.seed())
	entries := b.entries
	for i := range b.groupN {
		g := &b.groups[i]
		function := &t.program.functions[g.target]
		b.encoder.Group(function.index, b.messages[g.first].Key)
		for range function.states {
			b.encoder.State(entries[0].Value, entries[0].Present)
			entries = entries[1:]
		}
		for at := g.first; at >= 0; at = b.next[at] {
			t.encodeMessage(b, &b.messages[at])
		}
	}
	return nil
}

func (t *task) encodeMessage(b *batch, m *functions.Message) {
	t.sequence++
	message := abi.Message{Kind: uint8(m.Kind), Time: m.Time, ID: t.sequence, SenderKey: m.SenderKey, Value: m.Value, Ext: m.Ext}
	if len(m.Ext) > 0 {
		message.Type = functions.Ext(m.Ext, functions.TagType)
	}
	if m.Sender != functions.NoSender {
		message.SenderType = t.program.functions[m.Sender].nameBytes
	}
	b.encoder.Message(&message)
}

// seed makes random numbers differ between batches; it travels with the batch, so a guest stays deterministic.
func (t *task) seed() uint64 {
	x := t.worker.seed + uint64(t.id)<<48 + t.sequence
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// idempotencyState is the state id under which the answers to requests with an Idempotency-Key are kept, beyond the ids
// of a job's dictionary.
const idempotencyState = 0xFFFF

// idempotencyEntry is where the answer to a request is kept: in the key group of its address, so that it moves with it.
func (t *task) idempotencyEntry(m *functions.Message, key []byte) statestore.Entry {
	name := make([]byte, 0, 4+len(m.Key)+len(key))
	name = binary.LittleEndian.AppendUint16(name, m.Target)
	name = binary.LittleEndian.AppendUint16(name, uint16(len(m.Key)))
	name = append(append(name, m.Key...), key...)
	return statestore.Entry{
		Group: functions.GroupOf(functions.Hash(m.Key), t.groups), State: idempotencyState, Hash: functions.Hash(name), Key: name,
	}
}

// repeated answers a request whose Idempotency-Key has an answer already, and puts one aside whose first is in this batch.
func (t *task) repeated(b *batch, m *functions.Message) (bool, error) {
	key := functions.Ext(m.Ext, functions.TagIdempotency)
	if key == nil {
		return false, nil
	}
	for i := range b.n {
		if b.messages[i].Target == m.Target && string(b.messages[i].Key) == string(m.Key) && string(functions.Ext(b.messages[i].Ext, functions.TagIdempotency)) == string(key) {
			t.mailbox.append(m)
			return true, nil
		}
	}
	entries := []statestore.Entry{t.idempotencyEntry(m, key)}
	if err := t.state.Read(t.now, entries); err != nil || !entries[0].Present {
		return false, err
	}
	answer, err := decodeAnswer(entries[0].Value)
	if err != nil {
		return false, err
	}
	if redriven(m) && answer.Problem != nil {
		return false, nil // its first run was dead-lettered, and this is its redrive
	}
	answer.Replayed = true
	t.hold(m, answer)
	return true, nil
}
