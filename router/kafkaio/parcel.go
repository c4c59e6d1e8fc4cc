package kafkaio

import (
	"encoding/binary"
	"fmt"
)

// parcel is a batch of an at-least-once output, with the Sends that its records came from.
type parcel struct {
	batch
	shares []share
	tried  bool // was in a request: nothing is appended any more, as the broker may hold it
}

// share is the run of records of one Send in a parcel, up to the next share.
type share struct {
	out  *outgoing
	from int32 // position of its first record in the batch
}

// parcel takes an empty one.
func (s *sender) parcel() *parcel {
	b, ok := s.pool.Get().(*parcel)
	if !ok {
		b = &parcel{}
	}
	b.reset()
	return b
}

// give returns a parcel that no request needs.
func (s *sender) give(b *parcel) {
	if b.lent {
		return
	}
	clear(b.shares)
	b.shares, b.tried = b.shares[:0], false
	s.pool.Put(b)
}

// share notes whose record was added last.
func (b *parcel) share(out *outgoing) {
	if n := len(b.shares); n == 0 || b.shares[n-1].out != out {
		b.shares = append(b.shares, share{out, b.count - 1})
	}
}

// eachShare visits the Sends with records [from, to) of the batch.
func (b *parcel) eachShare(visit func(out *outgoing, from, to int32)) {
	for n, one := range b.shares {
		to := b.count
		if n+1 < len(b.shares) {
			to = b.shares[n+1].from
		}
		visit(one.out, one.from, to)
	}
}

// split moves the records into parcels of at most limit bytes, or of one record.
func (b *parcel) split(limit int, empty func() *parcel) []*parcel {
	pieces := []*parcel{empty()}
	records := b.plain[batchHeader:]
	b.eachShare(func(out *outgoing, from, to int32) {
		for _, index := range b.index[from:to] {
			size, n := binary.Varint(records)
			body := records[n+1 : n+int(size)] // without the attributes
			records = records[n+int(size):]
			delta, n := binary.Varint(body)
			_, m := binary.Varint(body[n:])
			if n <= 0 || m <= 0 {
				panic(fmt.Sprintf("kafkaio: record %x of an own batch is damaged", body))
			}
			last := pieces[len(pieces)-1]
			if !last.addBody(b.first+delta, body[n+m:], index, limit) {
				last = empty()
				last.addBody(b.first+delta, body[n+m:], index, limit)
				pieces = append(pieces, last)
			}
			last.share(out)
		}
	})
	return pieces
}
