package taskmanager

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/router"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == wasm.CompilerCommand {
		os.Exit(wasm.RunCompiler(os.Args[2:], os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// BenchmarkEngine is a record's way through the engine without a broker or a disk: from a fetch through a batch, a WASM guest
// and its state to the encoded output, with an epoch per 64 fetches. Every key is there before anything is measured. Scenario
// engine of the system benchmarks runs it.
func BenchmarkEngine(b *testing.B) {
	for _, guest := range []struct {
		name string
		read func(*testing.B) []byte
	}{{"guest in C", guestInC}, {"Go guest", guestInGo}} {
		for _, keys := range []int{1_000_000, 10_000_000} {
			b.Run(fmt.Sprintf("%s/%d keys", guest.name, keys), func(b *testing.B) {
				benchEngine(b, loadGuest(b, guest.read(b)), shape{keys: keys, value: benchValue, fetch: pollRecords})
			})
		}
	}
}

// shape is what the records of an engine benchmark look like.
type shape struct {
	keys  int // distinct
	value int // bytes of each
	fetch int // records of a fetch, at most pollRecords
}

func benchEngine(b *testing.B, module loaded, s shape) {
	t := benchTaskOf(b, functions.AtLeastOnce, newDrawn(s), module, &module.Description)
	fetches := 0
	fetch := func() {
		if err := t.turn(); err != nil {
			b.Fatal(err)
		}
		for t.mailbox.bytes > 0 {
			if err := t.process(); err != nil {
				b.Fatal(err)
			}
		}
		if fetches++; fetches%64 == 0 { // an epoch
			t.outboxes.take()
			t.state.Seal().Release()
		}
	}
	for range s.keys/s.fetch + 1 { // newDrawn begins with each key once
		fetch()
	}
	held := t.state.Stats()
	if held.Keys != int64(s.keys) {
		b.Fatalf("%d keys, want %d", held.Keys, s.keys)
	}
	b.ReportAllocs()
	began, records := cpuTime(b), 0
	for b.Loop() {
		if records++; records%s.fetch == 0 {
			fetch()
		}
	}
	b.ReportMetric(float64(records)/(cpuTime(b)-began).Seconds(), "records/cpu-s")
	b.ReportMetric(float64(held.Bytes)/float64(held.Keys), "B/key")
}

// drawn hands out each key once, and then keys at random.
type drawn struct {
	router.Ingress
	shape
	random *rand.Rand
	next   int
	fetch  router.Fetch
}

const drawnKeyBytes = 9

func newDrawn(s shape) *drawn {
	d := &drawn{
		Ingress: newEndless(), shape: s, random: rand.New(rand.NewPCG(1, 2)),
		fetch: router.Fetch{Partition: router.Partition{Ingress: "in", Topic: "in"}, Records: make([]router.Record, s.fetch)},
	}
	keys, values := make([]byte, s.fetch*drawnKeyBytes), make([]byte, s.fetch*s.value)
	for i := range d.fetch.Records {
		d.fetch.Records[i] = router.Record{Key: keys[i*drawnKeyBytes:][:drawnKeyBytes], Value: values[i*s.value:][:s.value], Time: 1_700_000_000_000}
	}
	return d
}

func (d *drawn) Poll(int) *router.Fetch {
	for i := range d.fetch.Records {
		k := d.next
		if d.next++; k >= d.keys {
			k = d.random.IntN(d.keys)
		}
		record := &d.fetch.Records[i]
		record.Key[0] = 'k'
		for at := drawnKeyBytes - 1; at > 0; at-- {
			record.Key[at] = byte('0' + k%10)
			k /= 10
		}
		binary.BigEndian.PutUint64(record.Value, uint64(d.next))
	}
	return &d.fetch
}

// loaded is a module as tasks use it.
type loaded struct{ *wasm.Module }

func (l loaded) NewInvoker(log func(int, []byte)) (Invoker, error) {
	i, err := l.NewInstance(context.Background(), log)
	return called{i}, err
}

func (loaded) Close() {} // its benchmark does

// called is an instance as tasks call it.
type called struct{ *wasm.Instance }

func (c called) Call(in []byte, now int64, seed uint64) ([]byte, error) {
	c.SetTime(now, seed)
	return c.Instance.Call(in)
}

func loadGuest(b *testing.B, guest []byte) loaded {
	e, err := wasm.New(wasm.Config{CacheDir: b.TempDir(), CompileTimeout: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	m, err := e.Load(b.Context(), wasm.Digest(guest), func() ([]byte, error) { return guest, nil }, wasm.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return loaded{m}
}

const benchGuest = "../../internal/bench/guest"

func guestInC(b *testing.B) []byte {
	code, err := os.ReadFile(benchGuest + "/c/count.wasm")
	if err != nil {
		b.Fatal(err)
	}
	return code
}

func guestInGo(b *testing.B) []byte { return buildGuest(b, benchGuest) }

func buildGuest(b *testing.B, source string) []byte {
	path := filepath.Join(b.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", path, source)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build guest: %v\n%s", err, out)
	}
	code, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return code
}
