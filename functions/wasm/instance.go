package wasm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/weir-run/weir/sdk/abi"
)

// Errors of Call. After any of them the instance is dead: it must be closed, and a fresh one takes its place.
var (
	ErrFuel   = errors.New("fuel spent")                     // the call ran longer than its limit
	ErrDepth  = errors.New("call depth exceeded")            // recursion without end
	ErrMemory = errors.New("memory limit reached")           // a growth was refused, and the guest gave up
	ErrTrap   = errors.New("guest trapped")                  // any other trap: a panic, a division by zero, an exit
	ErrResult = errors.New("guest returned no valid result") // an error code, or a length outside of its buffer
	ErrDead   = errors.New("instance is dead")               // Call after one of the errors above
	// ErrInterpreter ends a call of interpreted code that goes deeper or takes longer than the interpreter can tell, or than it
	// need: compiled code may well survive it, or end with ErrDepth or ErrFuel.
	ErrInterpreter = errors.New("interpreter's limit reached")
)

// failureKinds are the errors of Call that the guest causes.
var failureKinds = []error{ErrFuel, ErrDepth, ErrMemory, ErrTrap, ErrResult, ErrInterpreter}

// ErrInput reports a batch above MaxInputBytes. The instance lives on.
var ErrInput = errors.New("batch is too large")

const (
	// MaxInputBytes bounds one batch: twice the largest message, so that one with its state always fits.
	MaxInputBytes = 32 << 20
	// MaxOutputBytes bounds one result.
	MaxOutputBytes = 32 << 20
	// bufferBytes is how large both buffers begin: a batch of 64 messages rarely has more.
	bufferBytes = 64 << 10

	// sliceFuel is how much runs between two yields: 0.1 to 0.3 ms, which is how long Go's GC may have to wait.
	sliceFuel = 300_000
	// unitsPerSecond is the rate that turns a time into fuel. docs/sandbox.md has the calibration: standard-Go guests spend
	// 1.4 to 6 units per nanosecond, C 5 to 11, so the rate stands between them.
	unitsPerSecond = 4_000_000_000
	// beltFactor is how much longer than its fuel a call may take by the wall clock before it is stopped: instructions
	// that wait for memory are slower than the calibration.
	beltFactor = 10
	// minBelt is the least of it: a machine may be busy for that long without being lost.
	minBelt = time.Second
)

// FuelFor turns a limit of time into fuel, at a calibrated and constant rate.
func FuelFor(d time.Duration) int64 {
	return int64(math.Ceil(d.Seconds() * unitsPerSecond))
}

// beltFor is how long a call with this fuel may take by the wall clock.
func beltFor(fuel int64) time.Duration {
	return max(minBelt, time.Duration(float64(fuel)/unitsPerSecond*beltFactor*float64(time.Second)))
}

// Failure is the error of a call that the guest did not survive. It wraps one of the errors of Call.
type Failure struct {
	Kind   error  // ErrFuel, ErrDepth, ErrMemory, ErrTrap, ErrResult or ErrInterpreter
	Text   string // what happened, one line
	Stack  string // the guest's functions, innermost first
	Stderr string // what the guest wrote to standard error in this call, at most 4 KiB: a Go guest's panic
}

func (f *Failure) Error() string { return f.Text }

func (f *Failure) Unwrap() error { return f.Kind }

// guestContext is the context of every call into a guest, which host functions find their instance by. It carries nothing
// else and never ends: fuel ends a call. wazero asks it for values on every call, so it has no parent to ask in turn.
type guestContext struct{ instance *Instance }

func (*guestContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*guestContext) Done() <-chan struct{}       { return nil }
func (*guestContext) Err() error                  { return nil }
func (*guestContext) Value(any) any               { return nil }

// unbounded is for calls that take a context but neither block nor look at it, such as wazero's Close.
var unbounded context.Context = &guestContext{}

// Instance is one instantiated guest: one linear memory. It belongs to one goroutine at a time.
type Instance struct {
	ctx    *guestContext
	guest  api.Module
	memory api.Memory
	batch  api.Function
	fuel   api.MutableGlobal
	depth  api.MutableGlobal
	linear *linearMemory

	limits   Limits
	rest     int64     // fuel beyond the current slice
	spent    int64     // by the last call
	deadline time.Time // of the current call, by the wall clock
	clock    clock
	random   rand.PCG
	log      logBook
	in, out  buffer
	stack    [1]uint64
	dead     error

	superseded *atomic.Bool // of interpreted code; nil otherwise
}

// buffer is one of the guest's two buffers.
type buffer struct {
	At   uint32 `json:"at"`
	Size uint32 `json:"size"`
}

