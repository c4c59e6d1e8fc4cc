package kafkaio_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

func embedded(t *testing.T, dir, address string) *kafkaio.Embedded {
	t.Helper()
	var b *kafkaio.Embedded
	within(t, "start embedded broker", func(ctx context.Context) (err error) {
		b, err = kafkaio.StartEmbedded(ctx, kafkaio.EmbeddedConfig{Dir: dir, Address: address})
		return err
	})
	t.Cleanup(b.Close)
	return b
}

func TestEmbeddedBrokerClosesOnlyTheConnectionOfABadFrame(t *testing.T) {
	b := embedded(t, t.TempDir(), "127.0.0.1:0")
	k := newKafka(t, b.Address())
	k.Create(t, "kept", 1)
	frame := func(size uint32, key, version int16) []byte {
		f := binary.BigEndian.AppendUint32(nil, size)
		f = binary.BigEndian.AppendUint16(f, uint16(key))
		return append(binary.BigEndian.AppendUint16(f, uint16(version)), bytes.Repeat([]byte{1}, 100)...)
	}
	for name, f := range map[string][]byte{
		"UnknownAPI":      frame(50, 999, 0),
		"NegativeAPI":     frame(50, -1, 0),
		"NegativeVersion": frame(50, 3, -2),
		"FutureVersion":   frame(50, 3, 1000),
		"Huge":            frame(1<<31, 0, 3),
		"Tiny":            frame(2, 0, 3),
		"HTTP":            []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", b.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(f); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(c); len(got) > 0 {
				t.Errorf("the broker answered %x, %v", got, err)
			}
			k.Write(t, "kept", routertest.Record{Value: []byte(name)})
		})
	}
	if got := k.Read(t, "kept"); len(got) != 7 {
		t.Errorf("%d records were kept, want 7", len(got))
	}
}

func TestEmbeddedBrokerComesBackWithItsData(t *testing.T) {
	dir := t.TempDir()
	first := embedded(t, dir, "127.0.0.1:0")
	k := newKafka(t, first.Address())
	k.Create(t, "kept", 2)
	k.Write(t, "kept", numberedValues(10, 2)...)
	first.Close()
	second := embedded(t, dir, first.Address()) // a fixed port is what other clients know
	if got := newKafka(t, second.Address()).Read(t, "kept"); len(got) != 10 {
		t.Errorf("%d records came back, want 10", len(got))
	}
}

func numberedValues(n, partitions int) []routertest.Record {
	var r []routertest.Record
	for i := range n {
		r = append(r, routertest.Record{Partition: int32(i % partitions), Value: fmt.Append(nil, i)})
	}
	return r
}

func TestEmbeddedBrokerTakesLoopbackAddressesOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:9092"} {
		if b, err := kafkaio.StartEmbedded(t.Context(), kafkaio.EmbeddedConfig{Dir: t.TempDir(), Address: address}); err == nil {
			b.Close()
			t.Errorf("it listens on %s", address)
		}
	}
}

func TestEmbeddedBrokerNamesAPortInUse(t *testing.T) {
	b := embedded(t, t.TempDir(), "127.0.0.1:0")
	other, err := kafkaio.StartEmbedded(t.Context(), kafkaio.EmbeddedConfig{Dir: t.TempDir(), Address: b.Address()})
	if err == nil {
		other.Close()
		t.Fatal("two brokers share a port")
	}
	if !bytes.Contains([]byte(err.Error()), []byte(b.Address())) {
		t.Errorf("error %v does not name %s", err, b.Address())
	}
}

func TestEmbeddedBrokerDropsABatchThatItNeverAcknowledged(t *testing.T) {
	dir := t.TempDir()
	first := embedded(t, dir, "127.0.0.1:0")
	k := newKafka(t, first.Address())
	k.Create(t, "cut", 1)
	for n := range 3 {
		k.Transact(t, "cut", true, routertest.Record{Value: fmt.Append(nil, n)})
	}
	first.Close()
	// Killed between the last batch, which is the end of the third transaction, and its entry in the index.
	indexes, err := filepath.Glob(filepath.Join(dir, "partitions", "cut-0", "*.idx"))
	if err != nil || len(indexes) != 1 {
		t.Fatalf("indexes %v: %v", indexes, err)
	}
	stat, err := os.Stat(indexes[0])
	if err != nil {
		t.Fatal(err)
	}
	if entries := stat.Size() / 15; entries != 6 || stat.Size()%15 != 0 {
		t.Fatalf("the index of 6 batches has %d bytes: its format is another one", stat.Size())
	}
	if err := os.Truncate(indexes[0], stat.Size()-15); err != nil {
		t.Fatal(err)
	}
	second := embedded(t, dir, "127.0.0.1:0")
	k = newKafka(t, second.Address())
	k.Write(t, "cut", routertest.Record{Value: []byte("3")})
	wantRecords(t, k.Read(t, "cut"), "0", "1", "3")
	second.Close()
	third := embedded(t, dir, "127.0.0.1:0")
	wantRecords(t, newKafka(t, third.Address()).Read(t, "cut"), "0", "1", "3")
}

func wantRecords(t *testing.T, got []routertest.Record, want ...string) {
	t.Helper()
	var values []string
	for _, r := range got {
		values = append(values, string(r.Value))
	}
	if !slices.Equal(values, want) {
		t.Errorf("got records %v, want %v", values, want)
	}
}
