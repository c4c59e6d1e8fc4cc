package kafkaio_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

func TestClientDoesWhatTheCommandLineAsks(t *testing.T) {
	_, k := fake(t)
	c, err := kafkaio.OpenClient(functions.Cluster{Address: k.address}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	within(t, "ask", func(ctx context.Context) error {
		if err := c.Create(ctx, "clicks", 3, map[string]string{"retention.ms": "60000"}); err != nil {
			return err
		}
		if err := c.Create(ctx, "clicks", 3, nil); err == nil {
			t.Error("a topic was created twice")
		}
		there, near, err := c.Exists(ctx, "click")
		if err != nil {
			return err
		}
		if there || !slices.Equal(near, []string{"clicks"}) {
			t.Errorf("click: %v, near %v", there, near)
		}
		for n := range 9 {
			partition, offset, err := c.Produce(ctx, &kafkaio.ProducedRecord{
				Topic: "clicks", Partition: int32(n % 3), Key: []byte("k"), Value: fmt.Append(nil, n), Headers: []router.Header{{Key: "h", Value: []byte("v")}},
			})
			if err != nil {
				return err
			}
			if partition != int32(n%3) || offset != int64(n/3) {
				t.Errorf("record %d is at %d[%d]", n, partition, offset)
			}
		}
		home, _, err := c.Produce(ctx, &kafkaio.ProducedRecord{Topic: "clicks", Partition: -1, Key: []byte("k"), Value: []byte("9")})
		if err != nil {
			return err
		}
		if again, _, err := c.Produce(ctx, &kafkaio.ProducedRecord{Topic: "clicks", Partition: -1, Key: []byte("k"), Value: []byte("10")}); err != nil || again != home {
			t.Errorf("one key is in partitions %d and %d: %v", home, again, err)
		}
		d, err := c.Describe(ctx, "clicks")
		if err != nil {
			return err
		}
		if len(d.Partitions) != 3 || d.Configs["retention.ms"] != "60000" || d.Partitions[home].End != 5 {
			t.Errorf("described as %+v", d)
		}
		if _, err := c.Describe(ctx, "absent"); !errors.Is(err, router.ErrUnknownTopic) {
			t.Errorf("describe of an absent topic: %v", err)
		}
		k.Transact(t, "clicks", false, routertest.Record{Value: []byte("aborted")})
		return consumesAsAsked(ctx, t, c, home)
	})
}

// consumesAsAsked reads the eleven committed records and the aborted one in several ways.
func consumesAsAsked(ctx context.Context, t *testing.T, c *kafkaio.Client, home int32) error {
	for _, one := range []struct {
		what kafkaio.Consumption
		want int
	}{
		{kafkaio.Consumption{Topic: "clicks", Partition: -1, Offset: kafkaio.FromStart}, 11},
		{kafkaio.Consumption{Topic: "clicks", Partition: -1, Offset: kafkaio.FromStart, Uncommitted: true}, 12},
		{kafkaio.Consumption{Topic: "clicks", Partition: -1, Offset: kafkaio.FromStart, Count: 4}, 4},
		{kafkaio.Consumption{Topic: "clicks", Partition: -1, Offset: kafkaio.FromStart, Count: 11, Follow: true}, 11},
		{kafkaio.Consumption{Topic: "clicks", Partition: -1, Offset: kafkaio.FromEnd}, 0},
		{kafkaio.Consumption{Topic: "clicks", Partition: home, Offset: 2}, 3},
	} {
		n := 0
		if err := c.Consume(ctx, one.what, func(r *kafkaio.ConsumedRecord) error {
			n++
			if string(r.Key) != "k" && !one.what.Uncommitted {
				t.Errorf("record %+v", r)
			}
			return nil
		}); err != nil {
			return err
		}
		if n != one.want {
			t.Errorf("%+v: %d records, want %d", one.what, n, one.want)
		}
	}
	return nil
}
