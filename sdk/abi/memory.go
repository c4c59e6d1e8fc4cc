package abi

import "unsafe"

// A module reads its batch and writes its result through these: fixed offsets from a place that was checked once per block.
// A slice per header costs it three times as much (BenchmarkRecordsOfTheGoSDK in functions/wasm). They are for machines that
// are little-endian and take unaligned words, as are a module and all that Weir runs on.

func load64(p unsafe.Pointer, at int) uint64 { return *(*uint64)(unsafe.Add(p, at)) }

func store64(p unsafe.Pointer, at int, v uint64) { *(*uint64)(unsafe.Add(p, at)) = v }

// view is the n bytes at p, which may be nil when n is 0.
func view(p unsafe.Pointer, n int) []byte {
	if n == 0 {
		return nil
	}
	return (*[MaxBytes]byte)(p)[:n:n]
}

// start is where b lies.
func start(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
