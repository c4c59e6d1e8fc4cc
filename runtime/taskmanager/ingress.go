package taskmanager

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// epochSamples bounds how many arrivals an epoch is timed by.
const epochSamples = 16

// ingress is one ingress of a job as its task sees it.
type ingress struct {
	spec     *functions.Ingress
	source   router.Ingress
	routes   []route                              // per topic of spec
	consumed map[router.Partition]router.Position // past the last record taken
	lag      map[router.Partition]int64
	cluster  int // for dead letters; index into program.clusters
	ext      []byte
	settled  bool // its starts are known, and in this epoch or an earlier one
}

// settle makes an epoch of the starts of ingresses, as soon as they are resolved: until a checkpoint holds them a recovery
// would resolve them again, and "latest" would skip what came since.
func (t *task) settle() {
	for i := range t.ingresses {
		in := &t.ingresses[i]
		if in.settled {
			continue
		}
		var starts []router.Position
		if starts, in.settled = in.source.Positions(); in.settled && len(starts) > 0 {
			t.changed()
		}
	}
}

// route is where the records of one ingress topic go.
type route struct {
	targets   []uint16
	typeExt   []byte // the value type as an extension
	keyHeader string
}

// poll takes one fetch and makes messages of its records. Ingress order is kept: a partition belongs to one task, and
// what it sends to one address goes one way. With nothing in the mailbox the task's own messages pass it by: they go into
// batches as views of the fetch and have all been run when poll returns, which leaves nothing of them to snapshots.
func (t *task) poll(in *ingress) error {
	fetch := in.source.Poll(pollRecords)
	if fetch == nil {
		return nil
	}
	t.worked = true
	t.changed()
	straight := t.mailbox.bytes == 0
	if straight {
		t.resetBatches()
	}
	in.ext = in.ext[:0]
	if err := t.take(in, fetch, straight); err != nil {
		return err
	}
	if straight {
		if err := t.callAll(); err != nil {
			return err
		}
	}
	if n := len(fetch.Records); n > 0 && len(t.samples) < epochSamples {
		t.samples = append(t.samples, fetch.Records[n-1].Time)
	}
	in.consumed[fetch.Partition] = fetch.Next
	t.stats.in.Add(uint64(len(fetch.Records)))
	t.stats.lag.Add(max(fetch.HighWater-fetch.Next.Offset, 0) - in.lag[fetch.Partition])
	in.lag[fetch.Partition] = max(fetch.HighWater-fetch.Next.Offset, 0)
	t.meter.took(in, fetch)
	return nil
}

// take makes messages of records, and brings each on its way.
func (t *task) take(in *ingress, fetch *router.Fetch, straight bool) error {
	route := &in.routes[fetch.Topic]
	for i := range fetch.Records {
		record := &fetch.Records[i]
		key, bad, policy := admit(in.spec, route, record)
		if bad != "" {
			if err := t.reject(in, fetch, record, bad, policy); err != nil {
				return err
			}
			continue
		}
		from := len(in.ext) // what a batch holds of it stays, also when it grows
		if t.spans != nil {
			in.ext = t.spans.arrive(in.ext, record)
		}
		in.ext = appendRecordExt(in.ext, route, fetch, record)
		message := functions.Message{
			Sender: functions.NoSender, Kind: functions.KindIngress, Time: record.Time, Key: key, Value: record.Value, Ext: in.ext[from:len(in.ext):len(in.ext)],
		}
		hash := functions.Hash(key)
		owner := functions.Owner(functions.GroupOf(hash, t.groups), t.groups, t.tasks)
		for _, target := range route.targets {
			message.Target = target
			switch {
			case owner != t.id:
				t.send(owner, &message)
			case !straight:
				t.mailbox.append(&message)
			default:
				if err := t.place(&message, hash); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// place puts a record's message into its batch, and runs the batch when it is full.
func (t *task) place(m *functions.Message, hash uint64) error {
	if t.retries.holds(m) {
		return nil
	}
	module := t.program.functions[m.Target].module
	if module < 0 {
		return t.fail(m, noModule)
	}
	b := &t.batches[module]
	b.add(m, hash)
	if !b.full() {
		return nil
	}
	err := t.callModule(module)
	b.reset()
	return err
}

// admit finds a record's key, or says what is wrong with the record and what its ingress does about that.
func admit(spec *functions.Ingress, route *route, record *router.Record) (key []byte, bad string, policy functions.InvalidPolicy) {
	key = record.Key
	if route.keyHeader != "" {
		key = nil
		for _, h := range record.Headers {
			if h.Key == route.keyHeader {
				key = h.Value
			}
		}
	}
	switch {
	case record.Oversized || len(key) > maxKeyBytes:
		return nil, fmt.Sprintf("record of %d bytes is larger than the %d of ingress %s", len(record.Key)+len(record.Value), spec.Invalid.MaxBytes, spec.ID), spec.Invalid.Oversize
	case len(key) == 0:
		return nil, "record has no key", spec.Invalid.NoKey
	case record.Value == nil && spec.Invalid.Tombstone != functions.InvalidDeliver:
		return nil, "record has no value (a tombstone)", spec.Invalid.Tombstone
	}
	return key, "", ""
}

// reject applies the policy of an ingress to a record that cannot become a message.
func (t *task) reject(in *ingress, fetch *router.Fetch, record *router.Record, bad string, policy functions.InvalidPolicy) error {
	where := coordinates(fetch.Partition.Topic, fetch.Partition.ID, record.Offset)
	switch policy {
	case functions.InvalidSkip:
		t.stats.skipped.Add(1)
		return nil
	case functions.InvalidFail:
		return fatal(fmt.Errorf("ingress %s, %s: %s; its policy is fail", in.spec.ID, where, bad))
	}
	letter := letter{topic: in.spec.Invalid.DeadLetter, cluster: in.cluster, key: record.Key, value: record.Value, cause: bad, where: where}
	for _, h := range record.Headers {
		letter.ext = functions.AppendHeader(letter.ext, []byte(h.Key), h.Value)
	}
	return t.bury(&letter)
}

func coordinates(topic string, partition int32, offset int64) string {
	return topic + "[" + strconv.Itoa(int(partition)) + "]@" + strconv.FormatInt(offset, 10)
}

// appendRecordExt appends what travels with a record: value type, coordinates, headers.
func appendRecordExt(b []byte, route *route, fetch *router.Fetch, record *router.Record) []byte {
	b = append(b, route.typeExt...)
	topic := fetch.Partition.Topic
	b = append(b, byte(functions.TagCoordinates), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(12+len(topic)))
	b = binary.LittleEndian.AppendUint32(b, uint32(fetch.Partition.ID))
	b = binary.LittleEndian.AppendUint64(b, uint64(record.Offset))
	b = append(b, topic...)
	for _, h := range record.Headers {
		b = append(b, byte(functions.TagHeader), 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(2+len(h.Key)+len(h.Value)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Key)))
		b = append(b, h.Key...)
		b = append(b, h.Value...)
	}
	return b
}

// origin reads a TagCoordinates extension as text, or "" when the message came from no record.
func origin(ext []byte) string {
	v := functions.Ext(ext, functions.TagCoordinates)
	if len(v) < 12 {
		return ""
	}
	le := binary.LittleEndian
	return coordinates(string(v[12:]), int32(le.Uint32(v)), int64(le.Uint64(v[4:])))
}
