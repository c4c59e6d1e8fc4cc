//go:build wasip1 || tinygo.wasm

package weir

import (
	"unsafe"

	"github.com/weir-run/weir/sdk/abi"
)

// module is the guest behind the exports, and description what it last told of itself, kept in reach of the collector.
var (
	module      = NewGuest(logLine)
	description []byte
)

//go:wasmimport weir log
func hostLog(level int32, text unsafe.Pointer, length int32)

func logLine(level int32, line string) {
	hostLog(level, unsafe.Pointer(unsafe.StringData(line)), int32(len(line)))
}

//go:wasmexport weir_abi
func weirABI() int32 { return abi.Version }

//go:wasmexport weir_describe
func weirDescribe() int64 {
	description = module.Describe()
	return int64(uint64(uintptr(unsafe.Pointer(unsafe.SliceData(description))))<<32 | uint64(len(description)))
}

//go:wasmexport weir_in
func weirIn(size int32) int32 { return address(module.In(int(size))) }

//go:wasmexport weir_out
func weirOut(size int32) int32 { return address(module.Out(int(size))) }

//go:wasmexport weir_batch
func weirBatch(size int32) int32 { return int32(module.Batch(int(size))) }

func address(b []byte) int32 { return int32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
