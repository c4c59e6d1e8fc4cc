package wasm_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/functions/wasm"
)

// guest reads a module of testdata/guests; its source stands beside it.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "guests", name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAStandardGoGuestRuns(t *testing.T) {
	e := newEngine(t)
	b := standardGuest(t)
	p, err := e.Prepare(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Standard || p.Digest != wasm.Digest(b) || p.Description.Functions[0].Type.String() != "test/stdgo" {
		t.Errorf("prepared %+v", p)
	}
	i := instance(t, load(t, e, b, wasm.Limits{}), nil)
	if got := call(t, i, "ehello"); got != "ehello" {
		t.Errorf("echo answered %q", got)
	}
	if got := call(t, i, `j{"a":[1,2,{"b":"c"}]}`); got != "map[a:[1 2 map[b:c]]]" {
		t.Errorf("JSON answered %q", got)
	}
}

func TestAPreInitialisedInstanceBeginsWhereTheImageWasTaken(t *testing.T) {
	m := load(t, newEngine(t), standardGuest(t), wasm.Limits{})
	first := instance(t, m, nil)
	began := call(t, first, "n")
	if again := call(t, first, "n"); again == began {
		t.Errorf("an instance counted %s twice", again)
	}
	if other := call(t, instance(t, m, nil), "n"); other != began {
		t.Errorf("a fresh instance counted %s, the one before it began with %s", other, began)
	}
}

// TestHostileGuestsAreStopped asserts fuel, not time: what a call may spend bounds how long it runs.
func TestHostileGuestsAreStopped(t *testing.T) {
	const fuel = 20_000_000
	e := newEngine(t)
	limits := wasm.Limits{Fuel: fuel, Memory: 60 << 20}
	small, standard := load(t, e, guest(t, "hostile"), limits), load(t, e, standardGuest(t), limits)
	healthy := instance(t, small, nil)
	for _, c := range []struct {
		name string
		m    *wasm.Module
		op   string
		want error
	}{
		{"a loop without end", small, "l", wasm.ErrFuel},
		{"a loop around a leaf", small, "L", wasm.ErrFuel},
		{"a loop by br_table", small, "b", wasm.ErrFuel},
		{"mutual recursion through a table", small, "r", wasm.ErrDepth},
		{"recursion with a frame", small, "R", wasm.ErrDepth},
		{"a wide tree of calls", small, "w", wasm.ErrFuel},
		{"a flood of fills", small, "f", wasm.ErrFuel},
		{"fills without a loop", small, "F", wasm.ErrFuel},
		{"a memory bomb", small, "m", wasm.ErrMemory},
		{"growth that is refused for ever", small, "g", wasm.ErrFuel},
		{"a flood of log lines", small, "s", wasm.ErrFuel},
		{"a result longer than its buffer", small, "z", wasm.ErrResult},
		{"an error code", small, "Z", wasm.ErrResult},
		{"no result", small, "0", wasm.ErrResult},
		{"an output buffer that is never enough", small, "1", wasm.ErrResult},
		{"a division by zero", small, "d", wasm.ErrTrap},
		{"an unknown op", small, "?", wasm.ErrTrap},
		{"a Go loop without end", standard, "l", wasm.ErrFuel},
		{"Go allocating without end", standard, "m", wasm.ErrMemory},
		{"a Go panic", standard, "p", wasm.ErrTrap},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := instance(t, c.m, func(int, []byte) {})
			_, err := i.Call([]byte(c.op))
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			// Beyond the limit there is at most one pass over a function between two checks; a fill counts whole.
			if spent := i.Fuel(); spent <= 0 || spent > fuel+50_000_000/4+1000 {
				t.Errorf("it spent %d of %d", spent, fuel)
			}
			if _, err := i.Call([]byte("e")); !errors.Is(err, wasm.ErrDead) {
				t.Errorf("the instance answered %v after it, want ErrDead", err)
			}
			if got := call(t, healthy, "eok"); got != "eok" {
				t.Errorf("its neighbour answered %q", got)
			}
		})
	}
}

func TestGoRecursionWithoutEndIsStoppedByItsDepth(t *testing.T) {
	i := instance(t, load(t, newEngine(t), standardGuest(t), wasm.Limits{}), nil)
	if _, err := i.Call([]byte("d")); !errors.Is(err, wasm.ErrDepth) {
		t.Fatalf("got %v", err)
	}
}

