package kafkaio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WEIR_TORN_WORKER"); dir != "" {
		fmt.Fprintln(os.Stderr, "worker ended:", tornWorker(context.Background(), dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	tornTopic      = "torn"
	tornPartitions = 48 // a commit is torn between partitions, so many of them make many chances
	tornRecords    = 100
	tornKills      = 30
)

// tornManifest is what a checkpoint would hold.
type tornManifest struct {
	Number  uint64
	Cookie  []byte
	Pending []uint64
}

// tornOutbox is outbox n: its records follow from n.
func tornOutbox(n uint64) [][]byte {
	var b []byte
	for i := range uint64(tornRecords) {
		seq := (n-1)*tornRecords + i
		r := router.EgressRecord{Topic: []byte(tornTopic), Value: strconv.AppendUint(nil, seq, 10), Time: time.Now().UnixMilli()}
		if i > 3 { // some records have no key
			r.Key = fmt.Appendf(nil, "key-%d", seq%97)
		}
		b = router.AppendEgress(b, &r)
	}
	return [][]byte{b}
}

// tornWorker is a job: embedded broker, one lane, an epoch after the other, each in the manifest before it is published,
// and the next one cut while it is.
func tornWorker(ctx context.Context, dir string) error {
	broker, err := kafkaio.StartEmbedded(ctx, kafkaio.EmbeddedConfig{Dir: filepath.Join(dir, "kafka"), Address: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	e, l, m, err := tornRecover(ctx, broker, dir)
	if err != nil {
		return err
	}
	defer e.Close()
	fmt.Println("ready")
	published := make(chan error, 1)
	published <- nil
	for {
		m.Cookie = l.Cookie()
		m.Number++
		m.Pending = append(m.Pending, m.Number)
		if err := m.save(dir); err != nil {
			return err
		}
		if err := <-published; err != nil { // the one before
			return err
		}
		m.Pending = []uint64{m.Number}
		go func(n uint64) { published <- l.Publish(ctx, n, tornOutbox(n)) }(m.Number)
	}
}

func (m *tornManifest) save(dir string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "manifest.tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "manifest"))
}

func tornRecover(ctx context.Context, broker *kafkaio.Embedded, dir string) (*kafkaio.Egress, router.Lane, *tornManifest, error) {
	m := &tornManifest{}
	if b, err := os.ReadFile(filepath.Join(dir, "manifest")); err == nil {
		if err := json.Unmarshal(b, m); err != nil {
			return nil, nil, nil, err
		}
	}
	e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{
		Cluster: functions.Cluster{Address: broker.Address()}, Embedded: true,
		Topics: []kafkaio.EgressTopic{{Name: tornTopic, Create: tornPartitions}},
	})
	if err != nil {
		return nil, nil, nil, err
	}
	l, err := e.Lane("torn/0")
	if err != nil {
		return nil, nil, nil, err
	}
	var pending []router.Pending
	for _, n := range m.Pending {
		pending = append(pending, router.Pending{Number: n, Outbox: tornOutbox(n)})
	}
	if err := l.Recover(ctx, m.Number > 0, m.Number, m.Cookie, pending); err != nil {
		return nil, nil, nil, err
	}
	m.Pending = nil
	return e, l, m, nil
}

func TestKilledEmbeddedBrokerLosesAndDoublesNothing(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range tornKills {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "WEIR_TORN_WORKER="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if random.IntN(4) > 0 { // else it may be killed while it recovers
			word := make([]byte, len("ready\n"))
			if _, err := out.Read(word); err != nil {
				t.Fatalf("worker did not recover: %v", errors.Join(err, cmd.Wait()))
			}
		}
		time.Sleep(time.Duration(random.Int64N(int64(60 * time.Millisecond)))) // the moment of the kill, not a wait
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
	}
	within(t, "last recovery", func(ctx context.Context) error {
		broker, err := kafkaio.StartEmbedded(ctx, kafkaio.EmbeddedConfig{Dir: filepath.Join(dir, "kafka"), Address: "127.0.0.1:0"})
		if err != nil {
			return err
		}
		defer broker.Close()
		e, l, m, err := tornRecover(ctx, broker, dir)
		if err != nil {
			return err
		}
		defer e.Close()
		defer l.Close()
		if m.Number < tornKills/2 {
			t.Errorf("only %d epochs in %d lives", m.Number, tornKills)
		}
		tornCheck(t, newKafka(t, broker.Address()), m.Number)
		return nil
	})
}

// tornCheck wants every record of outboxes 1 to last exactly once, and those of a key in order.
func tornCheck(t *testing.T, k *kafka, last uint64) {
	t.Helper()
	seen := make([]int, last*tornRecords)
	order := map[string]int{}
	for _, r := range k.Read(t, tornTopic) {
		seq, err := strconv.Atoi(string(r.Value))
		if err != nil || seq >= len(seen) {
			t.Fatalf("value %q: %v", r.Value, err)
		}
		seen[seq]++
		if r.Key != nil {
			if before, ok := order[string(r.Key)]; ok && seq < before {
				t.Errorf("key %s: %d after %d", r.Key, seq, before)
			}
			order[string(r.Key)] = seq
		}
	}
	lost, doubled := 0, 0
	for _, n := range seen {
		if n == 0 {
			lost++
		}
		if n > 1 {
			doubled++
		}
	}
	t.Logf("%d epochs, %d records", last, len(seen))
	if lost+doubled > 0 {
		t.Errorf("of %d records %d lost and %d doubled", len(seen), lost, doubled)
	}
}

func TestEmbeddedRecoverySendsTheRestOfATornOutbox(t *testing.T) {
	_, k := fake(t)
	for name, marker := range map[string]uint64{"MarkerCommitted": 6, "MarkerLost": 5} {
		t.Run(name, func(t *testing.T) {
			within(t, name, func(ctx context.Context) error {
				k.Create(t, tornTopic, tornPartitions)
				defer k.Delete(t, tornTopic)
				e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Embedded: true, Topics: []kafkaio.EgressTopic{{Name: tornTopic}}})
				if err != nil {
					return err
				}
				defer e.Close()
				l, err := e.Lane(name)
				if err != nil {
					return err
				}
				defer l.Close()
				if err := l.Recover(ctx, false, 0, nil, nil); err != nil {
					return err
				}
				for n := range uint64(5) {
					if err := l.Publish(ctx, n+1, tornOutbox(n+1)); err != nil {
						return err
					}
				}
				cookie := l.Cookie()
				if err := l.Publish(ctx, marker, [][]byte{tornPart(t, k)}); err != nil {
					return err
				}
				for range 2 { // also when the first recovery was cut short before the manifest
					again, err := e.Lane(name)
					if err != nil {
						return err
					}
					defer again.Close()
					if err := again.Recover(ctx, true, 7, cookie, []router.Pending{{Number: 6, Outbox: tornOutbox(6)}, {Number: 7, Outbox: tornOutbox(7)}}); err != nil {
						return err
					}
				}
				tornCheck(t, k, 7)
				return nil
			})
		})
	}
}

