//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/binary"
	"github.com/weir-run/weir/internal/kafkabroker"
	"github.com/weir-run/weir/runtime/jobmanager"
)

const (
	brokerPort = 24092
	// kills is how often the server dies while the workload runs.
	kills = 3
)

// The example on a real Kafka, deployed as its README says, with a server that is killed while it works.
func TestChargesAreExactAcrossKills(t *testing.T) {
	address := startBroker(t)
	server := startServer(t, address)
	ctx := t.Context()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Deploy(ctx, dir, "ad-billing"); err != nil {
		t.Fatal(err)
	}
	l := newLedger(20_000)
	for campaign, limit := range l.limits {
		if _, err := server.Invoke(ctx, "ads/budget", campaign, []byte(text(Budget{Limit: limit}))); err != nil {
			t.Fatal(err)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	part := len(l.events) / (kills + 1)
	for range kills {
		send(t, client, l.events[:part])
		l.events = l.events[part:]
		// Charges of this attempt are out, and most of this part is still to be worked on.
		if err := server.WaitJob(ctx, "ad-billing", func(v *jobmanager.JobView) bool { return v.Out > 0 }); err != nil {
			t.Fatal(err)
		}
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	send(t, client, l.events)
	awaitTotals(t, server, l)
	if err := server.Stop(); err != nil { // what is committed is published before it ends
		t.Fatal(err)
	}
	charges, spent := map[string][]Charge{}, map[string][]Budget{}
	read(t, client, address, "charges", charges)
	read(t, client, address, "budget-spent", spent)
	for _, fault := range l.check(charges, spent) {
		t.Error(fault)
	}
}

func startBroker(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	broker, err := kafkabroker.Start(t.Context(), kafkabroker.Config{Dir: t.TempDir(), Port: brokerPort, Cache: filepath.Join(cache, "weir-kafka")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Stop(); err != nil {
			t.Error(err)
		}
	})
	return broker.Address()
}

func startServer(t *testing.T, kafka string) *binary.Server {
	t.Helper()
	path, err := binary.Find()
	if err != nil {
		t.Fatal(err)
	}
	server, err := binary.Start(t.Context(), binary.Config{Path: path, Data: t.TempDir(), Kafka: kafka, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// send writes part of the workload; a click and its impression may overtake each other, as in life.
func send(t *testing.T, client *kgo.Client, events []event) {
	t.Helper()
	topics := map[string]string{typeImpression: "impressions", typeClick: "clicks"}
	records := make([]*kgo.Record, 0, len(events))
	for _, e := range events {
		records = append(records, &kgo.Record{Topic: topics[e.valueType], Key: []byte(e.impression), Value: []byte(e.value)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// awaitTotals asks every campaign over HTTP until it says what the account says.
func awaitTotals(t *testing.T, server *binary.Server, l *ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for campaign := range l.limits {
		want := l.totals(campaign)
		for got := (Totals{}); got != want; {
			reply, err := server.Invoke(ctx, "ads/campaign", campaign, nil)
			if err != nil && ctx.Err() == nil {
				continue // the job may be on its way up
			}
			if err = errors.Join(ctx.Err(), json.Unmarshal(reply, &got)); err != nil {
				t.Fatalf("%s: totals %+v, want %+v: %v", campaign, got, want, err)
			}
		}
	}
}

// read collects all committed records of a topic by key.
func read[T any](t *testing.T, client *kgo.Client, address, topic string, into map[string][]T) {
	t.Helper()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(t.Context(), topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	consumer, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	for len(left) > 0 {
		fetches := consumer.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			var v T
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatalf("%s[%d]@%d: %v", topic, r.Partition, r.Offset, err)
			}
			into[string(r.Key)] = append(into[string(r.Key)], v)
		})
	}
}