func TestAGoGuestMayRecurseAsDeepAsNestedJSON(t *testing.T) {
	i := instance(t, load(t, newEngine(t), standardGuest(t), wasm.Limits{}), nil)
	const levels = 500
	call(t, i, "j"+strings.Repeat("[", levels)+strings.Repeat("]", levels))
}

func TestAFailureTellsWhatHappened(t *testing.T) {
	i := instance(t, load(t, newEngine(t), standardGuest(t), wasm.Limits{}), nil)
	_, err := i.Call([]byte("p"))
	var f *wasm.Failure
	if !errors.As(err, &f) || f.Text != "guest trapped: unreachable" {
		t.Fatalf("got %+v", err)
	}
	if frames := strings.Split(f.Stack, "\n"); frames[0] != "runtime.abort(i32) i32" || frames[len(frames)-1] != "weir_batch(i32) i32" {
		t.Errorf("the stack is %q", f.Stack)
	}
	if !strings.HasPrefix(f.Stderr, "panic: on purpose\n") {
		t.Errorf("standard error was kept as %q", f.Stderr)
	}
}

func TestCallsGiveTheirDepthBack(t *testing.T) {
	m := load(t, newEngine(t), guest(t, "control"), wasm.Limits{Depth: 64})
	i := instance(t, m, nil)
	for n := range 300 { // 12 exits each: one that kept its frame would be out of depth
		in := fmt.Appendf(nil, "%04d%04d", n, n*7)
		if _, err := i.Call(in); err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
	}
}

func TestEqualCallsSpendEqualFuelAndAnswerEqual(t *testing.T) {
	m := load(t, newEngine(t), standardGuest(t), wasm.Limits{})
	type outcome struct {
		out  string
		fuel int64
	}
	run := func() (all []outcome) {
		i := instance(t, m, nil)
		for _, op := range []string{"ehello", `j[1,{"x":null}]`, "r", "c", "n", "fab"} {
			i.SetTime(1_700_000_000_123, 42)
			out := call(t, i, op)
			all = append(all, outcome{out, i.Fuel()})
		}
		return all
	}
	if a, b := run(), run(); !slices.Equal(a, b) {
		t.Errorf("two instances differ:\n%+v\n%+v", a, b)
	}
}

func TestAReusedInstanceSpendsWhatAFreshOneDoes(t *testing.T) {
	small := load(t, newEngine(t), guest(t, "hostile"), wasm.Limits{})
	i := instance(t, small, nil)
	call(t, i, "ehello")
	spent := i.Fuel()
	for range 3 {
		if call(t, i, "ehello"); i.Fuel() != spent {
			t.Errorf("it spent %d units, and %d the first time", i.Fuel(), spent)
		}
	}
	counter := load(t, newEngine(t), build(t, "counter"), wasm.Limits{})
	series := func() (all []int64) { // a Go guest collects garbage now and then, at the same calls
		i := instance(t, counter, nil)
		for range 100 {
			if _, err := i.Call(counterBatch(64).Bytes()); err != nil {
				t.Fatal(err)
			}
			all = append(all, i.Fuel())
		}
		return all
	}
	if a, b := series(), series(); !slices.Equal(a, b) {
		t.Errorf("two instances differ:\n%d\n%d", a, b)
	}
}

func TestTheClockIsTheBatchAndSleepReturnsAtOnce(t *testing.T) {
	i := instance(t, load(t, newEngine(t), standardGuest(t), wasm.Limits{}), nil)
	i.SetTime(1_700_000_000_123, 0)
	if got := call(t, i, "c"); got != "1700000000123 1h0m0s 0" {
		t.Errorf("now, what an hour's sleep took, and the time of the image: %s", got)
	}
}

func TestRandomNumbersComeFromTheSeed(t *testing.T) {
	i := instance(t, load(t, newEngine(t), standardGuest(t), wasm.Limits{}), nil)
	draw := func(seed uint64) string {
		i.SetTime(0, seed)
		return call(t, i, "r")
	}
	one, two := draw(1), draw(2)
	if one == two || one != draw(1) {
		t.Errorf("seed 1 %x, seed 2 %x, seed 1 again %x", one, two, draw(1))
	}
}

