// Command stdgo is a guest for the tests of package wasm: it exports the ABI by hand, and does what its batch says.
//
//	e... echoes the rest        j... reads the rest as JSON and prints it with fmt
//	c    clocks and a sleep     r    random bytes             l  loops for ever
//	d    recurses for ever      m    allocates for ever       p  panics
//	o... prints the rest        f... answers the rest 1000 times
//	n    counts calls: an instance that is replaced begins anew
package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"time"
	"unsafe"
)

var (
	in, out  []byte
	describe = []byte(`{"abi":1,"sdk":"none","functions":[{"type":"test/stdgo","states":[{"name":"count","type":"int64"}]}]}`)
	calls    int
	keep     [][]byte
	started  = time.Now().UnixMilli()
)

func place(b []byte) int32 { return int32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

//go:wasmexport weir_abi
func abiVersion() int32 { return 1 }

//go:wasmexport weir_describe
func describeModule() int64 { return int64(place(describe))<<32 | int64(len(describe)) }

//go:wasmexport weir_in
func input(n int32) int32 {
	if int(n) > len(in) {
		in = make([]byte, n)
	}
	return place(in)
}

//go:wasmexport weir_out
func output(n int32) int32 {
	if int(n) > len(out) {
		out = make([]byte, n)
	}
	return place(out)
}

//go:wasmexport weir_batch
func batch(n int32) int32 {
	calls++
	b := in[:n]
	rest := b[1:]
	switch b[0] {
	case 'e':
		return int32(copy(out, b))
	case 'j':
		var v any
		if err := json.Unmarshal(rest, &v); err != nil {
			return answer(err.Error())
		}
		return answer(fmt.Sprint(v))
	case 'c':
		began := time.Now()
		time.Sleep(time.Hour)
		return answer(fmt.Sprint(began.UnixMilli(), " ", time.Since(began).Round(time.Minute), " ", started))
	case 'r':
		_, _ = rand.Read(out[:16])
		return 16
	case 'l':
		for {
		}
	case 'd':
		return deeper(1)
	case 'm':
		for {
			keep = append(keep, make([]byte, 1<<20))
		}
	case 'p':
		panic("on purpose")
	case 'o':
		fmt.Println(string(rest))
		fmt.Fprint(os.Stderr, "unfinished")
		return answer("printed")
	case 'f':
		if len(rest)*1000 > len(out) {
			return -1
		}
		at := 0
		for range 1000 {
			at += copy(out[at:], rest)
		}
		return int32(at)
	case 'n':
		return answer(fmt.Sprint(calls))
	}
	if binary.LittleEndian.Uint16(b) == 1 {
		return answer("a batch")
	}
	return -3
}

func answer(s string) int32 { return int32(copy(out, s)) }

//go:noinline
func deeper(n int32) int32 { return deeper(n+1) + n }

func main() {}
