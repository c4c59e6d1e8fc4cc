// Command sweep is the module of the scenario sweep: one counter under as many names as it is built for, whose state and
// output are as large as its record.
package main

import (
	"encoding/binary"
	"fmt"
	"strconv"

	weir "github.com/weir-run/weir/sdk/go"
)

const (
	countBytes = 8
	// countAt is where a value holds the count, behind the time of its sending; one without room for both is the count alone.
	countAt = 8
)

// functions is how many function types the module has. The linker sets it: -ldflags "-X main.functions=16".
var functions = "1"

var kept = weir.Bytes("kept")

func init() {
	n, err := strconv.Atoi(functions)
	if err != nil {
		panic("sweep: functions is " + functions)
	}
	weir.Handle("bench/count", count, kept)
	for i := 1; i < n; i++ {
		weir.Handle(fmt.Sprintf("bench/count-%d", i), count, kept)
	}
}

// count counts the records of a key in a state that is the last record, and emits that too.
func count(c *weir.Call, value []byte) error {
	if len(value) < countBytes {
		return fmt.Errorf("value of %d bytes: want room for a count", len(value))
	}
	at := min(countAt, len(value)-countBytes)
	n := uint64(1)
	if before := kept.Get(c); len(before) == len(value) {
		n += binary.BigEndian.Uint64(before[at:])
	}
	binary.BigEndian.PutUint64(value[at:], n) // the message is this batch's own copy
	kept.Set(c, value)
	c.Egress("out").PutBytes(c.Key(), value)
	return nil
}

func main() {}
