//go:build e2e

package kafkaio_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/kafkabroker"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

// generations are the brokers that everything must work with.
var generations = []struct {
	version string
	port    int
}{{kafkabroker.Version, 23192}, {kafkabroker.Older, 23202}}

func broker(t *testing.T, version string, port int) *kafkabroker.Broker {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	b, err := kafkabroker.Start(t.Context(), kafkabroker.Config{
		Version: version, Dir: t.TempDir(), Port: port, Cache: filepath.Join(cache, "weir-kafka"), Username: "weir", Password: "right",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestContractsHoldOnApacheKafka(t *testing.T) {
	for _, g := range generations {
		t.Run(g.version, func(t *testing.T) {
			t.Parallel() // each waits for its own broker most of the time
			b := broker(t, g.version, g.port)
			k := newKafka(t, b.Address())
			t.Run("PartitionsAdded", func(t *testing.T) { partitionsAdded(t, k) })
			t.Run("Credentials", func(t *testing.T) { credentials(t, b, k) })
			t.Run("Ingress", func(t *testing.T) { routertest.TestIngress(t, k, k.ingress) })
			t.Run("Egress", func(t *testing.T) { routertest.TestEgress(t, k, k.egress(false)) })
		})
	}
}

// credentials tries right and wrong ones, by reference, with both mechanisms.
func credentials(t *testing.T, b *kafkabroker.Broker, k *kafka) {
	k.Create(t, "guarded", 1)
	secrets := func(ref string) (string, error) {
		return map[string]string{"${env:USER}": "weir", "${env:PASS}": "right", "${env:OTHER}": "hush"}[ref], nil
	}
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-512"} {
		right := functions.Cluster{Address: b.SASLAddress(), SASL: &functions.SASL{Mechanism: mechanism, Username: "${env:USER}", Password: "${env:PASS}"}}
		wrong := functions.Cluster{Address: b.SASLAddress(), SASL: &functions.SASL{Mechanism: mechanism, Username: "${env:USER}", Password: "${env:OTHER}"}}
		t.Run(mechanism, func(t *testing.T) {
			for name, cluster := range map[string]functions.Cluster{"right": right, "wrong": wrong} {
				in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
					Tasks: 1, Secrets: secrets, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Ingress: functions.Ingress{ID: "in", Cluster: cluster, Topics: []functions.IngressTopic{{Topic: "guarded"}}},
				})
				if err != nil {
					t.Fatal(err)
				}
				checkCredentials(t, name, in)
				e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: cluster, Secrets: secrets, Topics: []kafkaio.EgressTopic{{Name: "guarded"}}})
				if err != nil {
					t.Fatal(err)
				}
				checkLane(t, name, e)
			}
		})
	}
}

// partitionsAdded wants partitions that appear while an ingress reads to be found and read from their beginning.
func partitionsAdded(t *testing.T, k *kafka) {
	k.Create(t, "grows", 1)
	k.Write(t, "grows", routertest.Record{Value: []byte("0")})
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
		Tasks: 1, Ingress: functions.Ingress{ID: "in", Cluster: k.cluster(), Start: functions.Start{Type: "latest"}, Topics: []functions.IngressTopic{{Topic: "grows"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel, done := run(t, in)
	until(t, "settle", func(context.Context) bool {
		_, settled := in.Positions()
		return settled
	})
	k.Grow(t, "grows", 3)
	k.Write(t, "grows", routertest.Record{Partition: 1, Value: []byte("1")}, routertest.Record{Partition: 2, Value: []byte("2")})
	drain(t, in, done, 2)
	if p, _ := in.Positions(); len(p) != 3 {
		t.Errorf("positions %v, want 3", p)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
