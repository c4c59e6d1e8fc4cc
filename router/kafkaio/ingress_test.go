package kafkaio_test

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

// journal is a log that a test reads while it is written.
type journal struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) count(part string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), part)
}

// run starts an ingress and returns what Run will return.
func run(t *testing.T, in *kafkaio.Ingress) (context.CancelFunc, chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	t.Cleanup(cancel)
	return cancel, done
}

func drain(t *testing.T, in *kafkaio.Ingress, done chan error, n int) {
	t.Helper()
	for n > 0 {
		f := in.Poll(100)
		if f != nil {
			n -= len(f.Records)
			continue
		}
		select {
		case <-in.Ready():
		case err := <-done:
			t.Fatalf("ingress ended: %v", err)
		}
	}
}

func TestIngressWaitsForABrokerThatIsDown(t *testing.T) {
	dir := t.TempDir()
	first := embedded(t, dir, "127.0.0.1:0")
	k := newKafka(t, first.Address())
	k.Create(t, "in", 1)
	k.Write(t, "in", numberedValues(5, 1)...)
	first.Close()
	j := &journal{}
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
		Tasks: 1, Log: slog.New(slog.NewTextHandler(j, nil)).With("task", 0), // as the TaskManager's says of which it is
		Ingress: functions.Ingress{ID: "in", Cluster: functions.Cluster{Address: first.Address()}, Topics: []functions.IngressTopic{{Topic: "in"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel, done := run(t, in)
	until(t, "hear a warning", func(context.Context) bool { return j.count("cannot be reached") > 0 })
	second := embedded(t, dir, first.Address())
	drain(t, in, done, 5)
	// And once more, while it reads.
	second.Close()
	until(t, "hear a second warning", func(context.Context) bool { return j.count("cannot be reached") > 1 })
	third := embedded(t, dir, first.Address())
	newKafka(t, third.Address()).Write(t, "in", numberedValues(5, 1)...)
	drain(t, in, done, 5)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if down, up := j.count("cannot be reached"), j.count("reached again"); down != 2 || up != 2 {
		t.Errorf("%d warnings and %d all-clears, want 2 and 2:\n%s", down, up, j.b.String())
	}
	if named, lines := j.count("task="), j.count("level="); named != lines {
		t.Errorf("the task is named %d times in %d lines:\n%s", named, lines, j.b.String())
	}
}

func TestIngressThatIsNotPolledStopsFetching(t *testing.T) {
	c, k := fake(t)
	k.Create(t, "in", 2)
	const records, size = 300, 200_000 // 60 MB, far above what may be buffered
	var batch []routertest.Record
	noise := rand.NewChaCha8([32]byte{1}) // what compresses would be fetched at once
	for n := range records {
		value := make([]byte, size)
		_, _ = noise.Read(value) // never fails
		batch = append(batch, routertest.Record{Partition: int32(n % 2), Value: value})
	}
	k.Write(t, "in", batch...)
	var fetches atomic.Int64
	c.ControlKey(kmsg.Fetch.Int16(), func(kmsg.Request) (kmsg.Response, error, bool) {
		fetches.Add(1)
		return nil, nil, false
	})
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
		Tasks: 1, Ingress: functions.Ingress{ID: "in", Cluster: k.cluster(), Topics: []functions.IngressTopic{{Topic: "in"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel, done := run(t, in)
	for first := (*router.Fetch)(nil); first == nil; first = in.Poll(1) {
		<-in.Ready()
		if held := fetches.Load(); held > 1 {
			t.Fatalf("%d fetches before the first one was taken", held)
		}
	}
	until(t, "fetch ahead", func(context.Context) bool { return fetches.Load() >= 2 })
	for range 200 { // chances to go on fetching
		within(t, "ask for the topic", func(ctx context.Context) error {
			_, err := k.metadata(ctx, "in")
			return err
		})
	}
	if held := fetches.Load(); held != 2 {
		t.Errorf("%d fetches, with the first in work, want 2", held)
	}
	drain(t, in, done, records-1)
	if all := fetches.Load(); all < 60_000_000/(8<<20) {
		t.Errorf("%d fetches in all", all)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// BenchmarkIngress reads 100-byte values from a broker in this process that has one ready batch: what is left is fetching,
// decoding and handing over.
func BenchmarkIngress(b *testing.B) {
	_, k := fake(b, kfake.SeedTopics(1, "in"), kfake.SyntheticFetch(kfake.SyntheticBatch{}))
	in, err := kafkaio.OpenIngress(kafkaio.IngressConfig{
		Tasks: 1, Ingress: functions.Ingress{ID: "in", Cluster: k.cluster(), Topics: []functions.IngressTopic{{Topic: "in"}}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	<-in.Ready()
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		if f := in.Poll(256); f != nil {
			left -= len(f.Records)
			continue
		}
		<-in.Ready()
	}
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
