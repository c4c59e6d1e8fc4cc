package weir_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	weir "github.com/weir-run/weir/sdk/go"
)

// The functions under test, registered as a module registers its own.
var (
	total  = weir.Int64("total")
	blob   = weir.Bytes("blob")
	name   = weir.String("name")
	order  = weir.JSON[purchase]("order")
	hexnum = weir.State[int64]("hex", hexCodec{})
)

type purchase struct {
	Item  string `json:"item"`
	Cents int    `json:"cents"`
}

// hexCodec is a codec of the guest's own.
type hexCodec struct{}

func (hexCodec) Name() string                             { return "hex" }
func (hexCodec) Append(b []byte, v int64) ([]byte, error) { return strconv.AppendInt(b, v, 16), nil }
func (hexCodec) Parse(b []byte) (int64, error)            { return strconv.ParseInt(string(b), 16, 64) }

var errNegative = errors.New("negative")

func TestMain(m *testing.M) {
	register()
	os.Exit(m.Run())
}

// register does what init does in a module.
func register() {
	weir.Ingress("adds", "t/add", "t/text")
	weir.Ingress("adds", "t/json")
	weir.Ingress("texts", "t/text")
	weir.Egresses("out", "other")

	weir.Handle("t/add", func(c *weir.Call, n int64) error {
		sum := total.Get(c) + n
		total.Set(c, sum)
		c.Egress("out").Put(c.Key(), sum)
		c.Send("t/audit", "all", sum)
		if n < 0 {
			return errNegative
		}
		if n == 13 {
			panic("unlucky")
		}
		return c.Reply(sum)
	}, total)

	weir.Handle("t/append", func(c *weir.Call, b []byte) error {
		v := append(blob.Get(c), b...)
		blob.Set(c, v)
		if string(b) == "!" {
			v[0] = '!'
			return errNegative
		}
		return c.ReplyBytes(v)
	}, blob)

	weir.Handle("t/text", func(c *weir.Call, s string) error {
		name.Set(c, name.Get(c)+s)
		return c.ReplyString(name.Get(c))
	}, name)

	weir.Handle("t/json", func(c *weir.Call, p purchase) error {
		if p.Cents == 0 {
			order.Delete(c)
			return c.ReplyString(fmt.Sprint(order.Exists(c)))
		}
		p.Cents += order.Get(c).Cents
		order.Set(c, p)
		return c.ReplyJSON(p)
	}, order, hexnum)

	weir.Handle("t/hex", func(c *weir.Call, n int64) error {
		hexnum.Set(c, hexnum.Get(c)+n)
		return c.Reply(hexnum.Get(c))
	}, hexnum)

	weir.Handle("t/audit", func(c *weir.Call, n int64) error {
		from, _ := c.Sender()
		c.Egress("out").PutString("audit", from.Type+"/"+from.Key+" "+strconv.FormatInt(n, 10))
		return nil
	}, weir.Stateless)

	weir.Handle("t/unnamed", func(c *weir.Call, _ int64) error {
		total.Set(c, 1)
		return nil
	}, weir.Stateless)

	weir.Handle("t/script", script, weir.Stateless)
	weir.Handle("t/number", number, total)
	weir.Handle("t/undeclared", func(c *weir.Call, _ []byte) error { undeclared(c); return nil }, weir.Stateless)
}

// undeclared is what t/undeclared does with a state that was never declared.
var undeclared func(*weir.Call)

// number does with the state total what its message says.
func number(c *weir.Call, what string) error {
	switch what {
	case "delete", "delete and fail":
		total.Delete(c)
		if total.Exists(c) || total.Get(c) != 0 {
			return errors.New("a deleted number is there")
		}
	case "look":
		total.Get(c)
	default:
		total.Set(c, int64(what[0]-'0'))
	}
	if strings.HasSuffix(what, "fail") {
		return errNegative
	}
	return nil
}

// script does what its message says: one step per word, so that a test can spell out odd sequences.
func script(c *weir.Call, steps []string) error {
	var kept weir.Record
	for _, step := range steps {
		switch step {
		case "reply":
			if c.Reply(1) != nil {
				return nil // the failure counts although the handler hides it
			}
		case "record":
			c.Egress("out").Topic("t").Header("a", "1").Header("a", "2").PutJSON("k", purchase{"x", 1})
		case "keyless":
			c.Egress("out").PutBytes("", []byte("v"))
		case "tombstone":
			c.Egress("out").PutTombstone("k")
		case "start":
			kept = c.Egress("out").Topic("kept")
		case "put":
			kept.Put("k", 1)
		case "other":
			c.Egress("other").Put("k", 2)
		case "json":
			c.SendJSON("t/none", "k", func() {})
		case "typed":
			c.SendTyped("t/none", "k", "io.statefun.types/long", []byte("\x09\x01\x00\x00\x00\x00\x00\x00\x00"))
		case "text":
			c.SendString("t/none", "k", "text")
		case "random":
			c.Log(fmt.Sprint(c.Rand().Uint64(), c.Rand().Uint64()))
		case "time":
			c.Logf("%d %d", c.Now().UnixMilli(), c.EventTime().UnixMilli())
		case "header":
			v, ok := c.Header("trace")
			c.Logf("%s %v", v, ok)
		case "who":
			from, sent := c.Sender()
			c.Logf("%s %s %d %v %v %s", c.Function(), c.Key(), c.Origin(), from, sent, c.Value())
		case "long":
			c.Egress(strings.Repeat("x", 1<<16)).PutString("k", "v")
		case "long topic":
			c.Egress("out").Topic(strings.Repeat("x", 1<<16)).PutString("k", "v")
		case "flood":
			big := make([]byte, 1<<20)
			c.SendBytes("t/none", "k", big)
		}
	}
	return nil
}

func words(w ...string) string {
	text, err := json.Marshal(w)
	if err != nil {
		panic(err)
	}
	return string(text)
}
