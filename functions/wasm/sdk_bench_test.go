package wasm_test

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
	"github.com/weir-run/weir/sdk/abi"
)

// recordBatch is 64 records of 100 bytes, so many to a key, for bench/count of the guest that the benchmarks call.
func recordBatch(perKey int) *abi.Batch {
	const records = 64
	var b abi.Batch
	b.Reset(1_700_000_000_000, 1)
	for k := range records / perKey {
		b.Group(0, []byte("key-"+strconv.Itoa(1_000_000+k)))
		b.State(make([]byte, 8), true)
		for range perKey {
			b.Message(&abi.Message{Kind: abi.KindIngress, Value: make([]byte, 100)})
		}
	}
	return &b
}

// BenchmarkRecordsOfTheGoSDK is what a record costs in a metered module of the Go SDK that counts by key and emits each
// record. Units are exact; processor time is for comparing runs of one machine. With one record per key, two fifths of
// the units are what a key costs beside its records: reading its state, writing it, and closing the group.
//
//	                                                1 per key     8 per key
//	slices on the heap, a call for each step        4664 units    2762 units
//	places in the batch, calls merged               4070 units    2532 units
//	fixed offsets, numbers in place                 1683 units    1035 units
//	a group and a message in one step each          1483 units     898 units
//
// In one run on a busy machine, each at its best of 12 turns, the second row took 1450 ns and 797 ns a record, the last 311
// and 155. The same with the steps in Go (tag purego) took 5248 and 3701 units.
func BenchmarkRecordsOfTheGoSDK(b *testing.B) {
	benchmarkRecords(b, build(b, "../../../internal/bench/guest"))
}

// BenchmarkRecordsOfAGuestInC is what a record costs the engine when the guest does little more than copy it.
func BenchmarkRecordsOfAGuestInC(b *testing.B) { benchmarkRecords(b, guestInC(b)) }

func benchmarkRecords(b *testing.B, guest []byte) {
	m := load(b, newEngine(b), guest, wasm.Limits{})
	for _, perKey := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d per key", perKey), func(b *testing.B) {
			i, in := instance(b, m, nil), recordBatch(perKey).Bytes()
			b.ReportAllocs()
			began := processorTime(b)
			for b.Loop() {
				if _, err := i.Call(in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(processorTime(b)-began)/float64(b.N)/64, "cpu-ns/message")
			b.ReportMetric(float64(i.Fuel())/64, "units/message")
		})
	}
}

// processorTime is what this process has used, in ns.
func processorTime(t testing.TB) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
