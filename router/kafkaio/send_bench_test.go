package kafkaio_test

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// BenchmarkSend sends chunks of a thousand records to four partitions of a broker that takes everything unread, as much at a
// time as a task has open: what is left is the client's side and the connection.
func BenchmarkSend(b *testing.B) {
	const records, open = 1000, 16
	c, k := fake(b)
	k.Create(b, "bench", 4)
	acceptUnread(c)
	e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Topics: []kafkaio.EgressTopic{{Name: "bench"}}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	var chunk []byte
	for n := range records {
		chunk = router.AppendEgress(chunk, &router.EgressRecord{
			Topic: []byte("bench"), Key: binary.BigEndian.AppendUint64(nil, uint64(n)), Value: make([]byte, 100), Time: 1_700_000_000_000 + int64(n/100),
		})
	}
	done := make(chan error, open)
	wait := func() {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	e.Send(chunk, func(err error) { done <- err })
	wait()
	b.ReportAllocs()
	b.SetBytes(int64(len(chunk)))
	under := 0
	for b.Loop() {
		if under == open {
			wait()
			under--
		}
		e.Send(chunk, func(err error) { done <- err })
		under++
	}
	for range under {
		wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*records), "ns/record")
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	if err := e.Close(); err != nil {
		b.Fatal(err)
	}
}

// acceptUnread makes the broker acknowledge every batch without a look at it.
func acceptUnread(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		produce := req.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range produce.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition = p.Partition
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}
