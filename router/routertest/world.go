// Package routertest is the conformance suite of router.Ingress and router.Egress: what any implementation over any log
// must do.
//
// It hides how the contracts are exercised; an implementation brings constructors and a World, by which the suite reaches
// the log from outside. Its invariant: it asserts outcomes only - records, positions, named errors - never calls or
// times. It is not a benchmark, and what only one protocol can do is tested beside that protocol.
package routertest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// patience ends a test that hangs. No outcome depends on it.
const patience = time.Minute

// hourAgo is a time that no retention has reached yet, in unix ms.
var hourAgo = time.Now().Add(-time.Hour).UnixMilli()

// World is the log as everybody else sees and changes it. Its methods end the test when they fail.
type World interface {
	// Create makes a topic.
	Create(t testing.TB, topic string, partitions int)
	// Grow gives a topic more partitions: partitions in all.
	Grow(t testing.TB, topic string, partitions int)
	// Delete deletes a topic.
	Delete(t testing.TB, topic string)
	// Truncate removes the records of a partition that lie before an offset.
	Truncate(t testing.TB, topic string, partition int32, before int64)
	// Write appends records to the partitions that they name.
	Write(t testing.TB, topic string, records ...Record)
	// Transact appends records in one transaction, and commits or aborts it.
	Transact(t testing.TB, topic string, commit bool, records ...Record)
	// Read returns every committed record of a topic, in the order of partitions and offsets.
	Read(t testing.TB, topic string) []Record
}

// Record is a record as the World sees it.
type Record struct {
	Partition int32
	Offset    int64 // of one that was read
	Key       []byte
	Value     []byte
	Headers   []router.Header
	Time      int64 // unix ms
}

// topicName is a name that no other test uses.
func topicName(t testing.TB, suffix string) string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == '#' {
			return '.'
		}
		return r
	}, t.Name())
	return fmt.Sprintf("%s.%s.%d", name[max(0, len(name)-120):], suffix, time.Now().UnixNano())
}

// numbered are records with the values from to to-1, spread over partitions.
func numbered(from, to, partitions int) []Record {
	var r []Record
	for n := from; n < to; n++ {
		r = append(r, Record{Partition: int32(n % partitions), Key: fmt.Appendf(nil, "k%d", n%7), Value: fmt.Appendf(nil, "%d", n), Time: hourAgo + int64(n)})
	}
	return r
}

// values are the values of records, sorted as numbers of equal length would be.
func values(records []Record) []string {
	var v []string
	for _, r := range records {
		v = append(v, string(r.Value))
	}
	slices.SortFunc(v, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return v
}

func wantValues(t testing.TB, got []Record, from, to int) {
	t.Helper()
	var want []string
	for n := from; n < to; n++ {
		want = append(want, fmt.Sprint(n))
	}
	if v := values(got); !slices.Equal(v, want) {
		t.Fatalf("got values %v, want %d to %d once each", v, from, to-1)
	}
}

// reading is an ingress whose Run goes on in background.
type reading struct {
	router.Ingress
	t      testing.TB
	ctx    context.Context
	cancel context.CancelFunc
	done   chan error
	next   map[router.Partition]router.Position
}

func start(t testing.TB, in router.Ingress, err error) *reading {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	r := &reading{in, t, ctx, cancel, make(chan error, 1), map[router.Partition]router.Position{}}
	go func() { r.done <- in.Run(ctx) }()
	t.Cleanup(cancel)
	return r
}

// collect polls until n records have come, as copies.
func (r *reading) collect(n int) []Record {
	r.t.Helper()
	var got []Record
	for len(got) < n {
		if f := r.poll(); f != nil {
			got = append(got, copied(f)...)
			continue
		}
	}
	return got
}

// poll waits for the next fetch.
func (r *reading) poll() *router.Fetch {
	r.t.Helper()
	for {
		if f := r.Poll(64); f != nil {
			if len(f.Records) > 64 {
				r.t.Fatalf("poll of 64 gave %d records", len(f.Records))
			}
			if f.Next.Partition != f.Partition {
				r.t.Fatalf("fetch of %v goes on at %v", f.Partition, f.Next.Partition)
			}
			r.next[f.Partition] = f.Next
			return f
		}
		select {
		case <-r.Ready():
		case err := <-r.done:
			r.t.Fatalf("ingress ended: %v", err)
		}
	}
}

func copied(f *router.Fetch) []Record {
	var got []Record
	for _, one := range f.Records {
		c := Record{Partition: f.Partition.ID, Offset: one.Offset, Key: bytes.Clone(one.Key), Value: bytes.Clone(one.Value), Time: one.Time}
		for _, h := range one.Headers {
			c.Headers = append(c.Headers, router.Header{Key: strings.Clone(h.Key), Value: bytes.Clone(h.Value)})
		}
		got = append(got, c)
	}
	return got
}

// positions are what a seal would record: the starts, overridden by what was consumed.
func (r *reading) positions() []router.Position {
	p, _ := r.Positions()
	for n := range p {
		if next, ok := r.next[p[n].Partition]; ok {
			p[n] = next
		}
	}
	return p
}

// settled waits until every partition known has a start.
func (r *reading) settled() []router.Position {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if p, ok := r.Positions(); ok {
			return p
		}
		select {
		case <-tick.C:
		case err := <-r.done:
			r.t.Fatalf("ingress ended: %v", err)
		}
	}
}

// stop ends the ingress in order.
func (r *reading) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Fatalf("ingress did not end in order: %v", err)
	}
}

// failure drains the ingress until it ends by itself, and returns why.
func (r *reading) failure() error {
	r.t.Helper()
	for {
		for r.Poll(64) != nil {
			continue
		}
		select {
		case <-r.Ready():
		case err := <-r.done:
			if r.ctx.Err() != nil {
				r.t.Fatal("the ingress did not end")
			}
			return err
		}
	}
}

func oneTopic(topic string) functions.Ingress {
	return functions.Ingress{ID: "test/in", Topics: []functions.IngressTopic{{Topic: topic}}}
}
