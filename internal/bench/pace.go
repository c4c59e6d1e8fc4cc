package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// paceTopic is filled once, and read by every job of the scenario.
	paceTopic = "pace-in"
	// paceKeys is the smaller number of keys that the goals of fixed epochs are stated for.
	paceKeys = 100_000
	// longEpochs is so rare that epochs cost next to nothing: what the others are held against.
	longEpochs = "10s"
)

// pace drains one topic again and again with epochs of several lengths: with output, which waits for the commit point, and
// without, where nothing but the epochs themselves is left to cost something.
func (b *bench) pace(ctx context.Context) error {
	k, err := dial(b.kafka)
	if err != nil {
		return err
	}
	defer k.close()
	if err := k.recreate(ctx, paceTopic); err != nil {
		return err
	}
	if err := k.fill(ctx, paceTopic, b.records, uniform(paceKeys)); err != nil {
		return err
	}
	for _, interval := range []string{"auto", "100ms", "10ms"} {
		j := job{name: "pace-" + interval, parallelism: 1, interval: interval, delivery: "exactly-once", kafka: true, source: paceTopic}
		found, err := b.drain(ctx, k, j)
		if err != nil {
			return fmt.Errorf("epochs %s: %w", interval, err)
		}
		b.add("pace: kafka to kafka, records per CPU-second of weir, exactly-once, epochs "+interval, found.perCPU, "1/s", "")
		b.add("pace: kafka to kafka, epochs complete, epochs "+interval, found.epochs, "1/s", "")
	}
	return b.paceWithoutOutput(ctx, k)
}

// paceWithoutOutput asks for the counts only when they are complete. It goes last, because its questions are in the topic then.
func (b *bench) paceWithoutOutput(ctx context.Context, k *topics) error {
	var long drained
	for i, run := range []struct{ interval, share, epochs string }{
		{longEpochs, "", ""},
		{"100ms", ">= 0.97", ""},
		{"10ms", ">= 0.88", ">= 95"},
	} {
		found, err := b.tallied(ctx, k, run.interval, int64(i))
		if err != nil {
			return fmt.Errorf("without output, epochs %s: %w", run.interval, err)
		}
		if i == 0 {
			long = found
		}
		name := fmt.Sprintf("pace: from kafka, no output, %d keys, ", paceKeys)
		b.add(name+"records per CPU-second of weir, epochs "+run.interval, found.perCPU, "1/s", "")
		if i > 0 {
			b.add(name+"throughput with epochs of "+run.interval+" against "+longEpochs, found.perCPU/long.perCPU, "", run.share)
			b.add(name+"epochs complete, epochs "+run.interval, found.epochs, "1/s", run.epochs)
		}
	}
	return nil
}

// tallied runs one job that keeps its counts to itself, and then asks for them. Rounds before it have left their questions in
// the topic: each key has one answer per round.
func (b *bench) tallied(ctx context.Context, k *topics, interval string, rounds int64) (drained, error) {
	j := job{name: "tally-" + interval, parallelism: 1, interval: interval, delivery: "exactly-once", kafka: true, function: "tally", source: paceTopic}
	if err := k.recreate(ctx, j.out()); err != nil {
		return drained{}, err
	}
	quiet(ctx)
	s, err := b.server(ctx, j.name)
	if err != nil {
		return drained{}, err
	}
	defer b.end(s)
	if err := b.deploy(ctx, s, j); err != nil {
		return drained{}, err
	}
	found, err := b.timeDrain(ctx, s, func(ctx context.Context) (int64, error) {
		now, err := scrape(ctx, s)
		return int64(now.sum("weir_task_numRecordsIn_total")), err
	})
	if err != nil {
		return drained{}, err
	}
	if err := k.ask(ctx, paceTopic); err != nil {
		return drained{}, err
	}
	return found, k.verifyTally(ctx, j.out(), b.records, (rounds+1)*paceKeys)
}

// ask sends one record with time 0 to each key.
func (t *topics) ask(ctx context.Context, topic string) error {
	sent := newSent()
	next := sequence(keyDigits)
	for range paceKeys {
		t.client.Produce(ctx, &kgo.Record{Topic: topic, Key: next(), Value: value(0)}, sent.done)
	}
	return sent.wait(ctx, t.client)
}

// verifyTally reads so many answers, and says whether the last of every key has the count of the load that was sent.
func (t *topics) verifyTally(ctx context.Context, topic string, records, answers int64) error {
	consumer, err := t.consumer(topic, nil)
	if err != nil {
		return err
	}
	defer consumer.Close()
	got := make([]uint64, paceKeys)
	for left := answers; left > 0; {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read %s with %d of %d answers missing: %w", topic, left, answers, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			if k, err := number(r.Key); err == nil && k < paceKeys && len(r.Value) >= 16 {
				got[k] = binary.BigEndian.Uint64(r.Value[8:])
			}
		})
	}
	return sameCounts(uniform(paceKeys), records, got)
}

// sameCounts draws so many keys and says whether got, by key number, counts each as often as it was drawn.
func sameCounts(next func() []byte, draws int64, got []uint64) error {
	want := make([]uint64, len(got))
	for range draws {
		k, err := number(next())
		if err != nil {
			return fmt.Errorf("count keys: %w", err)
		}
		want[k]++
	}
	for k := range want {
		if got[k] != want[k] {
			return fmt.Errorf("output is not exact: key %s was sent %d times and counted %d times", name(uint64(k)), want[k], got[k])
		}
	}
	return nil
}

// number is what a key counts.
func number(key []byte) (uint64, error) { return strconv.ParseUint(string(key[1:]), 10, 32) }
