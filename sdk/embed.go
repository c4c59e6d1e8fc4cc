// Package sdk carries the source of the Go SDK, so that a scaffold can bring it along: a guest then builds offline, with
// none of the platform's dependencies.
//
// It hides which files those are. Its invariant: they are every source file of the SDK without tests, and nothing else. It
// owns no other resource, and is not what a guest imports (package weir in sdk/go).
package sdk

import (
	"embed"
	"io/fs"
)

//go:embed abi/batch.go abi/cursor.go abi/doc.go abi/layout.go abi/leaves.go abi/leaves_wasm.go
//go:embed abi/memory.go abi/pass.go abi/pass_wasm.s abi/put.go abi/put_wasm.s abi/reader.go abi/result.go abi/writer.go
//go:embed go/call.go go/codec.go go/doc.go go/exports.go go/guest.go go/handle.go go/panic.go go/record.go go/slot.go go/state.go go/text.go
//go:embed go/weirtest/invoke.go go/weirtest/weirtest.go
var source embed.FS

// GoMod is the go.mod of a local copy of the SDK.
const GoMod = "module github.com/weir-run/weir\n\ngo 1.26.0\n"

// Source is the SDK's source: abi, go and go/weirtest. A local copy of the module has it in a folder sdk, below a go.mod
// with GoMod; the guest's go.mod points there:
//
//	require github.com/weir-run/weir v0.0.0
//	replace github.com/weir-run/weir => ./weir-sdk
func Source() fs.FS { return source }
