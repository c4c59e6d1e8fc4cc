// Command twin is a guest whose functions take every way through a batch: it is built with the SDK's steps in assembly and
// with those in Go, which must answer alike.
package main

import (
	"errors"
	"strings"

	weir "github.com/weir-run/weir/sdk/go"
)

var (
	first  = weir.Int64("first")
	blob   = weir.Bytes("blob")
	second = weir.Int64("second")
)

// tooLong is a name that the layout has no room for.
var tooLong = strings.Repeat("x", 1<<16)

func init() {
	weir.Handle("twin/numbers", numbers, first, second)
	weir.Handle("twin/mixed", mixed, first, blob, second)
	weir.Handle("twin/none", func(c *weir.Call, n int64) error { return c.Reply(-n) }, weir.Stateless)
}

func numbers(c *weir.Call, value []byte) error {
	n := first.Get(c) + int64(len(value))
	if second.Exists(c) {
		n += second.Get(c) >> 30
	}
	first.Set(c, n)
	switch {
	case n%5 == 1:
		second.Set(c, n<<20)
	case n%5 == 2:
		second.Delete(c)
	}
	c.Egress("out").PutBytes(c.Key(), value)
	if n%7 == 3 {
		return errors.New("refused")
	}
	if n%9 == 4 {
		c.Egress(tooLong).PutBytes(c.Key(), value)
	}
	c.Send("twin/none", c.Key(), n*n*n*n)
	return c.Reply(n)
}

func mixed(c *weir.Call, value []byte) error {
	if len(value) > 0 && value[0] == 'd' {
		blob.Delete(c)
	} else if len(value)%3 == 1 {
		blob.Set(c, append(blob.Get(c), value...))
	}
	if len(value)%4 == 2 {
		first.Set(c, -first.Get(c)-1)
	}
	if second.Exists(c) {
		second.Set(c, second.Get(c)+1)
	}
	c.Egress("out").Topic("t").Header("a", "b").PutBytes("", value)
	if len(value)%11 == 10 {
		panic("no")
	}
	return c.ReplyBytes(blob.Get(c))
}

func main() {}
