//go:build e2e

package trouble

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/internal/kafkabroker"
	"github.com/weir-run/weir/router/kafkaio"
)

const (
	// securePort is the first of the ports of a broker with TLS.
	securePort = 23292
	// secureClicks is how many records go through a job, secureKills how often its server is killed meanwhile.
	secureClicks = 240
	secureKills  = 3
	mistaken     = "wrong-battery-staple"
	// told is how long a server may take to say what it waits for.
	told = time.Minute
)

// secured is a broker with every listener there is, and files of a client that fits it.
type secured struct {
	*kafkabroker.Broker
	authority *kafkabroker.Authority
	files     string
}

func startSecured(t *testing.T) *secured {
	t.Helper()
	cfg := brokerConfig(t, t.TempDir())
	cfg.Port, cfg.Authority = securePort, authority(t)
	broker, err := kafkabroker.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Kill() }) // a test may have ended it
	return &secured{broker, cfg.Authority, issue(t, cfg.Authority, t.TempDir())}
}

func authority(t *testing.T) *kafkabroker.Authority {
	t.Helper()
	a, err := kafkabroker.NewAuthority("weir")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *kafkabroker.Authority, dir string) string {
	t.Helper()
	if err := a.Issue(dir, "client"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// settings are the variables that say how the listeners are reached.
func (b *secured) settings(files string) (tls, mutual, sasl []string) {
	tls = []string{"WEIR_KAFKA_SSL_CA_LOCATION=" + filepath.Join(files, "ca.pem")}
	mutual = append(tls[:1:1], "WEIR_KAFKA_SSL_CERTIFICATE_LOCATION="+filepath.Join(files, "cert.pem"),
		"WEIR_KAFKA_SSL_KEY_LOCATION="+filepath.Join(files, "key.pem"))
	sasl = append(tls[:1:1], "WEIR_KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "WEIR_KAFKA_SASL_USERNAME="+user, "WEIR_KAFKA_SASL_PASSWORD="+password)
	return tls, mutual, sasl
}

// export sets variables for servers and commands.
func export(t *testing.T, settings []string) {
	t.Helper()
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		t.Setenv(name, value)
	}
}

// flow is a job from topic NAME-clicks to topic NAME-counts of the server's own cluster.
const flow = `kind: weir.v1/job
spec: {name: %[1]s}
---
kind: weir.v1/module
spec: {file: counter.wasm}
---
kind: io.statefun.kafka.v1/ingress
spec:
  id: clicks
  address: embedded
  topics: [{topic: %[1]s-clicks, targets: [example/counter], create: 2}]
---
kind: io.statefun.kafka.v1/egress
spec: {id: counts, address: embedded, topic: %[1]s-counts, create: 2}
`

// click writes records of value 1 for one key.
func click(t *testing.T, c *kafkaio.Client, name string, n int) {
	t.Helper()
	for range n {
		if _, _, err := c.Produce(t.Context(), &kafkaio.ProducedRecord{Topic: name + "-clicks", Partition: -1, Key: []byte("ann"), Value: []byte("1")}); err != nil {
			t.Fatal(err)
		}
	}
}

// counted wants a job's output to be 1 to n, each once and in order.
func counted(t *testing.T, c *kafkaio.Client, name string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	next := 1
	err := c.Consume(ctx, kafkaio.Consumption{Topic: name + "-counts", Partition: -1, Offset: kafkaio.FromStart, Count: n, Follow: true}, func(r *kafkaio.ConsumedRecord) error {
		if string(r.Value) != fmt.Sprint(next) {
			return fmt.Errorf("count %q, want %d", r.Value, next)
		}
		next++
		return nil
	})
	if err != nil {
		t.Fatalf("after %d counts: %v", next-1, err)
	}
}

func TestAJobRunsExactlyOnceOverEverySecureListener(t *testing.T) {
	broker := startSecured(t)
	tls, mutual, sasl := broker.settings(broker.files)
	for name, one := range map[string]struct {
		address  string
		settings []string
	}{
		"tls":    {broker.TLSAddress(), tls},
		"mutual": {broker.MutualTLSAddress(), mutual},
		"scram":  {broker.SASLTLSAddress(), sasl},
	} {
		t.Run(name, func(t *testing.T) {
			export(t, one.settings)
			server, l := startServerAt(t, one.address)
			if err := server.Deploy(t.Context(), job(t, fmt.Sprintf(flow, name)), name); err != nil {
				t.Fatal(err)
			}
			c := client(t, broker.Broker)
			for range secureKills {
				click(t, c, name, secureClicks/secureKills)
				if err := server.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := server.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			counted(t, c, name, secureClicks)
			// The commands use the server's broker and the same variables.
			if out, err := server.Command(t.Context(), "", "produce", name+"-clicks", "ann", "1"); err != nil {
				t.Fatalf("%s%v", out, err)
			}
			counted(t, c, name, secureClicks+1)
			out, err := server.Command(t.Context(), "", "consume", name+"-counts", "-n", fmt.Sprint(secureClicks+1))
			if err != nil || !strings.HasSuffix(out, fmt.Sprintf("ann  %d\n", secureClicks+1)) {
				t.Errorf("%s%v", out, err)
			}
			if strings.Contains(l.String(), password) {
				t.Error("the log holds the password")
			}
		})
	}
}

func TestCommandsNameWhatDoesNotFitAndWhatToDo(t *testing.T) {
	broker := startSecured(t)
	server, _ := startServerAt(t, broker.Address())
	tls, mutual, sasl := broker.settings(broker.files)
	strange, foreign, _ := broker.settings(issue(t, authority(t), t.TempDir()))
	for name, one := range map[string]struct {
		address  string
		settings []string
		want     string
		todo     string
	}{
		"WrongPassword":      {broker.SASLTLSAddress(), append(sasl[:3:3], "WEIR_KAFKA_SASL_PASSWORD="+mistaken), "refuses user name and password", "--kafka-sasl-password"},
		"NoCredentials":      {broker.SASLTLSAddress(), tls, "it wants SASL", "--kafka-sasl-mechanism"},
		"StrangeAuthority":   {broker.TLSAddress(), strange, "shows a certificate that is not trusted", "--kafka-ssl-ca-location"},
		"PlainToTLS":         {broker.TLSAddress(), nil, "it wants TLS", "--kafka-security-protocol SSL"},
		"TLSToPlain":         {broker.Address(), tls, "speaks no TLS", "--kafka-security-protocol PLAINTEXT"},
		"NoCertificate":      {broker.MutualTLSAddress(), tls, "refuses the client certificate, or misses it", "--kafka-ssl-certificate-location"},
		"StrangeCertificate": {broker.MutualTLSAddress(), append(tls[:1:1], foreign[1:]...), "refuses the client certificate, or misses it", "--kafka-ssl-key-location"},
		"WrongName":          {broker.MutualTLSAddress(), append(mutual[:3:3], "WEIR_KAFKA_SSL_SERVER_NAME=kafka.example"), "for another name", "--kafka-ssl-server-name"},
	} {
		t.Run(name, func(t *testing.T) {
			export(t, one.settings)
			for _, verb := range [][]string{{"topics"}, {"produce", "clicks", "ann", "1"}, {"consume", "clicks"}} {
				out, err := server.Command(t.Context(), "", append(verb, "--kafka", one.address)...)
				text := out + fmt.Sprint(err)
				if err == nil || !strings.Contains(text, "broker "+one.address+" ") || !strings.Contains(text, one.want) || !strings.Contains(text, one.todo) {
					t.Errorf("weir %s: %s, want %q and %q", verb[0], text, one.want, one.todo)
				}
				if strings.Contains(text, mistaken) {
					t.Errorf("weir %s shows the password: %s", verb[0], text)
				}
			}
		})
	}
}

func TestADeploymentIsRefusedWhenTheServersBrokerDoesNotFit(t *testing.T) {
	broker := startSecured(t)
	_, _, sasl := broker.settings(broker.files)
	strange, _, _ := broker.settings(issue(t, authority(t), t.TempDir()))
	folder := job(t, fmt.Sprintf(flow, "refused"))
	for name, one := range map[string]struct {
		address  string
		settings []string
		want     string
	}{
		"WrongPassword":    {broker.SASLTLSAddress(), append(sasl[:3:3], "WEIR_KAFKA_SASL_PASSWORD="+mistaken), "refuses user name and password"},
		"StrangeAuthority": {broker.TLSAddress(), strange, "shows a certificate that is not trusted"},
		"PlainToTLS":       {broker.TLSAddress(), nil, "it wants TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			server, l := startServerAt(t, one.address, one.settings...)
			out, err := server.Command(t.Context(), folder, "deploy")
			text := out + fmt.Sprint(err)
			if err == nil || !strings.Contains(text, one.want) || !strings.Contains(text, "the settings kafka-... that the server was started with") {
				t.Errorf("weir deploy: %s, want %q", text, one.want)
			}
			if strings.Contains(text+l.String(), mistaken) {
				t.Errorf("the password is shown: %s%s", text, l)
			}
		})
	}
}

// Everything that a certificate depends on changes while a job runs: the authority, the broker's certificate, the client's.
func TestARunningJobTakesRenewedCertificatesWithoutARestart(t *testing.T) {
	broker := startSecured(t)
	_, mutual, _ := broker.settings(broker.files)
	export(t, mutual)
	server, l := startServerAt(t, broker.MutualTLSAddress())
	if err := server.Deploy(t.Context(), job(t, fmt.Sprintf(flow, "renewed")), "renewed"); err != nil {
		t.Fatal(err)
	}
	c := client(t, broker.Broker)
	click(t, c, "renewed", 5)
	counted(t, c, "renewed", 5)
	next := authority(t)
	if err := broker.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := broker.Renew(next); err != nil {
		t.Fatal(err)
	}
	if err := broker.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, l, "kafka cannot be used with these settings", "not trusted")
	click(t, c, "renewed", 5)
	issue(t, next, broker.files)
	counted(t, c, "renewed", 10)
	if _, err := server.Command(t.Context(), "", "topics"); err != nil {
		t.Error(err)
	}
}

// until waits until a log has a line with all words.
func until(t *testing.T, l *log, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), told)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		for line := range strings.Lines(l.String()) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the log never says %q", words)
		}
	}
}
