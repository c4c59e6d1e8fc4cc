package wasm_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
)

const (
	// hostileFuel is the limit of every hostile call, and slice is how far a guest may run between two looks at it.
	hostileFuel = 2_000_000
	slice       = 300_000
	// tooLarge is what a single instruction or call of the host may have asked for beyond: it was charged, and not run.
	tooLarge = 64 << 20
)

// hostile is one guest that does its worst in weir_batch.
type hostile struct {
	name string
	m    *assembly
	kind error
	text string // within the error
	asks int64  // for so much at once that it was not run
}

// wasi is the name of a function of WASI.
func wasi(name string) string { return "wasi_snapshot_preview1." + name }

// first is the index of the first function behind those that every guest has, without imports.
const first = guestFuncs

func endlessLoops() []hostile {
	spin := func(name, code string, imported ...string) hostile {
		return hostile{name: name, m: hostileGuest(code, imported...), kind: wasm.ErrFuel, text: "fuel spent"}
	}
	withTable := spin("a loop of table instructions", "loop void i32.const 0 i32.const 1 i32.const 1 table.copy 0 0 i32.const 0 ref.null funcref i32.const 3 table.fill 0 br 0 end i32.const 1")
	withTable.m.table(first-1, first-1)
	leaf := spin("a loop around a leaf", "loop void call 5 br 0 end i32.const 1")
	leaf.m.fn(void, "", times(120, "i32.const 1 drop"))
	indirect := spin("a loop around an indirect call", "loop void i32.const 0 call_indirect 3 0 br 0 end i32.const 1")
	indirect.m.fn(void, "", "").table(first)
	references := spin("a loop of references to functions", "loop void ref.func 5 drop br 0 end i32.const 1")
	references.m.fn(void, "", "").table(first)
	return []hostile{
		spin("a loop", "loop void br 0 end i32.const 1"),
		spin("a loop with a condition", "loop void local.get 0 br_if 0 end i32.const 1"),
		spin("a loop by br_table", "loop void block void i32.const 1 br_table 1 0 1 end end i32.const 1"),
		spin("a loop out of nested blocks", "loop void "+times(100, "block void")+"i32.const 3 br_table 1 0 100 "+times(100, "end")+"end i32.const 1"),
		spin("a loop in a loop", "loop void loop void local.get 0 br_if 1 br 1 end end i32.const 1"),
		spin("a loop by both arms of a condition", "loop void local.get 0 if void br 1 else br 1 end end i32.const 1"),
		spin("a loop whose head is reached for sure", "i32.const 1 drop loop void nop br 0 end i32.const 1"),
		spin("a loop of nothing but nops", "loop void "+times(1000, "nop")+"br 0 end i32.const 1"),
		spin("a loop of divisions", "loop void i64.const 7 i64.const 3 i64.div_u drop br 0 end i32.const 1"),
		spin("a loop of growth by nothing", "loop void i32.const 0 memory.grow 0 drop br 0 end i32.const 1"),
		spin("a loop of growth that is refused", "loop void i32.const 65536 memory.grow 0 drop br 0 end i32.const 1"),
		withTable, leaf, indirect, references,
	}
}

func floods() []hostile {
	fill := "i32.const 0 i32.const 1 i32.const 262144 memory.fill 0 "
	flood := func(name, code string, asks int64, imported ...string) hostile {
		return hostile{name: name, m: hostileGuest(code, imported...), kind: wasm.ErrFuel, text: "fuel spent", asks: asks}
	}
	initial := flood("a flood of memory.init", "loop void i32.const 0 i32.const 0 i32.const 40 memory.init 1 0 br 0 end i32.const 1", 0)
	initial.m.add(datas, append([]byte{1}, text(description)...))
	return []hostile{
		flood("a flood of memory.fill", "loop void "+fill+"br 0 end i32.const 1", 0),
		flood("fills without a loop", times(2000, fill)+"i32.const 1", 0),
		flood("a flood of memory.copy", "loop void i32.const 0 i32.const 8 i32.const 200000 memory.copy 0 0 br 0 end i32.const 1", 0),
		initial,
		flood("a fill longer than the fuel", "i32.const 700 memory.grow 0 drop i32.const 0 i32.const 1 i32.const 45000000 memory.fill 0 i32.const 1", tooLarge),
		flood("a flood of yields", "loop void call 0 br 0 end i32.const 1", 0, "weir.yield"),
		flood("yields without a loop", times(30_000, "call 0")+"i32.const 1", 0, "weir.yield"),
		flood("a flood of log lines", "loop void i32.const 0 i32.const 16 i32.const 8 call 0 br 0 end i32.const 1", 0, "weir.log"),
		flood("log lines without a loop", times(20_000, "i32.const 0 i32.const 16 i32.const 8 call 0")+"i32.const 1", 0, "weir.log"),
		flood("a log line of the whole memory", times(20_000, "i32.const 0 i32.const 0 i32.const 262144 call 0")+"i32.const 1", 0, "weir.log"),
		flood("a flood of clock reads", "loop void i32.const 1 i64.const 0 i32.const 0 call 0 drop br 0 end i32.const 1", 0, wasi("clock_time_get")),
		flood("random numbers without a loop", times(20_000, "i32.const 0 i32.const 262144 call 0 drop")+"i32.const 1", 0, wasi("random_get")),
		flood("one flood of random numbers", "i32.const 700 memory.grow 0 drop i32.const 0 i32.const 45000000 call 0 drop i32.const 1", tooLarge, wasi("random_get")),
		flood("writes without a loop", times(20_000, "i32.const 1 i32.const 0 i32.const 1000 i32.const 0 call 0 drop")+"i32.const 1", 0, wasi("fd_write")),
		flood("polls without a loop", times(20_000, "i32.const 0 i32.const 0 i32.const 1300 i32.const 0 call 0 drop")+"i32.const 1", 0, wasi("poll_oneoff")),
	}
}

