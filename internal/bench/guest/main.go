// Command guest holds the functions that the benchmarks call: keyed counters between two topics, with small and with large
// state, and with output only when asked; one behind HTTP; and one that another function feeds, so that nothing but the engine
// works.
package main

import (
	"encoding/binary"
	"fmt"
	"strconv"

	weir "github.com/weir-run/weir/sdk/go"
)

// countAt is where a record of the load holds the count that the function fills in; bytes 0 to 8 are its send time.
const countAt = 8

// keptBytes is the state that bench/keep has per key: with the key of 9 bytes it makes 100.
const keptBytes = 91

// round is how many messages bench/feed sends per call: many more than a batch, and far below any limit of an outbox.
const round = 500

var (
	count = weir.Int64("count")
	fed   = weir.Int64("fed")
	kept  = weir.Bytes("kept")
)

func init() {
	weir.Handle("bench/count", countRecord, count)
	weir.Handle("bench/keep", keep, kept)
	weir.Handle("bench/tally", tally, count)
	weir.Handle("bench/hit", hit, count)
	weir.Handle("bench/feed", feed, fed)
	weir.Handle("bench/fed", step, count)
}

// countRecord counts the records of a key and emits each with its count.
func countRecord(c *weir.Call, value []byte) error {
	if len(value) < countAt+8 {
		return fmt.Errorf("value of %d bytes: want a time and room for a count", len(value))
	}
	n := count.Get(c) + 1
	count.Set(c, n)
	binary.BigEndian.PutUint64(value[countAt:], uint64(n)) // the message is this batch's own copy
	c.Egress("out").PutBytes(c.Key(), value)
	return nil
}

// keep counts the records of a key in a state of keptBytes, and emits time and count alone.
func keep(c *weir.Call, value []byte) error {
	if len(value) < keptBytes {
		return fmt.Errorf("value of %d bytes: want at least %d", len(value), keptBytes)
	}
	n := uint64(1)
	if before := kept.Get(c); len(before) == keptBytes {
		n += binary.BigEndian.Uint64(before[countAt:])
	}
	binary.BigEndian.PutUint64(value[countAt:], n)
	kept.Set(c, value[:keptBytes])
	c.Egress("out").PutBytes(c.Key(), value[:countAt+8])
	return nil
}

// tally counts the records of a key without a word; one with time 0 is not counted, and asks for the count.
func tally(c *weir.Call, value []byte) error {
	if len(value) < countAt+8 {
		return fmt.Errorf("value of %d bytes: want a time and room for a count", len(value))
	}
	if binary.BigEndian.Uint64(value) != 0 {
		count.Set(c, count.Get(c)+1)
		return nil
	}
	binary.BigEndian.PutUint64(value[countAt:], uint64(count.Get(c)))
	c.Egress("out").PutBytes(c.Key(), value)
	return nil
}

func hit(c *weir.Call, add int64) error {
	n := count.Get(c) + add
	count.Set(c, n)
	return c.Reply(n)
}

// step is the counter that bench/feed feeds.
func step(c *weir.Call, add int64) error {
	count.Set(c, count.Get(c)+add)
	return nil
}

// feed sends a round to random keys and then itself a message, which stands behind them in the mailbox, until as many as
// asked have been sent. Its key is the number of keys.
func feed(c *weir.Call, left int64) error {
	if c.Origin() == weir.FromRequest {
		fed.Set(c, 0)
		c.Send("bench/feed", c.Key(), left)
		return c.Reply(left)
	}
	keys, err := strconv.ParseUint(c.Key(), 10, 32)
	if err != nil {
		return fmt.Errorf("key %q: want the number of keys: %w", c.Key(), err)
	}
	now := min(left, round)
	var key [16]byte
	for range now {
		b := strconv.AppendUint(key[:0], c.Rand().Uint64N(keys), 10)
		c.Send("bench/fed", string(b), 1)
	}
	fed.Set(c, fed.Get(c)+now)
	if left > now {
		c.Send("bench/feed", c.Key(), left-now)
	}
	return nil
}

func main() {}
