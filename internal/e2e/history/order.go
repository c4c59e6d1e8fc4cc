package history

import "github.com/weir-run/weir/internal/e2e/workload"

// order checks the records of one topic: those of an address come in the order of its own numbers, and those that one sender
// caused there in the order of the sender's.
type order struct {
	running map[uint16]uint32 // last number of each receiver
	numbers map[pair]uint32   // last number of each sender to it
}

type pair struct {
	from workload.Token // only HTTP and Source are set
	at   uint16
}

func newOrder() order { return order{running: map[uint16]uint32{}, numbers: map[pair]uint32{}} }

// check takes the next record of a partition; one that was seen before has no place in an order, and is left out.
func (o *order) check(what string, r *Received, v *Verdict) {
	p := pair{workload.Token{HTTP: r.HTTP, Source: r.From}, r.At}
	if r.Count <= o.running[r.At] {
		v.find(&v.OutOfOrder, "%s %+v at %d: the record before it is its receiver's number %d", what, r.Output, r.At, o.running[r.At])
	} else if r.Number <= o.numbers[p] {
		v.find(&v.OutOfOrder, "%s %+v at %d: the one before it is its sender's number %d", what, r.Output, r.At, o.numbers[p])
	}
	o.running[r.At] = max(o.running[r.At], r.Count)
	o.numbers[p] = max(o.numbers[p], r.Number)
}
