package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/internal/e2e/history"
	"github.com/weir-run/weir/internal/e2e/workload"
)

// look is how long outputs are waited for before the audit looks whether it should end.
const look = 250 * time.Millisecond

// audit reads the topics while they grow and tells a history.Stream of them. Its order makes that sound: whatever caused an
// output is in the inputs' topic before the output is committed, so inputs are read to their end between the moment outputs
// were read and the moment they are told.
type audit struct {
	inputs, outputs *reader

	mu     sync.Mutex // guards stream, which clients tell of their requests, and the totals
	stream *history.Stream
	seen   totals
}

// totals are what was read back.
type totals struct{ inputs, outputs int64 }

// reader reads whole topics from their beginning, and knows how far it is. It never skips: a position that is gone is an error.
type reader struct {
	client *kgo.Client
	topics []string
	next   map[string]map[int32]int64 // offsets
}

func (w *world) openAudit() (*audit, error) {
	inputs, err := w.openReader(kgo.ReadUncommitted(), inputPartitions, workload.Inputs)
	if err != nil {
		return nil, err
	}
	outputs, err := w.openReader(kgo.ReadCommitted(), outputPartitions, workload.Effects, workload.Acks)
	if err != nil {
		inputs.client.Close()
		return nil, err
	}
	return &audit{inputs: inputs, outputs: outputs, stream: history.NewStream()}, nil
}

func (w *world) openReader(isolation kgo.IsolationLevel, partitions int32, topics ...string) (*reader, error) {
	from, next := map[string]map[int32]kgo.Offset{}, map[string]map[int32]int64{}
	for _, topic := range topics {
		from[topic], next[topic] = map[int32]kgo.Offset{}, map[int32]int64{}
		for p := range partitions {
			from[topic][p], next[topic][p] = kgo.NewOffset().At(0), 0
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(w.brokers), kgo.ConsumePartitions(from), kgo.FetchIsolationLevel(isolation),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.KeepControlRecords(),                 // the last record of a topic with transactions is one
		kgo.MetadataMinAge(100*time.Millisecond), // a broker comes back on the same address
	)
	if err != nil {
		return nil, fmt.Errorf("read topics: %w", err)
	}
	return &reader{client: client, topics: topics, next: next}, nil
}

func (a *audit) close() {
	a.inputs.client.Close()
	a.outputs.client.Close()
}

// follow reads until enough is closed, or something is found. What it has read it has told when it returns.
func (a *audit) follow(ctx context.Context, enough <-chan struct{}) error {
	for {
		select {
		case <-enough:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		default: // outputs are waited for below
		}
		limited, cancel := context.WithTimeout(ctx, look)
		outputs, err := a.outputs.poll(limited)
		cancel()
		if err != nil {
			return err
		}
		if len(outputs) == 0 {
			continue
		}
		if err := a.judge(ctx, outputs); err != nil {
			return err
		}
	}
}

// finish reads everything to its end, after the server has stopped.
func (a *audit) finish(ctx context.Context) error {
	outputs, err := a.outputs.rest(ctx)
	if err != nil {
		return err
	}
	return a.judge(ctx, outputs)
}

// judge reads the inputs that may have caused the outputs, and tells both.
func (a *audit) judge(ctx context.Context, outputs []*kgo.Record) error {
	inputs, err := a.inputs.rest(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range inputs {
		in, err := parseInput(r)
		if err != nil {
			return err
		}
		if err := a.stream.Input(in); err != nil {
			return err
		}
	}
	for _, r := range outputs {
		out, err := parseOutput(r)
		if err != nil {
			return err
		}
		if r.Topic == workload.Effects {
			a.stream.Effect(out)
		} else {
			a.stream.Ack(out)
		}
	}
	a.seen.inputs += int64(len(inputs))
	a.seen.outputs += int64(len(outputs))
	if v := a.stream.Verdict(); !v.Good() {
		return errBad // at the moment of which the logs tell
	}
	return nil
}

// asks and heard are for clients.
func (a *audit) asks(c history.Call) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stream.Asked(c.Client, c.Seq)
}

func (a *audit) heard(c history.Call) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stream.Answered(c.Client, c.Seq, c.Answers...)
}

// progress is what was read, and how much is open.
func (a *audit) progress() (totals, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen, a.stream.Open()
}

// verdict is what has been found so far.
func (a *audit) verdict() history.Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stream.Verdict()
}

// poll reads what is there, or waits until ctx is done. The errors of a broker that is down heal; a position that is gone
// does not.
func (r *reader) poll(ctx context.Context) ([]*kgo.Record, error) {
	var records []*kgo.Record
	fetches := r.client.PollFetches(ctx)
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, kerr.OffsetOutOfRange) {
			return nil, fmt.Errorf("read %s/%d from %d on: %w", e.Topic, e.Partition, r.next[e.Topic][e.Partition], e.Err)
		}
	}
	fetches.EachRecord(func(record *kgo.Record) {
		r.next[record.Topic][record.Partition] = record.Offset + 1
		if !record.Attrs.IsControl() {
			records = append(records, record)
		}
	})
	return records, nil
}

// rest reads to the ends that the topics have when it is called. A broker that is down is waited for.
func (r *reader) rest(ctx context.Context) (records []*kgo.Record, err error) {
	var ends kadm.ListedOffsets
	for {
		ends, err = kadm.NewClient(r.client).ListEndOffsets(ctx, r.topics...)
		if err = errors.Join(err, ends.Error()); err == nil {
			break
		}
		if pause(ctx, lookAgain) != nil {
			return nil, fmt.Errorf("read ends of topics: %w", err)
		}
	}
	behind := func() (any bool) {
		ends.Each(func(o kadm.ListedOffset) { any = any || r.next[o.Topic][o.Partition] < o.Offset })
		return any
	}
	for behind() {
		more, err := r.poll(ctx)
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read topics to their ends: %w", ctx.Err())
		}
		records = append(records, more...)
	}
	return records, nil
}
