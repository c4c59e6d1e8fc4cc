package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-run/weir/functions"
)

func TestCommandsReachABrokerWithCredentials(t *testing.T) {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("PLAIN", "weir", "hush"), kfake.SeedTopics(1, "clicks"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := []string{
		"WEIR_KAFKA=" + broker.ListenAddrs()[0], "WEIR_KAFKA_SASL_MECHANISM=plain", "WEIR_KAFKA_SASL_USERNAME=weir",
		"WEIR_KAFKA_SECURITY_PROTOCOL=sasl_plaintext",
	}
	for name, one := range map[string]struct {
		environment, args []string
	}{
		"of the environment": {[]string{"WEIR_KAFKA_SASL_PASSWORD=hush"}, nil},
		"of a file":          {nil, []string{"--kafka-sasl-password", "${file:password}"}},
		"of a flag first":    {[]string{"WEIR_KAFKA_SASL_PASSWORD=wrong"}, []string{"--kafka-sasl-password", "${file:password}"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, verb := range [][]string{{"topics"}, {"produce", "clicks", "ann", "5"}, {"consume", "clicks", "-n", "1"}} {
				var out, complaint bytes.Buffer
				s := &shell{in: strings.NewReader(""), out: &out, err: &complaint, dir: dir, environ: append(environment[:len(environment):len(environment)], one.environment...)}
				if code := s.run(t.Context(), append(verb, one.args...)); code != exitDone {
					t.Errorf("weir %v: exit %d: %s", verb, code, &complaint)
				}
			}
		})
	}
}

func TestAJobHasTheServersAccessWhereItSaysNothingElse(t *testing.T) {
	tls, sasl := &functions.TLS{CA: "ca.pem"}, &functions.SASL{Mechanism: "PLAIN", Username: "${env:U}", Password: "${env:P}"}
	own := &functions.SASL{Mechanism: "PLAIN", Username: "${env:OTHER}", Password: "${env:P}"}
	a := &adapters{wiring: wiring{Broker: functions.Cluster{Address: "broker:9094", TLS: tls, SASL: sasl}}}
	for name, one := range map[string]struct{ job, want functions.Cluster }{
		"the server's cluster":           {functions.Cluster{Address: embeddedAddress}, a.Broker},
		"the server's, another identity": {functions.Cluster{Address: embeddedAddress, SASL: own}, functions.Cluster{Address: "broker:9094", TLS: tls, SASL: own}},
		"another cluster":                {functions.Cluster{Address: "other:9092"}, functions.Cluster{Address: "other:9092"}},
	} {
		if got, _, err := a.cluster(one.job); err != nil || got != one.want {
			t.Errorf("%s: got %+v, want %+v: %v", name, got, one.want, err)
		}
	}
}