// launch instantiates compiled code in a memory of its own. Nothing of the guest runs.
func launch(ctx context.Context, rt wazero.Runtime, code wazero.CompiledModule, linear *linearMemory, limits Limits,
	log func(int, []byte)) (*Instance, error) {
	i := &Instance{linear: linear, limits: limits, log: logBook{write: log, limit: limits.LogBytes, left: limits.LogBytes}}
	i.ctx = &guestContext{instance: i}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	guest, err := rt.InstantiateModule(experimental.WithMemoryAllocator(ctx, linear), code, config)
	if err != nil {
		linear.Free()
		return nil, fmt.Errorf("instantiate module: %w", err)
	}
	i.guest, i.memory, i.batch = guest, guest.Memory(), guest.ExportedFunction("weir_batch")
	i.fuel = guest.ExportedGlobal(exportFuel).(api.MutableGlobal)
	i.depth = guest.ExportedGlobal(exportDepth).(api.MutableGlobal)
	i.depth.Set(uint64(limits.Depth))
	i.SetTime(0, 0)
	return i, nil
}

// boot runs what a guest runs before its first batch, and asks for both buffers.
func (i *Instance) boot() error {
	i.begin()
	defer i.finish()
	for _, name := range []string{exportStart, "_initialize"} {
		if f := i.guest.ExportedFunction(name); f != nil {
			if err := i.run(f); err != nil {
				return err
			}
		}
	}
	if err := i.buffer("weir_in", &i.in, bufferBytes); err != nil {
		return err
	}
	return i.buffer("weir_out", &i.out, bufferBytes)
}

// resume makes the instance what it was when its image was taken. The memory is in place, but wazero knows only of as much
// as the module declares.
func (i *Instance) resume(p *preparedMeta) error {
	if missing := uint32(p.Memory/wasmPage) - i.memory.Size()/wasmPage; missing > 0 {
		if _, ok := i.memory.Grow(missing); !ok {
			return fmt.Errorf("%w: its image has %d bytes", ErrMemory, p.Memory)
		}
	}
	for _, g := range p.Globals {
		global, ok := i.guest.ExportedGlobal(g.Name).(api.MutableGlobal)
		if !ok {
			return fmt.Errorf("the module has no variable %s", g.Name)
		}
		global.Set(g.Value)
	}
	i.in, i.out = p.In, p.Out
	return nil
}

// ask calls an exported function of at most one parameter.
func (i *Instance) ask(name string, arg uint64) (uint64, error) {
	i.stack[0] = arg
	err := i.run(i.guest.ExportedFunction(name))
	return i.stack[0], err
}

// run calls a function of the guest. One that returned behind its last check may still have spent too much.
func (i *Instance) run(f api.Function) error {
	if err := f.CallWithStack(i.ctx, i.stack[:]); err != nil {
		return i.failed(err)
	}
	if i.rest+int64(i.fuel.Get()) < 0 {
		return i.failed(ErrFuel)
	}
	return nil
}

// buffer asks the guest for a buffer of at least size bytes.
func (i *Instance) buffer(name string, b *buffer, size uint32) error {
	v, err := i.ask(name, uint64(size))
	if err != nil {
		return err
	}
	at := uint32(v)
	if _, ok := i.memory.Read(at, size); !ok || at == 0 {
		return i.broken(fmt.Sprintf("%s returned %d, which is no place for %d bytes in a memory of %d", name, at, size, i.memory.Size()))
	}
	*b = buffer{At: at, Size: size}
	return nil
}

// SetTime sets what the guest's clock answers, in unix milliseconds, and seeds its random numbers, until the next SetTime.
func (i *Instance) SetTime(ms int64, seed uint64) {
	i.clock.wall = ms * int64(time.Millisecond)
	i.random.Seed(seed, randomStream)
}

// randomStream separates guests' random numbers from other uses of the same seed.
const randomStream = 0x7765697277617369

// Call hands a batch to the guest and returns its result, a view of guest memory that holds until the next Call or
// Close. When the guest says that its output buffer is too small, the buffer is doubled and the batch handed over again,
// on the same fuel. An error other than ErrInput ends the instance.
func (i *Instance) Call(in []byte) ([]byte, error) {
	if i.dead != nil {
		return nil, fmt.Errorf("%w: %w", ErrDead, i.dead)
	}
	if len(in) > MaxInputBytes {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrInput, len(in), MaxInputBytes)
	}
	i.begin()
	defer i.finish()
	if len(in) > int(i.in.Size) {
		if err := i.buffer("weir_in", &i.in, enough(i.in.Size, len(in))); err != nil {
			return nil, err
		}
	}
	for {
		if !i.memory.Write(i.in.At, in) {
			return nil, i.broken("the guest's input buffer left its memory")
		}
		i.stack[0] = uint64(len(in))
		if err := i.run(i.batch); err != nil {
			return nil, err
		}
		n := int32(i.stack[0])
		if n > 0 {
			return i.result(n)
		}
		if n != abi.GuestFull {
			return nil, i.broken(fmt.Sprintf("weir_batch returned %d", n))
		}
		if i.out.Size >= MaxOutputBytes {
			return nil, i.broken(fmt.Sprintf("the result is above %d bytes", MaxOutputBytes))
		}
		if err := i.buffer("weir_out", &i.out, i.out.Size*2); err != nil {
			return nil, err
		}
	}
}