func TestEmbeddedRecoveryGuessesNothing(t *testing.T) {
	_, k := fake(t)
	k.Create(t, tornTopic, 1)
	within(t, "recover", func(ctx context.Context) error {
		e, err := kafkaio.OpenEgress(kafkaio.EgressConfig{Cluster: k.cluster(), Embedded: true, Topics: []kafkaio.EgressTopic{{Name: tornTopic}}})
		if err != nil {
			return err
		}
		defer e.Close()
		l, err := e.Lane("lane")
		if err != nil {
			return err
		}
		defer l.Close()
		if err := l.Recover(ctx, false, 0, nil, nil); err != nil {
			return err
		}
		cookie := l.Cookie()
		var half []byte
		n := 0
		for r := range router.EgressRecords(tornOutbox(1)[0]) {
			if n++; n%2 == 0 {
				half = router.AppendEgress(half, r)
			}
		}
		if err := l.Publish(ctx, 0, [][]byte{half}); err != nil {
			return err
		}
		err = l.Recover(ctx, true, 1, cookie, []router.Pending{{Number: 1, Outbox: tornOutbox(1)}})
		if err == nil {
			t.Error("half of a partition's records were taken for a torn commit")
		}
		return nil
	})
}

// tornPart is the part of outbox 6 that belongs to the even partitions, as a torn commit could leave it. Where the keys
// belong is read from what outboxes 1 to 5 left; records without key, which move on by one partition, stay out.
func tornPart(t *testing.T, k *kafka) []byte {
	t.Helper()
	home, keyless := map[string]int32{}, int32(0)
	for _, r := range k.Read(t, tornTopic) {
		if r.Key != nil {
			home[string(r.Key)] = r.Partition
		} else if string(r.Value) == strconv.Itoa(4*tornRecords) {
			keyless = (r.Partition + 1) % tornPartitions
		}
	}
	var part []byte
	for r, err := range router.EgressRecords(tornOutbox(6)[0]) {
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := home[string(r.Key)]; r.Key != nil && ok && p%2 == 0 && p != keyless {
			part = router.AppendEgress(part, r)
		}
	}
	if len(part) == 0 {
		t.Fatal("the torn part is empty")
	}
	return part
}