func recursions() []hostile {
	recurse := func(name, batch string, kind error, text string) hostile {
		return hostile{name: name, m: hostileGuest(batch), kind: kind, text: text}
	}
	const depth = "call depth exceeded"
	direct := recurse("direct recursion", "local.get 0 call 4", wasm.ErrDepth, depth)
	mutual := recurse("mutual recursion", "local.get 0 call 5", wasm.ErrDepth, depth)
	mutual.m.fn(convert, "", "local.get 0 call 6").fn(convert, "", "local.get 0 call 5")
	indirect := recurse("recursion through the table", "local.get 0 call 5", wasm.ErrDepth, depth)
	indirect.m.fn(convert, "", "local.get 0 i32.const 0 call_indirect 2 0").table(first)
	branches := recurse("recursion under a condition that always holds", "local.get 0 call 5", wasm.ErrDepth, depth)
	branches.m.fn(convert, "", "local.get 0 if void local.get 0 call 5 return end i32.const 1")
	wide := recurse("recursion with wide frames", "local.get 0 call 5", wasm.ErrDepth, depth)
	wide.m.fn(convert, "cf 0f 7e", "local.get 0 call 5") // 1999 locals
	tree := recurse("a tree of calls", "i32.const 60 call 5", wasm.ErrFuel, "fuel spent")
	tree.m.fn(convert, "", "local.get 0 i32.eqz if void i32.const 1 return end "+
		"local.get 0 i32.const 1 i32.sub call 5 local.get 0 i32.const 1 i32.sub call 5 i32.add")
	// The way back runs 650 units in each of 5000 frames.
	back := recurse("work on the way out of a recursion", "i32.const 5000 call 5", wasm.ErrFuel, "fuel spent")
	back.m.fn(convert, "", "local.get 0 if void local.get 0 i32.const 1 i32.sub call 5 drop end "+times(450, "i32.const 1 drop")+"i32.const 1")
	leaves := recurse("calls of leaves without a loop", times(60_000, "call 5")+"i32.const 1", wasm.ErrFuel, "fuel spent")
	leaves.m.fn(void, "", times(125, "i32.const 1 drop"))
	// Every other piece of code may be passed by, and with it what checks there.
	passed := recurse("calls of leaves beside conditions", times(15, times(200, "call 5")+"local.get 0 if void else "+
		times(300, "call 5")+"end block void local.get 0 br_if 0 "+times(300, "call 5")+"end ")+times(9000, "call 5")+"i32.const 1", wasm.ErrFuel, "fuel spent")
	passed.m.fn(void, "", times(125, "i32.const 1 drop"))
	return []hostile{direct, mutual, indirect, branches, wide, tree, back, leaves, passed}
}

func traps() []hostile {
	trap := func(name, code, text string, imported ...string) hostile {
		return hostile{name: name, m: hostileGuest(code, imported...), kind: wasm.ErrTrap, text: text}
	}
	null := trap("a call of no function", "i32.const 1 call_indirect 3 0 i32.const 1", "invalid table access")
	null.m.table(first - 1)
	outside := trap("a call outside of the table", "i32.const -1 call_indirect 3 0 i32.const 1", "invalid table access")
	outside.m.table(first - 1)
	mistyped := trap("a call by another type", "i32.const 0 call_indirect 3 0 i32.const 1", "indirect call type mismatch")
	mistyped.m.table(first - 1)
	bomb := hostile{name: "a memory bomb", kind: wasm.ErrMemory, text: "memory limit reached",
		m: hostileGuest("loop void i32.const 16 memory.grow 0 i32.const -1 i32.ne br_if 0 end unreachable")}
	return []hostile{null, outside, mistyped, bomb,
		trap("unreachable", "unreachable", "unreachable"),
		trap("a load at the end of all addresses", "i32.const -1 i32.load 2 0xffffffff", "out of bounds memory access"),
		trap("a store outside", "i32.const -4 i32.const 1 i32.store 2 8 i32.const 1", "out of bounds memory access"),
		trap("a fill outside", "i32.const -4 i32.const 1 i32.const 1000 memory.fill 0 i32.const 1", "out of bounds memory access"),
		trap("a division by zero", "i32.const 1 i32.const 0 i32.div_u", "integer divide by zero"),
		trap("a division that overflows", "i32.const -2147483648 i32.const -1 i32.div_s", "integer overflow"),
		trap("an exit", "i32.const 3 call 0 i32.const 1", "the guest exited with code 3", wasi("proc_exit")),
	}
}

