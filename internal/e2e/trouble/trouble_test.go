//go:build e2e

package trouble

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/binary"
	"github.com/weir-run/weir/internal/kafkabroker"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/runtime/jobmanager"
)

const (
	brokerPort = 23092
	user       = "weir"
	password   = "correct-horse"
	// deployKills is how often a deployment is interrupted.
	deployKills = 6
)

// log is what a server writes, to be searched.
type log struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func brokerConfig(t *testing.T, dir string) kafkabroker.Config {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return kafkabroker.Config{Dir: dir, Port: brokerPort, Cache: filepath.Join(cache, "weir-kafka"), Username: user, Password: password}
}

func startBroker(t *testing.T, dir string) *kafkabroker.Broker {
	t.Helper()
	broker, err := kafkabroker.Start(t.Context(), brokerConfig(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Kill() }) // a test may have ended it
	return broker
}

func startServer(t *testing.T, env ...string) (*binary.Server, *log) {
	t.Helper()
	return startServerAt(t, fmt.Sprintf("127.0.0.1:%d", brokerPort), env...)
}

// startServerAt starts a server whose own cluster is at an address.
func startServerAt(t *testing.T, kafka string, env ...string) (*binary.Server, *log) {
	t.Helper()
	path, err := binary.Find()
	if err != nil {
		t.Fatal(err)
	}
	l := &log{}
	server, err := binary.Start(t.Context(), binary.Config{Path: path, Data: t.TempDir(), Kafka: kafka, Env: env, Log: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(l.String())
		}
	})
	return server, l
}

// job writes a folder with the counter's module and a job that uses it.
func job(t *testing.T, document string) string {
	t.Helper()
	dir := t.TempDir()
	path, err := binary.Find()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(filepath.Dir(path))
	if err := os.WriteFile(filepath.Join(dir, "module.yaml"), []byte(document), 0o644); err != nil {
		t.Fatal(err)
	}
	if output, err := build(t.Context(), root, filepath.Join(dir, "counter.wasm")); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, output)
	}
	return dir
}

const counter = `kind: weir.v1/job
spec: {name: counter%s}
---
kind: weir.v1/module
spec: {file: counter.wasm}
---
kind: io.statefun.kafka.v1/ingress
spec:
  id: clicks
  address: %s
  consumerGroupId: counter
  startupPosition: {type: earliest}%s
  topics: [{topic: clicks, targets: [example/counter], create: 2}]
---
kind: io.statefun.kafka.v1/egress
spec: {id: counts, address: %s, create: 2%s}
`

