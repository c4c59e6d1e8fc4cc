package sim

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/weir-run/weir/router"
)

// errRefused is a broker's last word on a record.
var errRefused = errors.New("the broker refuses the record for good")

// lastWords is how many refusals in a row, on average, end a sending for good.
const lastWords = 8

// sending is what one call of Send has for one key. Those of a key go one behind the other, as those of a partition do.
type sending struct {
	records []router.EgressRecord // views into the batch, which is the egress's until all of it is done
	left    *atomic.Int64         // parts of the batch that the broker has not acknowledged
	done    func(error)
}

// Send implements router.Egress. Each key's records are a request of their own: it is made again until the broker answers,
// and one that was carried out without an answer is carried out twice.
func (e *egress) Send(batch []byte, done func(error)) {
	parts := map[string]*sending{}
	var keys []string
	for r, err := range router.EgressRecords(batch) {
		if err != nil {
			panic(fmt.Sprintf("sim: batch of at-least-once output: %v", err))
		}
		key := string(r.Key)
		if parts[key] == nil {
			parts[key] = &sending{done: done}
			keys = append(keys, key)
		}
		parts[key].records = append(parts[key].records, *r)
	}
	left := &atomic.Int64{}
	left.Store(int64(len(keys)))
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, key := range keys {
		parts[key].left = left
		e.sends[key] = append(e.sends[key], parts[key])
		if len(e.sends[key]) == 1 {
			e.request(key)
		}
	}
}

// request puts the first sending of a key on its way. The caller holds mu.
func (e *egress) request(key string) {
	s := e.sends[key][0]
	e.process.world.scheduler.add(&pending{
		lane: fmt.Sprintf("%d/send/%s", e.process.number, key), what: string(s.records[0].Value), kind: output, process: e.process,
		happen: func(said verdict) { e.answer(key, s, said) },
		late:   func() { e.process.world.logs.receive(s.records) },
	})
}

// answer is what becomes of a request. Of an egress that was closed it is carried out, and nobody hears of it.
func (e *egress) answer(key string, s *sending, said verdict) {
	if said == died {
		return
	}
	if said != refuse {
		e.process.world.logs.receive(s.records)
	}
	if e.closed.Load() {
		return
	}
	e.mu.Lock()
	failed := said == refuse && e.process.world.scheduler.random.IntN(lastWords) == 0
	if said == proceed || failed {
		e.sends[key] = e.sends[key][1:]
	}
	if len(e.sends[key]) > 0 {
		e.request(key)
	}
	e.mu.Unlock()
	switch {
	case failed:
		s.done(errRefused)
	case said == proceed && s.left.Add(-1) == 0:
		s.done(nil)
	}
}

// receive appends records that are sent at least once.
func (b *logs) receive(records []router.EgressRecord) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range records {
		b.append(string(records[i].Topic), string(records[i].Key), string(records[i].Value))
	}
}
