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

func TestSmoke(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cl, _ := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	defer cl.Close()
	for n := range 100 {
		cl.Produce(t.Context(), &kgo.Record{Topic: "in", Key: fmt.Append(nil, n), Value: fmt.Append(nil, n)}, nil)
	}
	cl.Flush(t.Context())
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{Tasks: 1, Ingress: functions.Ingress{ID: "a/in", Cluster: functions.Cluster{Address: c.ListenAddrs()[0]}, Topics: []functions.IngressTopic{{Topic: "in"}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	got := 0
	for got < 100 {
		select {
		case <-in.Ready():
		case err := <-done:
			t.Fatal(err)
		}
		for f := in.Poll(7); f != nil; f = in.Poll(7) {
			got += len(f.Records)
		}
	}
	p, ok := in.Positions()
	fmt.Println(p, ok)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var _ router.Ingress = in
}
