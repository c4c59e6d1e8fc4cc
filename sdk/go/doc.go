// Package weir is what a function is written with: a module registers its functions in init, and Weir calls them with a
// message and the state of its key.
//
//	var count = weir.Int64("count")
//
//	func init() {
//		weir.Handle("example/counter", func(c *weir.Call, add int64) error {
//			n := count.Get(c) + add
//			count.Set(c, n)
//			c.Egress("counts").Put(c.Key(), n)
//			return c.Reply(n)
//		})
//	}
//
//	func main() {}
//
// It hides the layout of package abi and the batches in which calls arrive. Its invariant: the effects of an invocation
// (state, sends, records, reply) take effect together, or none does: a handler that returns an error or panics leaves no
// trace but its failure, and what the same key did before stays. Buffers of a batch belong to the package: what a Call hands
// out as a view (Key, KeyBytes, []byte values, headers) is valid until the handler returns, and strings.Clone or
// bytes.Clone keep it. It is not where functions run: package weirtest runs them in go test, the platform in a module built
// by
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o counter.wasm .
//
// A function is deterministic: it reads no clock but Now and EventTime, no random numbers but Rand, and keeps nothing in
// variables from one call to the next, because a batch may be replayed and an instance replaced. Handlers start no
// goroutines.
//
// # Values
//
// A handler takes int64, string, []byte, or any other type as JSON. An int64 travels as decimal text (JSON's form), unless
// the message says that its type is io.statefun.types/long or io.statefun.types/int; a string is its bytes, unless the type
// is io.statefun.types/string. A value that is not what the handler takes fails its invocation with its own code, because
// another attempt would end the same. Methods without a suffix take int64, the others say what they take: Send,
// SendString, SendBytes, SendJSON.
package weir
