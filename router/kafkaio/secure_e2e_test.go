//go:build e2e

package kafkaio_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/kafkabroker"
	"github.com/weir-run/weir/router/kafkaio"
)

// securePort is the first of the ports of a broker with TLS.
const securePort = 23312

func TestApacheKafkaSaysWhatDoesNotFitItsListeners(t *testing.T) {
	home := authority(t)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	b, err := kafkabroker.Start(t.Context(), kafkabroker.Config{
		Dir: t.TempDir(), Port: securePort, Cache: filepath.Join(cache, "weir-kafka"), Username: "weir", Password: "right", Authority: home,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
	})
	client, foreign := issue(t, home, ""), issue(t, authority(t), "")
	ca := &functions.TLS{CA: client.CA}
	login := func(mechanism, password string) *functions.SASL {
		return &functions.SASL{Mechanism: mechanism, Username: "weir", Password: password}
	}
	right := login("SCRAM-SHA-512", "right")
	for name, good := range map[string]functions.Cluster{
		"TLS":           {Address: b.TLSAddress(), TLS: ca},
		"mutual TLS":    {Address: b.MutualTLSAddress(), TLS: client},
		"SCRAM on TLS":  {Address: b.SASLTLSAddress(), TLS: ca, SASL: right},
		"PLAIN on TLS":  {Address: b.SASLTLSAddress(), TLS: ca, SASL: login("PLAIN", "right")},
		"SCRAM without": {Address: b.SASLAddress(), SASL: right},
	} {
		t.Run(name, func(t *testing.T) {
			if err := reach(t, good); err != nil {
				t.Error(err)
			}
		})
	}
	for name, one := range map[string]struct {
		cluster functions.Cluster
		want    kafkaio.Misfit
	}{
		"plain to TLS":                  {functions.Cluster{Address: b.TLSAddress()}, kafkaio.WantsTLS},
		"plain to mutual TLS":           {functions.Cluster{Address: b.MutualTLSAddress()}, kafkaio.WantsTLS},
		"plain to SASL":                 {functions.Cluster{Address: b.SASLAddress()}, kafkaio.WantsSASL},
		"plain to SASL on TLS":          {functions.Cluster{Address: b.SASLTLSAddress()}, kafkaio.WantsTLS},
		"SASL without TLS":              {functions.Cluster{Address: b.SASLTLSAddress(), SASL: right}, kafkaio.WantsTLS},
		"TLS to plain":                  {functions.Cluster{Address: b.Address(), TLS: ca}, kafkaio.NoTLS},
		"TLS without SASL":              {functions.Cluster{Address: b.SASLTLSAddress(), TLS: ca}, kafkaio.WantsSASL},
		"no client certificate":         {functions.Cluster{Address: b.MutualTLSAddress(), TLS: ca}, kafkaio.ClientRefused},
		"foreign client certificate":    {functions.Cluster{Address: b.MutualTLSAddress(), TLS: &functions.TLS{CA: client.CA, Cert: foreign.Cert, Key: foreign.Key}}, kafkaio.ClientRefused},
		"foreign authority":             {functions.Cluster{Address: b.TLSAddress(), TLS: &functions.TLS{CA: foreign.CA}}, kafkaio.Untrusted},
		"another name":                  {functions.Cluster{Address: b.TLSAddress(), TLS: &functions.TLS{CA: client.CA, ServerName: "kafka.example"}}, kafkaio.WrongName},
		"wrong password":                {functions.Cluster{Address: b.SASLTLSAddress(), TLS: ca, SASL: login("SCRAM-SHA-512", "hush")}, kafkaio.WrongPassword},
		"wrong password in clear":       {functions.Cluster{Address: b.SASLTLSAddress(), TLS: ca, SASL: login("PLAIN", "hush")}, kafkaio.WrongPassword},
		"another mechanism":             {functions.Cluster{Address: b.SASLTLSAddress(), TLS: ca, SASL: login("SCRAM-SHA-256", "right")}, kafkaio.NoMechanism},
		"credentials where nobody asks": {functions.Cluster{Address: b.TLSAddress(), TLS: ca, SASL: right}, kafkaio.NoMechanism},
	} {
		t.Run(name, func(t *testing.T) { unfit(t, one.cluster, one.want) })
	}
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	unfit(t, functions.Cluster{Address: b.TLSAddress(), TLS: ca}, kafkaio.Silent)
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
}
