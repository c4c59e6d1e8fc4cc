package kafkaio

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/router"
)

// Send implements router.Egress. It does not bound what is in flight: the records are those of the caller's snapshot,
// and the caller stops its ingress when they are too many.
func (e *Egress) Send(encoded []byte, done func(error)) {
	count := 0
	for _, err := range router.EgressRecords(encoded) {
		if err != nil {
			done(fmt.Errorf("send: %w", err))
			return
		}
		count++
	}
	if count == 0 {
		done(nil)
		return
	}
	out := &outgoing{done: done}
	out.open.Store(int64(count))
	records := make([]kgo.Record, count)
	n := 0
	for r := range router.EgressRecords(encoded) {
		k := &records[n]
		k.Topic, k.Key, k.Value, k.Timestamp = string(r.Topic), r.Key, r.Value, time.UnixMilli(r.Time)
		for name, value := range router.Headers(r.Ext) {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: string(name), Value: value})
		}
		index := n
		n++
		cl, err := e.sender(e.declared[k.Topic].Compression)
		if err != nil {
			out.finish(index, k.Topic, err)
			continue
		}
		// The records of a job outlive the call and every attempt to send them: only Close ends them.
		cl.Produce(cl.Context(), k, func(k *kgo.Record, err error) { out.finish(index, k.Topic, err) })
	}
}

// outgoing counts down the records of one Send.
type outgoing struct {
	open  atomic.Int64
	first atomic.Pointer[error]
	done  func(error)
}

func (o *outgoing) finish(index int, topic string, err error) {
	if err != nil {
		err = fmt.Errorf("send record %d to %s: %w", index, topic, err)
		if refused(err) {
			err = fmt.Errorf("%w: %w", router.ErrRefused, err)
		}
		o.first.CompareAndSwap(nil, &err)
	}
	if o.open.Add(-1) > 0 {
		return
	}
	if first := o.first.Load(); first != nil {
		o.done(*first)
		return
	}
	o.done(nil)
}

// sender is the at-least-once producer of a codec, opened when it is first needed.
func (e *Egress) sender(codec string) (*kgo.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, kgo.ErrClientClosed
	}
	if cl := e.senders[codec]; cl != nil {
		return cl, nil
	}
	c, err := codecNamed(codec)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(e.opts[:len(e.opts):len(e.opts)],
		kgo.ProducerBatchCompression(c), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerLinger(0),
		kgo.MaxBufferedRecords(math.MaxInt32), // Send says who bounds them
		kgo.MetadataMaxAge(router.DiscoveryInterval),
		kgo.ProducerBatchMaxBytes(batchBytes),
	)...)
	if err != nil {
		return nil, fmt.Errorf("open producer: %w", err)
	}
	e.senders[codec] = cl
	return cl, nil
}

// refused says whether the broker will never take the record, however often it is asked.
func refused(err error) bool {
	for _, e := range []error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.TopicAuthorizationFailed,
		kerr.UnsupportedForMessageFormat, kerr.InvalidTopicException, kerr.UnsupportedCompressionType, kerr.PolicyViolation,
		kerr.InvalidRequiredAcks, router.ErrUnknownTopic, router.ErrTooLarge,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
