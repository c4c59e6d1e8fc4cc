// Command counter counts per key: the number it is sent is added to the key's count, which goes to the egress counts and to
// whoever asked.
package main

import weir "github.com/weir-run/weir/sdk/go"

var count = weir.Int64("count")

func init() {
	weir.Ingress("clicks", "example/counter")
	weir.Egresses("counts")
	weir.Handle("example/counter", func(c *weir.Call, add int64) error {
		n := count.Get(c) + add
		count.Set(c, n)
		c.Egress("counts").Put(c.Key(), n)
		return c.Reply(n)
	})
}

func main() {}
