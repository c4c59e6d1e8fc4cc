package kafkaio

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// delivery is what one fetch brought: for each partition the batches that are to be read, as views of the answer.
type delivery struct {
	from    *fetcher
	parts   []portion
	batches []held
}

// portion is what a delivery has of one source.
type portion struct {
	src       *source
	batches   []held
	first     int // index into delivery.batches, while those grow
	end       mark
	highWater int64 // the last stable offset: read_committed sees nothing behind it
}

// held is a batch to be read.
type held struct {
	batchView
	from int64 // offsets before it have been read before
	to   int64 // offsets from it on are not read
	end  mark  // where the next batch begins: what is hidden in between is moved past
}

// blank is an empty delivery.
func (f *fetcher) blank() *delivery {
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	d := f.spare
	if f.spare = nil; d == nil {
		d = &delivery{from: f}
	}
	return d
}

// clear takes every view out of d, so that the answer can be collected, and keeps the room.
func (d *delivery) clear() {
	clear(d.parts)
	clear(d.batches)
	d.parts, d.batches = d.parts[:0], d.batches[:0]
}

// add takes the batches of one partition, which may be none. Nothing of it changes the source.
func (d *delivery) add(src *source, p *kmsg.FetchResponseTopicPartition) error {
	hidden := newAborts(p.AbortedTransactions)
	part := portion{src: src, first: len(d.batches), end: src.at, highWater: p.HighWatermark}
	if p.LastStableOffset >= 0 {
		part.highWater = p.LastStableOffset
	}
	limit := src.limit()
	for b := p.RecordBatches; len(b) > 0 && part.end.offset < limit; {
		var v batchView
		n, err := parseBatch(b, &v)
		if err != nil {
			return err
		}
		if n == 0 {
			break // cut off: it comes whole when it is the first
		}
		b = b[n:]
		hide := hidden.hides(&v)
		if v.next <= part.end.offset {
			continue // a broker may begin before the offset that was asked for
		}
		from := part.end.offset
		part.end = mark{min(v.next, limit), v.epoch}
		if hide = hide || v.base >= limit; hide {
			if len(d.batches) > part.first {
				d.batches[len(d.batches)-1].end = part.end
				continue
			}
			v.count, v.records, v.attributes = 0, nil, 0
		}
		d.batches = append(d.batches, held{v, from, limit, part.end})
	}
	if len(d.batches) > part.first {
		d.parts = append(d.parts, part)
	}
	return nil
}

// close moves partitions to their end of which the broker has nothing up to there, because it was compacted away. That is
// known from an answer without a single batch only: a full one leaves partitions out.
func (d *delivery) close(resp *kmsg.FetchResponse, asked []ask) {
	last := 0
	for t := range resp.Topics {
		for n := range resp.Topics[t].Partitions {
			p := &resp.Topics[t].Partitions[n]
			if last = find(asked, last, &resp.Topics[t], p.Partition); p.ErrorCode != 0 || p.LastStableOffset < asked[last].src.limit() {
				continue
			}
			src := asked[last].src
			end := mark{src.limit(), src.at.epoch}
			d.parts = append(d.parts, portion{src: src, first: len(d.batches), end: end, highWater: p.LastStableOffset})
			d.batches = append(d.batches, held{from: src.at.offset, to: end.offset, end: end})
		}
	}
}

// seal is called when no partition follows.
func (d *delivery) seal() {
	for n := range d.parts {
		p := &d.parts[n]
		last := len(d.batches)
		if n+1 < len(d.parts) {
			last = d.parts[n+1].first
		}
		p.batches = d.batches[p.first:last]
	}
}
