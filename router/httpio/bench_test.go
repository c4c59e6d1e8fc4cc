package httpio_test

import (
	"context"
	"net"
	"strings"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/httpio"
)

// BenchmarkInvoke is a whole request over a kept connection, with a dispatch that answers at once: what HTTP costs.
func BenchmarkInvoke(b *testing.B) {
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())).Meter("bench")
	b.Run("plain", func(b *testing.B) { invoke(b, httpio.Config{}) })
	b.Run("measured", func(b *testing.B) { invoke(b, httpio.Config{Meter: meter}) })
}

func invoke(b *testing.B, config httpio.Config) {
	address, _ := start(b, config, func(context.Context, *router.Call) (router.Answer, error) {
		return router.Answer{Status: 200, Body: []byte("42"), Epoch: 7}, nil
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("POST /in/example/counter/ann HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n3")
	answer := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(answer); err != nil {
			b.Fatal(err)
		}
	}
}
