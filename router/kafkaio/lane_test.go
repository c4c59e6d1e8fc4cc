package kafkaio_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

func TestLaneSmoke(t *testing.T) {
	for _, embedded := range []bool{false, true} {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: functions.Cluster{Address: c.ListenAddrs()[0]}, Topics: []kafkaio.EgressTopic{{Name: "out", Compression: "lz4"}, {Name: "made", Create: 3}}, Embedded: embedded})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		l, _ := e.Lane("job/0")
		if err := l.Recover(ctx, false, 0, nil, nil); err != nil {
			t.Fatal(err)
		}
		box := func(n int) [][]byte {
			var b []byte
			for i := range 10 {
				b = router.AppendEgress(b, &router.EgressRecord{Topic: []byte([]string{"out", "made"}[i%2]), Key: fmt.Append(nil, n*10+i), Value: fmt.Append(nil, "hellohellohellohellohellohellohellohello", n*10+i), Time: 1})
			}
			return [][]byte{b}
		}
		for n := 1; n < 50; n++ {
			if err := l.Publish(ctx, uint64(n), box(n)); err != nil {
				t.Fatal(err)
			}
		}
		cookie := l.Cookie()
		fmt.Println(string(cookie))
		if err := l.Publish(ctx, 50, box(50)); err != nil {
			t.Fatal(err)
		}
		l.Close()
		l, _ = e.Lane("job/0")
		if err := l.Recover(ctx, true, 51, cookie, []router.Pending{{Number: 50, Outbox: box(50)}, {Number: 51, Outbox: box(51)}}); err != nil {
			t.Fatal(err)
		}
		cl, _ := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("out", "made"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		defer cl.Close()
		seen := map[string]int{}
		for len(seen) < 510 {
			cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { seen[string(r.Key)]++ })
			if ctx.Err() != nil {
				t.Fatal(len(seen))
			}
		}
		for k, n := range seen {
			if n != 1 {
				t.Fatal(k, n)
			}
		}
	}
}
