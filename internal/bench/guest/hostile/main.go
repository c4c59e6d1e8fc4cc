// Command hostile holds functions that do their worst, for the benchmark that watches a neighbour meanwhile.
package main

import (
	"strings"

	weir "github.com/weir-run/weir/sdk/go"
)

func init() {
	weir.Handle("hostile/spin", spin)
	weir.Handle("hostile/recurse", recurse)
	weir.Handle("hostile/grow", grow)
	weir.Handle("hostile/copy", move)
	weir.Handle("hostile/log", log)
}

func spin(_ *weir.Call, n int64) error {
	for n >= 0 {
		n = (n + 1) & 0xFFFF
	}
	return nil
}

func deep(n int64) int64 {
	if n < 0 {
		return 0
	}
	return deep(n+1) + 1
}

func recurse(c *weir.Call, n int64) error { return c.Reply(deep(n)) }

func grow(c *weir.Call, n int64) error {
	var kept [][]byte
	for n >= 0 {
		kept = append(kept, make([]byte, 1<<20))
	}
	return c.Reply(int64(len(kept)))
}

func move(_ *weir.Call, n int64) error {
	a, b := make([]byte, 8<<20), make([]byte, 8<<20)
	for n >= 0 {
		copy(a, b)
	}
	return nil
}

func log(c *weir.Call, n int64) error {
	line := strings.Repeat("x", 4000)
	for n >= 0 {
		c.Log(line)
	}
	return nil
}

func main() {}
