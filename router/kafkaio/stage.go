package kafkaio

import (
	"context"

	"github.com/weir-run/weir/router"
)

// target is the lane's output to one topic.
type target struct {
	t     *topic
	limit int        // of a batch, in bytes
	parts []*outPart // by partition
}

// outPart is the lane's output to one partition.
type outPart struct {
	partitionKey
	sequences [maxHands]int32 // of the next batch of each hand
	batches   []*batch        // of the outbox in work
	sent      int             // of those, acknowledged
}

// stage builds the batches of an outbox and its marker.
func (l *Lane) stage(ctx context.Context, number uint64, outbox [][]byte) error {
	for _, p := range l.staged {
		l.release(p)
	}
	l.staged = l.staged[:0]
	there, index := l.there[number], int32(0)
	var to *target
	for _, b := range outbox {
		for r, err := range router.EgressRecords(b) {
			if err != nil {
				return err
			}
			if to == nil || to.t.name != string(r.Topic) {
				t, err := l.topic(ctx, r.Topic)
				if err != nil {
					return &router.Refused{Number: number, Record: int(index), Topic: string(r.Topic), Err: err}
				}
				to = l.target(t)
			}
			p := to.parts[l.partition(to.t, r, number)]
			if len(there) == 0 || !there[p.partitionKey] {
				l.put(p, r, index, to.limit)
			}
			index++
		}
	}
	marker, key := l.markerRecord(number), l.markerPartition()
	l.put(l.outputs(markerTopic, int(key.id)+1).parts[key.id], &marker, index, batchBytes)
	for _, p := range l.staged {
		codec := ""
		if t := l.e.known(p.topic); t != nil {
			codec = t.codec
		}
		for _, b := range p.batches {
			b.close(l.e.compressors[codec], attrTransactional)
		}
	}
	return nil
}

// topic is the topic of a record, waited for while it is unknown: a broker that has just started knows few.
func (l *Lane) topic(ctx context.Context, name []byte) (*topic, error) {
	if m := l.e.topics.Load(); m != nil {
		if t := (*m)[string(name)]; t != nil {
			return t, nil
		}
	}
	l.e.want(string(name))
	for n := 1; n <= unknownTries; n++ {
		if err := l.e.look(ctx); err != nil && !heals(err) {
			return nil, err
		}
		if t := l.e.known(string(name)); t != nil {
			return t, nil
		}
		if err := pause(ctx, n); err != nil {
			return nil, err
		}
	}
	return nil, router.ErrUnknownTopic
}

func (l *Lane) partition(t *topic, r *router.EgressRecord, number uint64) int32 {
	if r.Key == nil {
		return lanePartition(l.id, number, len(t.leaders))
	}
	return keyPartition(r.Key, len(t.leaders))
}

// target is the lane's output to a topic as it is known at this moment.
func (l *Lane) target(t *topic) *target {
	to := l.outputs(t.name, len(t.leaders))
	to.t, to.limit = t, min(t.maxBytes, batchBytes)
	if l.limit > 0 {
		to.limit = min(to.limit, l.limit)
	}
	return to
}

// outputs is the lane's output to a topic, with this many partitions at least.
func (l *Lane) outputs(topic string, partitions int) *target {
	to := l.targets[topic]
	if to == nil {
		to = &target{}
		l.targets[topic] = to
	}
	for id := len(to.parts); id < partitions; id++ {
		to.parts = append(to.parts, &outPart{partitionKey: partitionKey{topic, int32(id)}})
	}
	return to
}

// put stages a record.
func (l *Lane) put(p *outPart, r *router.EgressRecord, index int32, limit int) {
	if len(p.batches) > 0 && p.batches[len(p.batches)-1].add(r, index, limit) {
		return
	}
	if len(p.batches) == 0 {
		l.staged = append(l.staged, p)
	}
	b, ok := l.pool.Get().(*batch)
	if !ok {
		b = &batch{}
	}
	b.reset()
	b.add(r, index, limit)
	p.batches = append(p.batches, b)
}

// release gives up the batches of an outbox. Their memory serves the next one; a flood pins it until a collection or two.
func (l *Lane) release(p *outPart) {
	for i, b := range p.batches {
		if p.batches[i] = nil; !b.lent {
			l.pool.Put(b)
		}
	}
	p.batches, p.sent = p.batches[:0], 0
}
