// Package wasm runs the WASM modules that users deploy, and is the only home of wazero.
//
// It hides everything between the bytes of a module and one call with a batch: static limits, validation, fuel and depth
// metering by rewriting, the pre-initialised image of standard-Go guests, compilation in a child process, the caches, and
// the memory that instances live in.
//
//	server: module -> decode, limits -> child -> disk cache -> instances
//	child:  decode, limits -> rewrite -> wazero validates and compiles -> first run -> image
//
// Where Config.Drafts allows it, for weir dev, a module can run before it is compiled: a Draft takes the same way through
// the same child with wazero's interpreter, and is never in the disk cache.
//
// The invariant: no guest runs that was not metered, so every call ends within its fuel, its call depth and its memory,
// and reaches a host call (a safepoint of the Go runtime) at least every sliceFuel units. Two calls with the same bytes,
// time and seed on fresh instances spend the same fuel and return the same bytes, interpreted or compiled.
//
// An Engine owns its cache directory. A Module owns its compiled code and its image; an Instance owns its guest memory.
// An Instance belongs to one goroutine at a time; Engine and Module may be shared.
//
// It is not the ABI: batches and results are opaque bytes here (sdk/abi). It knows nothing of jobs, keys or retries.
package wasm
