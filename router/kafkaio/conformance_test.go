package kafkaio_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-run/weir/router/routertest"
)

func TestContractsHoldOnKfake(t *testing.T) {
	for name, opts := range map[string][]kfake.Opt{"TransactionVersion1": {older()}, "TransactionVersion2": nil} {
		t.Run(name, func(t *testing.T) {
			_, k := fake(t, opts...)
			t.Run("Ingress", func(t *testing.T) { routertest.TestIngress(t, k, k.ingress) })
			t.Run("Egress", func(t *testing.T) { routertest.TestEgress(t, k, k.egress(false)) })
			t.Run("EmbeddedEgress", func(t *testing.T) { routertest.TestEgress(t, k, k.egress(true)) })
		})
	}
}
