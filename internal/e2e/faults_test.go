package main

import (
	"math/rand/v2"
	"testing"

	"github.com/weir-run/weir/internal/e2e/workload"
)

func TestAPlanHitsEveryFailpointAndKillsAsOftenAsAsked(t *testing.T) {
	for _, o := range []options{{kills: 30, brokerKills: 5}, {kills: 10, brokerKills: 2}, {kills: 11}, {kills: 20, embedded: true}} {
		faults := plan(&o, rand.New(rand.NewPCG(7, 7)))
		hits := map[string]int{}
		kills, brokerKills, last := 0, 0, 0.0
		for _, f := range faults {
			if f.worker {
				kills++
			}
			if f.failpoint != "" {
				kills++
				hits[f.failpoint]++
				if f.hit < 1 || !f.worker {
					t.Errorf("failpoint without a kill: %+v", f)
				}
			}
			if f.broker {
				brokerKills++
			}
			if f.at < last || f.at > lastFault {
				t.Errorf("fault at %v after one at %v", f.at, last)
			}
			last = f.at
		}
		if kills != o.kills || brokerKills != o.brokerKills || len(hits) != len(failpoints) || last < enoughThrough {
			t.Errorf("%+v: %d kills, %d of the broker, failpoints %v, the last fault at %v", o, kills, brokerKills, hits, last)
		}
	}
}

func TestInputsAreNumberedPerSource(t *testing.T) {
	inputs := makeInputs(5000, rand.New(rand.NewPCG(7, 7)))
	next, caused := map[uint16]uint32{}, 0
	for _, in := range inputs {
		next[in.Source]++
		if in.Seq != next[in.Source] || in.Fanout < 1 || in.Fanout > workload.MaxFanout || in.Hops > workload.MaxHops {
			t.Fatalf("input %+v, where source %d is at %d", in, in.Source, next[in.Source])
		}
		for range in.Fanout {
			caused += 1 + 2*int(in.Hops)
		}
	}
	if got := outputs(inputs); got != caused {
		t.Errorf("outputs are said to be %d, and are %d", got, caused)
	}
}

func TestAnEasyRunProvesNothing(t *testing.T) {
	o := &options{kills: 10, brokerKills: 1}
	good := func() *result {
		r := &result{tally: tally{workerKills: 10, brokerKills: 1, throughPercent: 93, hits: map[string]int{}}}
		for _, name := range failpoints {
			r.hits[name] = 1
		}
		return r
	}
	if err := good().enough(o); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(r *result){
		"a failpoint is not hit": func(r *result) { r.hits["published"] = 0 },
		"too few kills":          func(r *result) { r.workerKills-- },
		"too few broker kills":   func(r *result) { r.brokerKills-- },
		"too little through":     func(r *result) { r.throughPercent = 89 },
	} {
		r := good()
		spoil(r)
		if r.enough(o) == nil {
			t.Errorf("%s: it counts as enough", name)
		}
	}
}
