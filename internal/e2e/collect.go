package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

// watch counts committed output records as they come, until ctx is done.
func (w *world) watch(ctx context.Context, seen *atomic.Int64) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(w.brokers),
		kgo.ConsumeTopics(workload.Effects, workload.Acks),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.MetadataMinAge(100*time.Millisecond), // a broker comes back on the same address
	)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer client.Close()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx) // errors are of a broker that is down, and heal
		seen.Add(int64(fetches.NumRecords()))
	}
	return nil
}

// readAll reads whole topics up to their ends, in the order of each partition.
func (w *world) readAll(ctx context.Context, isolation kgo.IsolationLevel, topics ...string) (map[string][]*kgo.Record, error) {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(w.brokers), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(isolation),
		kgo.KeepControlRecords(), // the last record of a topic with transactions is one
	)
	if err != nil {
		return nil, fmt.Errorf("read topics: %w", err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topics...)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, fmt.Errorf("read ends of topics: %w", err)
	}
	type partition struct {
		topic string
		id    int32
	}
	left := map[partition]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[partition{o.Topic, o.Partition}] = o.Offset
		}
	})
	parts := map[partition][]*kgo.Record{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read topics: %d partitions have no end that is committed: %w", len(left), ctx.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			p := partition{r.Topic, r.Partition}
			if !r.Attrs.IsControl() {
				parts[p] = append(parts[p], r)
			}
			if end, reading := left[p]; reading && r.Offset+1 >= end {
				delete(left, p)
			}
		})
	}
	all := map[string][]*kgo.Record{}
	for p, records := range parts {
		all[p.topic] = append(all[p.topic], records...)
	}
	return all, nil
}

// readInputs reads what the platform was given.
func (w *world) readInputs(ctx context.Context) ([]history.Input, error) {
	topics, err := w.readAll(ctx, kgo.ReadUncommitted(), workload.Inputs)
	if err != nil {
		return nil, err
	}
	var inputs []history.Input
	for _, r := range topics[workload.Inputs] {
		in, err := parseInput(r)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

func parseInput(r *kgo.Record) (history.Input, error) {
	source, keyErr := workload.ParseKey(string(r.Key), 's')
	in, err := workload.ParseInput(string(r.Value))
	if err = errors.Join(keyErr, err); err != nil {
		return history.Input{}, fmt.Errorf("input %q at %d[%d]: %w", r.Value, r.Partition, r.Offset, err)
	}
	return history.Input{Source: source, Input: in}, nil
}

// parseOutput reads a record of Effects or Acks.
func parseOutput(r *kgo.Record) (history.Received, error) {
	letter := byte('s')
	if r.Topic == workload.Effects {
		letter = 'c'
	}
	at, keyErr := workload.ParseKey(string(r.Key), letter)
	out, err := workload.ParseOutput(string(r.Value))
	if err = errors.Join(keyErr, err); err != nil {
		return history.Received{}, fmt.Errorf("record %q of %s at %d[%d]: %w", r.Value, r.Topic, r.Partition, r.Offset, err)
	}
	return history.Received{At: at, Output: out}, nil
}

// readOutputs reads what the platform made of it.
func (w *world) readOutputs(ctx context.Context, h *history.History) error {
	topics, err := w.readAll(ctx, kgo.ReadCommitted(), workload.Effects, workload.Acks)
	if err != nil {
		return err
	}
	for _, topic := range []string{workload.Effects, workload.Acks} {
		received := make([]history.Received, 0, len(topics[topic]))
		for _, r := range topics[topic] {
			out, err := parseOutput(r)
			if err != nil {
				return err
			}
			received = append(received, out)
		}
		if topic == workload.Effects {
			h.Effects = received
		} else {
			h.Acks = received
		}
	}
	return nil
}

// stateView is what is used of the API's answer.
type stateView struct {
	States []struct {
		Name  string
		Value int64
	}
}

func (v *stateView) value(name string) int64 {
	i := slices.IndexFunc(v.States, func(s struct {
		Name  string
		Value int64
	}) bool {
		return s.Name == name
	})
	if i < 0 {
		return 0
	}
	return v.States[i].Value
}

// readState asks the API for the committed state of every address.
func (w *world) readState(ctx context.Context, h *history.History) error {
	h.Sources, h.Counters = map[uint16]history.Source{}, map[uint16]history.Counter{}
	for n := range uint16(workload.Sources) {
		var v stateView
		if err := w.server.Get(ctx, statePath(workload.Source, workload.SourceKey(n)), &v); err != nil {
			return err
		}
		h.Sources[n] = history.Source{Count: v.value("count"), Sent: v.value("sent"), Seq: v.value("seq")}
	}
	for n := range uint16(workload.Counters) {
		var v stateView
		if err := w.server.Get(ctx, statePath(workload.Counter, workload.CounterKey(n)), &v); err != nil {
			return err
		}
		h.Counters[n] = history.Counter{Count: v.value("count"), Sent: v.value("sent")}
	}
	return nil
}

func statePath(function, key string) string {
	return "/v1/jobs/" + workload.Job + "/state/" + function + "/" + key
}
