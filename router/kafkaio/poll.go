package kafkaio

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-run/weir/router"
)

const (
	// maxNames bounds the header names that are kept, so that one name is one string however often it comes; topics use
	// a handful.
	maxNames = 256
	// maxNameBytes is the longest that is kept.
	maxNameBytes = 128
)

// reader hands out deliveries record by record, in place. It belongs to the task.
type reader struct {
	work     *delivery // nil: there is none
	part     int       // of work, the one at hand
	batch    int       // of the part, the one at hand
	open     bool      // walk is in that batch
	broken   bool      // a batch could not be read: nothing is handed out any more
	walk     walker
	maxBytes int // of a record; 0 takes any
	codec    kgo.Decompressor
	plain    *room
	names    map[string]string
	fetch    router.Fetch // reused, as the fields below
	records  []router.Record
	headers  []router.Header
}

// Poll implements router.Ingress.
func (i *Ingress) Poll(limit int) *router.Fetch {
	r := &i.reader
	if r.broken || r.work == nil && !i.take() {
		r.forget()
		return nil
	}
	part := &r.work.parts[r.part]
	end, err := r.read(part, limit)
	if err != nil {
		r.broken = true
		err = fmt.Errorf("read %s[%d]: %w", part.src.start.Topic, part.src.start.ID, err)
		i.failed <- err // the only one; Run ends with it
		return nil
	}
	next := part.src.start
	next.Offset, next.LeaderEpoch = end.offset, end.epoch
	r.fetch = router.Fetch{Partition: next.Partition, Topic: part.src.rule, Records: r.records, Next: next, HighWater: part.highWater}
	if r.batch == len(part.batches) {
		if part.end.offset >= part.src.limit() {
			i.finish()
		}
		if r.part, r.batch = r.part+1, 0; r.part == len(r.work.parts) {
			i.giveBack()
		}
	}
	token(i.ready)
	return &r.fetch
}

// take takes the next delivery into work, and lets its fetcher go on.
func (i *Ingress) take() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.queue) == 0 {
		return false
	}
	d := i.queue[0]
	i.queue = append(i.queue[:0], i.queue[1:]...)
	i.reader.work, i.reader.part, i.reader.batch = d, 0, 0
	token(d.from.taken)
	return true
}

// giveBack lets the fetcher use the room of the delivery again. The bytes of its records stay as they are.
func (i *Ingress) giveBack() {
	d := i.reader.work
	d.clear()
	i.mu.Lock()
	d.from.spare = d
	i.mu.Unlock()
	i.reader.work = nil
}

// read reads up to limit records of a part, and returns where the next begins. It ends earlier where the next batch would
// need the room of one whose records have been handed out.
func (r *reader) read(part *portion, limit int) (end mark, err error) {
	r.records, r.headers = r.records[:0], r.headers[:0]
	if !r.open {
		r.plain.reset()
	}
	for r.batch < len(part.batches) {
		b := &part.batches[r.batch]
		if !r.open {
			if b.codec() != kgo.CodecNone && len(r.records) > 0 && !r.plain.fits(b.records) {
				break
			}
			if err := r.begin(b); err != nil {
				return end, fmt.Errorf("batch at offset %d: %w", b.base, err)
			}
		}
		if end, err = r.fill(b, limit); err != nil {
			return end, fmt.Errorf("batch at offset %d: %w", b.base, err)
		}
		if r.open {
			break
		}
		r.batch++
		if len(r.records) == 0 {
			r.plain.reset()
		}
		if len(r.records) >= limit {
			break
		}
	}
	return end, nil
}

// begin goes to the records of b.
func (r *reader) begin(b *held) (err error) {
	records := b.records
	if b.codec() != kgo.CodecNone {
		if records, err = r.plain.decompress(r.codec, records, b.codec()); err != nil {
			return err
		}
	}
	r.walk.start(&b.batchView, records)
	r.open = true
	return nil
}

// fill reads records of b until there are limit, or none is left. It returns where the next begins.
func (r *reader) fill(b *held, limit int) (mark, error) {
	for r.walk.left > 0 && len(r.records) < limit {
		n := len(r.records)
		if n == cap(r.records) {
			r.records = append(r.records, router.Record{})
		}
		r.records = r.records[:n+1]
		record := &r.records[n]
		record.Headers = nil // the rest is written below
		headers, err := r.walk.next(record)
		if err != nil {
			return mark{}, err
		}
		if record.Offset < b.from || record.Offset >= b.to {
			r.records = r.records[:n]
			continue
		}
		size := len(record.Key) + len(record.Value)
		if len(headers) != 1 || headers[0] != 0 {
			more, err := r.head(record, headers)
			if err != nil {
				return mark{}, err
			}
			size += more
		}
		record.Oversized = r.maxBytes > 0 && size > r.maxBytes
	}
	if r.walk.left > 0 {
		return mark{r.records[len(r.records)-1].Offset + 1, b.epoch}, nil
	}
	r.open = false
	return b.end, nil
}

// head reads the headers of a record, and returns their size in bytes.
func (r *reader) head(record *router.Record, b []byte) (size int, err error) {
	count, k := binary.Varint(b)
	if k <= 0 || count < 0 || count > int64(len(b)) {
		return 0, errBatch
	}
	b = b[k:]
	from := len(r.headers)
	for range count {
		name, value, rest, ok := takeHeader(b)
		if !ok {
			return 0, errBatch
		}
		b = rest
		r.headers = append(r.headers, router.Header{Key: r.name(name), Value: value})
		size += len(name) + len(value)
	}
	record.Headers = r.headers[from:len(r.headers):len(r.headers)]
	return size, nil
}

// name is b as a string, the same one each time.
func (r *reader) name(b []byte) string {
	if s, ok := r.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(r.names) < maxNames && len(s) <= maxNameBytes {
		r.names[s] = s
	}
	return s
}

// forget lets go of what was handed out, so that an idle ingress keeps no fetch in memory.
func (r *reader) forget() {
	if len(r.records) == 0 {
		return
	}
	clear(r.records)
	clear(r.headers)
	r.records, r.headers, r.fetch = r.records[:0], r.headers[:0], router.Fetch{}
	r.plain.forget()
}