func TestResultsAndBatchesGrowTheirBuffers(t *testing.T) {
	i := instance(t, load(t, newEngine(t), standardGuest(t), wasm.Limits{}), nil)
	piece := strings.Repeat("0123456789", 30)
	if got := call(t, i, "f"+piece); got != strings.Repeat(piece, 1000) {
		t.Errorf("a result of 300 kB came back with %d bytes", len(got))
	}
	long := "e" + strings.Repeat("x", 200_000)
	if got := call(t, i, long); got != long {
		t.Errorf("a batch of 200 kB came back with %d bytes", len(got))
	}
	if _, err := i.Call(make([]byte, wasm.MaxInputBytes+1)); !errors.Is(err, wasm.ErrInput) {
		t.Errorf("a batch above the limit: %v", err)
	}
	if got := call(t, i, "estill alive"); got != "estill alive" {
		t.Errorf("after it the guest answered %q", got)
	}
}

func TestAResultAboveTheLimitEndsTheCall(t *testing.T) {
	i := instance(t, load(t, newEngine(t), standardGuest(t), wasm.Limits{Memory: 256 << 20}), nil)
	_, err := i.Call([]byte("f" + strings.Repeat("x", wasm.MaxOutputBytes/1000+1)))
	if !errors.Is(err, wasm.ErrResult) || !strings.Contains(err.Error(), "above") {
		t.Errorf("got %v", err)
	}
}

func TestMemoryIsLimitedPerInstanceAndPerModule(t *testing.T) {
	m := load(t, newEngine(t), guest(t, "hostile"), wasm.Limits{Memory: 1 << 20, ModuleMemory: 3 << 19})
	one := instance(t, m, nil)
	if got := call(t, one, "G"); got != "\x10\x00\x00\x00" {
		t.Errorf("an instance grew to %x pages of 16", got)
	}
	two, err := m.NewInstance(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := call(t, two, "G"); got != "\x08\x00\x00\x00" {
		t.Errorf("the second instance grew to %x pages of the 8 that were left", got)
	}
	if _, err := m.NewInstance(t.Context(), nil); !errors.Is(err, wasm.ErrMemory) {
		t.Errorf("a third instance: %v", err)
	}
	two.Close()
	instance(t, m, nil)
}

func TestAModuleThatBeginsAboveTheLimitIsNotInstantiated(t *testing.T) {
	m := load(t, newEngine(t), guest(t, "hostile"), wasm.Limits{Memory: 1 << 17})
	if _, err := m.NewInstance(t.Context(), nil); !errors.Is(err, wasm.ErrMemory) {
		t.Errorf("got %v", err)
	}
}

func TestWhatAGuestWritesIsLogged(t *testing.T) {
	var lines []string
	i := instance(t, load(t, newEngine(t), standardGuest(t), wasm.Limits{}), func(level int, text []byte) {
		lines = append(lines, fmt.Sprintf("%d %s", level, text))
	})
	call(t, i, "oone\ntwo")
	if want := []string{"0 one", "0 two", "4 unfinished"}; !slices.Equal(lines, want) {
		t.Errorf("logged %q, want %q", lines, want)
	}
}

func TestALogFloodIsDroppedAndCounted(t *testing.T) {
	var lines, size int
	i := instance(t, load(t, newEngine(t), guest(t, "hostile"), wasm.Limits{LogBytes: 1000}), func(_ int, text []byte) {
		lines++
		size += len(text)
	})
	call(t, i, "S")
	if lines < 1000/(64+4) || size > 1000 || i.DroppedLines() != int64(2000-lines) {
		t.Errorf("%d lines of %d bytes written, %d dropped", lines, size, i.DroppedLines())
	}
	if call(t, i, "o"); i.DroppedLines() != int64(2000-lines) {
		t.Error("a line outside of the memory was counted as dropped")
	}
}

func TestInstancesRunSideBySide(t *testing.T) {
	m := load(t, newEngine(t), standardGuest(t), wasm.Limits{})
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			i, err := m.NewInstance(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer i.Close()
			for k := range 20 {
				in := fmt.Appendf(nil, "e%d-%d", n, k)
				if out, err := i.Call(in); err != nil || !bytes.Equal(out, in) {
					t.Errorf("%s came back as %s, %v", in, out, err)
				}
			}
		})
	}
	group.Wait()
}

func TestTimeBecomesFuelAtAConstantRate(t *testing.T) {
	if got := wasm.FuelFor(50 * time.Millisecond); got != 200_000_000 {
		t.Errorf("50 ms are %d units", got)
	}
	if got := wasm.FuelFor(1); got != 4 {
		t.Errorf("a nanosecond is %d units", got)
	}
}
