package main

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/weir-run/weir/internal/binary"
)

// demand says what a scheduled load is.
type demand struct {
	rate     int64                 // records per second
	warm     time.Duration         // of load ahead of what is timed
	measured time.Duration         // of load that is
	next     func() []byte         // the next record's key
	counts   func(key []byte) bool // whose latency is timed; nil is every key's
	prompt   bool                  // the generator sends each record at once, and gathers none
}

// load is a scheduled run: one goroutine sends, one receives, and at half of what is measured something may happen to the server.
type load struct {
	demand
	schedule schedule
	server   *binary.Server
	topics   *topics
	job      job
}

// newLoad is a load that begins in a second, when its goroutines have started.
func newLoad(d demand, s *binary.Server, k *topics, j job) *load {
	total := int64((d.warm + d.measured).Seconds() * float64(d.rate))
	return &load{demand: d, schedule: schedule{time.Now().Add(time.Second).UnixNano(), total, d.rate}, server: s, topics: k, job: j}
}

func (l *load) run(ctx context.Context, meanwhile func(context.Context, *load) error) (*timing, error) {
	from, err := starts(ctx, l.topics.admin, l.job.out())
	if err != nil {
		return nil, err
	}
	consumer, err := l.topics.consumer(l.job.out(), from)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	end := time.Unix(0, l.schedule.of(l.schedule.total)).Add(grace)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	var found *timing
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.send(ctx) })
	group.Go(func() (err error) {
		found, err = l.receive(ctx, consumer)
		return err
	})
	if meanwhile != nil {
		group.Go(func() error {
			pause(ctx, time.Until(time.Unix(0, l.schedule.start).Add(l.warm+l.measured/2)))
			return meanwhile(ctx, l)
		})
	}
	return found, group.Wait()
}

// send keeps to the schedule: a record that is late carries the time it should have had, so that a stall counts in full.
func (l *load) send(ctx context.Context) error {
	sent := newSent()
	for i := int64(0); i < l.schedule.total && ctx.Err() == nil; {
		for now := time.Now().UnixNano(); i < l.schedule.total && l.schedule.of(i) <= now; i++ {
			l.topics.client.Produce(ctx, &kgo.Record{Topic: l.job.in(), Key: l.next(), Value: value(l.schedule.of(i))}, sent.done)
		}
		pause(ctx, tick)
	}
	return sent.wait(ctx, l.topics.client)
}