func lies() []hostile {
	lie := func(name, code, text string) hostile {
		return hostile{name: name, m: hostileGuest(code), kind: wasm.ErrResult, text: text}
	}
	return []hostile{
		lie("a result longer than its buffer", "i32.const 65537", "returned 65537 bytes in a buffer of 65536"),
		lie("a result longer than the memory", "i32.const 0x7fffffff", "returned 2147483647 bytes"),
		lie("no result", "i32.const 0", "weir_batch returned 0"),
		lie("an error code", "i32.const -2", "weir_batch returned -2"),
		lie("the smallest number", "i32.const -2147483648", "weir_batch returned -2147483648"),
		lie("an output buffer that is never enough", "i32.const -1", "no place for 262144 bytes"),
	}
}

// TestHostileModulesAreStopped asserts fuel, not time: what a call may spend bounds how long it runs.
func TestHostileModulesAreStopped(t *testing.T) {
	e := newEngine(t)
	neighbour := instance(t, load(t, e, guest(t, "hostile"), wasm.Limits{}), nil)
	for _, group := range [][]hostile{endlessLoops(), floods(), recursions(), traps(), lies()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				m := load(t, e, c.m.bytes(), wasm.Limits{Fuel: hostileFuel})
				spent := int64(0)
				for range 2 { // the same on a fresh instance
					i := instance(t, m, func(int, []byte) {})
					c.call(t, i)
					if spent != 0 && i.Fuel() != spent {
						t.Errorf("it spent %d units, and %d on the next instance", spent, i.Fuel())
					}
					spent = i.Fuel()
				}
				if got := call(t, neighbour, "eok"); got != "eok" {
					t.Errorf("its neighbour answered %q", got)
				}
			})
		}
	}
}

func TestACallThatReturnsBehindItsFuelHasFailed(t *testing.T) {
	m := hostileGuest(times(300, "i32.const 1 drop") + answer)
	for fuel, want := range map[int64]error{700: nil, 300: wasm.ErrFuel} {
		i := instance(t, load(t, newEngine(t), m.bytes(), wasm.Limits{Fuel: fuel}), nil)
		if out, err := i.Call([]byte("hello")); !errors.Is(err, want) {
			t.Errorf("with %d units it answered %q, %v, and spent %d", fuel, out, err, i.Fuel())
		}
	}
}

// TestTheStackOfAGuestIsBounded has a limit of fuel that does not matter: the depth alone must keep the stack, which no
// limit of memory counts, in bounds.
func TestTheStackOfAGuestIsBounded(t *testing.T) {
	m := hostileGuest("i32.const 16000 call 5")
	m.fn(convert, "01 7b", "local.get 0 i32.eqz if void i32.const 1 return end "+times(330, "local.get 1 #fd #4d")+
		"local.get 0 i32.const 1 i32.sub call 5 drop "+times(329, "#fd #51")+"#fd #15 #00")
	var before, after runtime.MemStats
	i := instance(t, load(t, newEngine(t), m.bytes(), wasm.Limits{Fuel: 1 << 32}), nil)
	runtime.GC()
	runtime.ReadMemStats(&before)
	if _, err := i.Call([]byte("hello")); !errors.Is(err, wasm.ErrDepth) {
		t.Errorf("got %v", err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 42<<20 {
		t.Errorf("its stack takes %d bytes", grown)
	}
	runtime.KeepAlive(i)
}

func (c *hostile) call(t *testing.T, i *wasm.Instance) {
	t.Helper()
	out, err := i.Call([]byte("hello"))
	if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
		t.Fatalf("it answered %d bytes, %v; want %q", len(out), err, c.text)
	}
	if spent := i.Fuel(); spent <= 0 || spent > hostileFuel+slice+c.asks {
		t.Errorf("it spent %d units of %d", spent, hostileFuel)
	}
	var f *wasm.Failure
	if !errors.As(err, &f) || len(f.Text) > 1000 || len(f.Stack) > 10_000 {
		t.Errorf("the failure is %+v", f)
	}
	if _, err := i.Call([]byte("hello")); !errors.Is(err, wasm.ErrDead) {
		t.Errorf("the instance answered %v after it", err)
	}
}