// enough doubles size until n bytes fit.
func enough(size uint32, n int) uint32 {
	for int(size) < n {
		size *= 2
	}
	return size
}

func (i *Instance) result(n int32) ([]byte, error) {
	out, ok := i.memory.Read(i.out.At, uint32(n))
	if !ok || uint32(n) > i.out.Size {
		return nil, i.broken(fmt.Sprintf("weir_batch returned %d bytes in a buffer of %d", n, i.out.Size))
	}
	return out, nil
}

// Fuel is what the last Call spent: the same for the same batch, time and seed on a fresh instance.
func (i *Instance) Fuel() int64 { return i.spent }

// DroppedLines counts the log lines that the limit of the log dropped, since the instance began.
func (i *Instance) DroppedLines() int64 { return i.log.dropped }

// Close gives the memory back. Results of Call are gone with it.
func (i *Instance) Close() {
	if i.dead == nil {
		i.dead = errors.New("it was closed")
	}
	if err := i.guest.Close(i.ctx); err != nil {
		panic(fmt.Sprintf("wasm: close an instance: %v", err)) // no file, no socket: nothing in it can fail
	}
}

// begin opens the budget of a call.
func (i *Instance) begin() {
	now := time.Now()
	i.deadline = now.Add(i.limits.belt)
	i.log.begin(now)
	i.linear.refused = false
	first := min(i.limits.Fuel, sliceFuel)
	i.rest = i.limits.Fuel - first
	i.fuel.Set(uint64(first))
}

func (i *Instance) finish() {
	i.spent = i.limits.Fuel - i.rest - int64(i.fuel.Get())
	i.log.end()
}

// charge takes what a host function is about to do from the fuel. It settles at once: a function may call the host many
// thousand times between two checks of its own.
func (i *Instance) charge(units int64) {
	left := int64(i.fuel.Get()) - units
	i.fuel.Set(uint64(left))
	if left < 0 {
		i.yield(nil)
	}
}

// yield is called by the guest when its slice is spent or its depth exceeded. It is a safepoint of Go's runtime.
func (i *Instance) yield([]uint64) {
	if int32(i.depth.Get()) < 0 {
		panic(i.limits.tooDeep())
	}
	i.rest += int64(i.fuel.Get()) - costHostCall
	if i.rest < 0 {
		i.fuel.Set(0)
		panic(ErrFuel)
	}
	if i.superseded != nil && i.superseded.Load() {
		i.fuel.Set(0)
		panic(fmt.Errorf("%w: compiled code is there", ErrInterpreter))
	}
	if time.Now().After(i.deadline) {
		i.fuel.Set(0)
		panic(i.limits.tooLong())
	}
	next := min(i.rest, sliceFuel)
	i.rest -= next
	i.fuel.Set(uint64(next))
}

// failed ends the instance after a call that did not return.
func (i *Instance) failed(err error) error {
	text, stack, _ := strings.Cut(err.Error(), "\nwasm stack trace:\n")
	f := &Failure{Kind: ErrTrap, Text: strings.TrimSuffix(text, " (recovered by wazero)"), Stack: trimStack(stack), Stderr: string(i.log.first)}
	for _, kind := range failureKinds {
		if errors.Is(err, kind) {
			f.Kind = kind
			i.dead = f
			return f
		}
	}
	if i.linear.refused {
		f.Kind = ErrMemory
	}
	f.Text = f.Kind.Error() + ": " + strings.TrimPrefix(f.Text, "wasm error: ")
	i.dead = f
	return f
}

// maxStack is how many frames of a failure are kept: enough to see where a recursion turns.
const maxStack = 20

// trimStack takes wazero's decoration and the yield of the rewriter off a stack.
func trimStack(stack string) string {
	var frames []string
	for line := range strings.Lines(stack) {
		line = strings.TrimPrefix(strings.TrimSpace(line), ".")
		if line != "" && line != hostModule+"."+yieldName+"()" && len(frames) < maxStack {
			frames = append(frames, line)
		}
	}
	return strings.Join(frames, "\n")
}

// broken ends the instance after a call whose result makes no sense.
func (i *Instance) broken(text string) error {
	i.dead = &Failure{Kind: ErrResult, Text: ErrResult.Error() + ": " + text, Stderr: string(i.log.first)}
	return i.dead
}
