package kafkaio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weir-run/weir/router"
)

// cookie is what the embedded broker's recovery needs to tell which partitions of an outbox were committed: when it is
// killed, it can lose part of a commit. All that the producer wrote above the ends belongs to outboxes above Published.
type cookie struct {
	Producer  int64              `json:"producer"`
	Published uint64             `json:"published"`
	Ends      map[string][]int64 `json:"ends"` // by topic, by partition
}

// errTorn reports that what the broker holds fits no way in which a commit can be torn. Nothing is guessed.
var errTorn = errors.New("committed records fit no outbox")

// bake makes the cookie of the next outbox.
func (l *Lane) bake() {
	if !l.e.cfg.Embedded {
		return
	}
	c := cookie{Producer: l.who.id, Published: l.done, Ends: map[string][]int64{}}
	for key, end := range l.ends {
		ends := c.Ends[key.topic]
		for len(ends) <= int(key.id) {
			ends = append(ends, 0)
		}
		ends[key.id] = end
		c.Ends[key.topic] = ends
	}
	b, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("kafkaio: cookie %+v: %v", c, err))
	}
	l.mu.Lock()
	l.cookie = b
	l.mu.Unlock()
}

// remember notes where the logs end that the lane may write to. Nothing of the lane is under way.
func (l *Lane) remember(ctx context.Context) error {
	if !l.e.cfg.Embedded {
		return nil
	}
	l.ends = map[partitionKey]int64{}
	if m := l.e.topics.Load(); m != nil {
		for name, t := range *m {
			for p := range t.leaders {
				key := partitionKey{name, int32(p)}
				end, err := l.bound(ctx, key, l.e.adm.ListEndOffsets)
				if err != nil {
					return err
				}
				l.ends[key] = end
			}
		}
	}
	l.bake()
	return nil
}

// passed notes that a batch stands in the log.
func (l *Lane) passed(key partitionKey, base int64, count int32) {
	if l.e.cfg.Embedded {
		l.ends[key] = max(l.ends[key], base+int64(count))
	}
}

// sweep writes the end of an aborted transaction into every partition that the lane may have written to. A broker that
// was killed forgets open transactions without a word in the log: readers would take the next commit of this producer
// for an abort too, and the next restart would take what it forgot for committed.
func (l *Lane) sweep(ctx context.Context, pending []router.Pending) error {
	if !l.e.cfg.Embedded {
		return nil
	}
	for _, p := range pending {
		if _, err := l.count(ctx, p); err != nil { // learns of their topics
			return err
		}
	}
	var keys []partitionKey
	for name, t := range *l.e.topics.Load() {
		for p := range t.leaders {
			keys = append(keys, partitionKey{name, int32(p)})
		}
	}
	if err := l.addPartitions(ctx, keys); err != nil {
		return err
	}
	return l.end(ctx, false)
}

// mend finds which partitions of the pending outboxes are committed. The producer is initialised: nothing is open.
func (l *Lane) mend(ctx context.Context, baked []byte, pending []router.Pending) error {
	l.there = nil
	if !l.e.cfg.Embedded {
		return nil
	}
	if l.ends == nil {
		l.ends = map[partitionKey]int64{}
	}
	if len(pending) == 0 {
		return nil
	}
	var c cookie
	if err := json.Unmarshal(baked, &c); err != nil {
		return fmt.Errorf("cookie of lane %s: %w", l.id, err)
	}
	l.there = map[uint64]map[partitionKey]bool{}
	counts := make([]map[partitionKey]int64, len(pending))
	touched := map[partitionKey]bool{}
	for n, p := range pending {
		l.there[p.Number] = map[partitionKey]bool{}
		var err error
		if counts[n], err = l.count(ctx, p); err != nil {
			return err
		}
		for key := range counts[n] {
			touched[key] = true
		}
	}
	for key := range touched {
		committed, err := l.committed(ctx, key, &c)
		if err != nil {
			return err
		}
		for n, p := range pending {
			size := counts[n][key]
			switch {
			case size == 0:
			case p.Number <= c.Published:
				l.there[p.Number][key] = true
			case committed >= size:
				l.there[p.Number][key] = true
				committed -= size
			case committed > 0:
				return fmt.Errorf("%w: %s[%d] holds %d of the %d records of outbox %d", errTorn, key.topic, key.id, committed, size, p.Number)
			}
		}
		if committed > 0 {
			return fmt.Errorf("%w: %s[%d] holds %d more records than are pending", errTorn, key.topic, key.id, committed)
		}
	}
	for n, p := range pending {
		for key := range counts[n] {
			if !l.there[p.Number][key] {
				l.there[p.Number][partitionKey{}] = false // marks it as torn or absent
			}
		}
	}
	return nil
}

// torn says whether mend found that part of an outbox is not there.
func (l *Lane) torn(number uint64) bool {
	_, part := l.there[number][partitionKey{}]
	return part
}

// count is the number of records of an outbox by partition.
func (l *Lane) count(ctx context.Context, p router.Pending) (map[partitionKey]int64, error) {
	counts := map[partitionKey]int64{}
	for _, b := range p.Outbox {
		for r, err := range router.EgressRecords(b) {
			if err != nil {
				return nil, err
			}
			t, err := l.topic(ctx, r.Topic)
			if err != nil {
				return nil, fmt.Errorf("topic %s: %w", r.Topic, err)
			}
			counts[partitionKey{t.name, l.partition(t, r, p.Number)}]++
		}
	}
	return counts, nil
}

// committed counts the records that the lane has committed to a partition since the cookie was baked. When its epochs
// were used up since then, it goes on under a second producer id, which it holds now.
func (l *Lane) committed(ctx context.Context, key partitionKey, c *cookie) (int64, error) {
	end, err := l.bound(ctx, key, l.e.adm.ListCommittedOffsets)
	if err != nil {
		return 0, err
	}
	start, err := l.bound(ctx, key, l.e.adm.ListStartOffsets)
	if err != nil {
		return 0, err
	}
	from := int64(0)
	if ends := c.Ends[key.topic]; int(key.id) < len(ends) {
		from = ends[key.id]
	}
	n := int64(0)
	err = scan(ctx, l.e, l.cl, key, max(from, start), end, func(v *batchView) error {
		if v.producer.id == c.Producer || v.producer.id == l.who.id {
			n += int64(v.count)
		}
		return nil
	})
	return n, err
}