func client(t *testing.T, broker *kafkabroker.Broker) *kafkaio.Client {
	t.Helper()
	c, err := kafkaio.OpenClient(functions.Cluster{Address: broker.Address()}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// produce writes to the counter's topic, once the job has made it.
func produce(t *testing.T, c *kafkaio.Client, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for there := false; !there; {
		var err error
		if there, _, err = c.Exists(ctx, "clicks"); err != nil {
			t.Fatalf("wait for topic clicks: %v", err)
		}
	}
	if _, _, err := c.Produce(t.Context(), &kafkaio.ProducedRecord{Topic: "clicks", Partition: -1, Key: []byte(key), Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
}

func first(t *testing.T, c *kafkaio.Client, topic string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var value string
	err := c.Consume(ctx, kafkaio.Consumption{Topic: topic, Partition: -1, Offset: kafkaio.FromStart, Count: 1, Follow: true},
		func(r *kafkaio.ConsumedRecord) error { value = string(r.Value); return nil })
	if err != nil {
		t.Fatalf("consume %s: %v", topic, err)
	}
	return value
}

func TestAJobWaitsForABrokerThatIsDownSaysSoAndGoesOnWhenItComes(t *testing.T) {
	dir := t.TempDir()
	broker := startBroker(t, dir) // formatted once, so that the second start is quick
	if err := broker.Stop(); err != nil {
		t.Fatal(err)
	}
	server, _ := startServer(t)
	folder := job(t, fmt.Sprintf(counter, "", "embedded", "", "embedded", ""))
	deployed := make(chan error, 1)
	go func() {
		_, err := server.Command(t.Context(), folder, "deploy", "--timeout", "3m")
		deployed <- err
	}()
	err := server.WaitJob(t.Context(), "counter", func(v *jobmanager.JobView) bool { return strings.Contains(v.Waiting, "kafka") })
	if err != nil {
		t.Fatal(err)
	}
	broker = startBroker(t, dir)
	if err := <-deployed; err != nil {
		t.Fatal(err)
	}
	if err := server.WaitRunning(t.Context(), "counter"); err != nil {
		t.Fatal(err)
	}
	c := client(t, broker)
	produce(t, c, "ann", "5")
	if got := first(t, c, "counts"); got != "5" {
		t.Fatalf("counts has %q", got)
	}
}

func drop(t *testing.T, broker *kafkabroker.Broker, topic string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
}

func TestATopicThatIsDeletedStopsTheJobAndIsNamed(t *testing.T) {
	broker := startBroker(t, t.TempDir())
	server, _ := startServer(t)
	if err := server.Deploy(t.Context(), job(t, fmt.Sprintf(counter, "", "embedded", "", "embedded", "")), "counter"); err != nil {
		t.Fatal(err)
	}
	c := client(t, broker)
	produce(t, c, "ann", "5")
	first(t, c, "counts")
	drop(t, broker, "clicks")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		var v jobmanager.JobView
		if err := server.Get(ctx, "/v1/jobs/counter", &v); err == nil && v.State == jobmanager.Failed {
			if !strings.Contains(v.Error, "clicks") || !strings.Contains(v.Error, "gone") {
				t.Fatalf("error %q", v.Error)
			}
			return
		}
	}
	t.Fatal("the job goes on without its topic")
}

func TestWrongCredentialsAreNamedAndASecretIsNeverShown(t *testing.T) {
	broker := startBroker(t, t.TempDir())
	secret := "wrong-battery-staple"
	server, l := startServer(t, "KAFKA_PASSWORD="+secret)
	sasl := "\n  sasl: {mechanism: SCRAM-SHA-512, username: " + user + ", password: '${env:KAFKA_PASSWORD}'}"
	out := ", sasl: {mechanism: SCRAM-SHA-512, username: " + user + ", password: '${env:KAFKA_PASSWORD}'}"
	folder := job(t, fmt.Sprintf(counter, "", broker.SASLAddress(), sasl, broker.SASLAddress(), out))
	output, err := server.Command(t.Context(), folder, "deploy", "--timeout", "2m")
	if err == nil || !strings.Contains(err.Error(), "credentials") {
		var v jobmanager.JobView
		_ = server.Get(t.Context(), "/v1/jobs/counter", &v) // for the failure's text only
		t.Fatalf("deployed with wrong credentials: %q %v; job %+v", output, err, v)
	}
	for _, text := range []string{output, err.Error(), l.String()} {
		if strings.Contains(text, secret) {
			t.Errorf("the secret is shown: %s", text)
		}
	}
	right, _ := startServer(t, "KAFKA_PASSWORD="+password)
	if err := right.Deploy(t.Context(), folder, "counter"); err != nil {
		t.Fatal(err)
	}
	if got, err := right.Invoke(t.Context(), "example/counter", "ann", []byte("3")); err != nil || string(got) != "3" {
		t.Fatalf("%q %v", got, err)
	}
	if got := first(t, client(t, broker), "counts"); got != "3" {
		t.Fatalf("counts has %q", got)
	}
}

// A kill at any moment of a deployment leaves one of the versions, running, with all its state.
func TestAKillDuringADeploymentLeavesOneOfTheVersions(t *testing.T) {
	startBroker(t, t.TempDir())
	server, _ := startServer(t)
	folders := []string{
		job(t, fmt.Sprintf(counter, "", "embedded", "", "embedded", "")),
		job(t, fmt.Sprintf(counter, ", parallelism: 2", "embedded", "", "embedded", "")),
	}
	if err := server.Deploy(t.Context(), folders[0], "counter"); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= deployKills; n++ {
		got, err := server.Invoke(t.Context(), "example/counter", "ann", []byte("1"))
		if err != nil || string(got) != fmt.Sprint(n) {
			t.Fatalf("call %d: %q %v", n, got, err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = server.Command(t.Context(), folders[n%2], "deploy") // it is interrupted
		}()
		timer := time.NewTimer(time.Duration(rand.IntN(400)) * time.Millisecond) // anywhere in a deployment
		<-timer.C
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		<-done
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := server.WaitRunning(t.Context(), "counter"); err != nil {
			t.Fatal(err)
		}
	}
}
