// Command counter is a guest of the Go SDK: it adds what it is sent to the key's count, and answers with the count.
package main

import weir "github.com/weir-run/weir/sdk/go"

var count = weir.Int64("count")

func init() {
	weir.Egresses("counts")
	weir.Handle("test/counter", func(c *weir.Call, add int64) error {
		n := count.Get(c) + add
		count.Set(c, n)
		c.Egress("counts").Put(c.Key(), n)
		return c.Reply(n)
	})
}

func main() {}
