package wasm

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// hostModule is the module of the platform's own imports; yieldName is the one that the rewriter adds.
const (
	hostModule = "weir"
	yieldName  = "yield"
	wasiModule = "wasi_snapshot_preview1"
)

// signature holds value types in the encoding of the binary format.
type signature struct{ params, results string }

const (
	i32 = "\x7f"
	i64 = "\x7e"
)

// WASI error numbers.
const (
	errnoSuccess = 0
	errnoBadF    = 8
	errnoFault   = 21
	errnoInval   = 28
)

// costHostCall is what crossing to the host takes (about 45 ns); what a host function does beyond is charged by it.
const costHostCall = 128

// hostFunc is one import that guests may have. The high half of a 32-bit parameter on the stack is garbage. A nil run answers EBADF: no guest has a file, a directory or a socket.
type hostFunc struct {
	name string
	typ  signature
	run  func(i *Instance, stack []uint64)
}

// weirFuncs are the platform's own imports.
var weirFuncs = []hostFunc{
	{yieldName, signature{}, (*Instance).yield},
	{"log", signature{i32 + i32 + i32, ""}, (*Instance).guestLog},
}

// wasiFuncs are the WASI functions that guests may import. Clock, random numbers and standard output do something; the
// others are there because standard-Go guests import them, and answer at once, the same each time.
var wasiFuncs = []hostFunc{
	{"args_get", signature{i32 + i32, i32}, succeed},
	{"args_sizes_get", signature{i32 + i32, i32}, (*Instance).emptySizes},
	{"environ_get", signature{i32 + i32, i32}, succeed},
	{"environ_sizes_get", signature{i32 + i32, i32}, (*Instance).emptySizes},
	{"clock_res_get", signature{i32 + i32, i32}, (*Instance).clockResolution},
	{"clock_time_get", signature{i32 + i64 + i32, i32}, (*Instance).clockTime},
	{"random_get", signature{i32 + i32, i32}, (*Instance).randomBytes},
	{"sched_yield", signature{"", i32}, succeed},
	{"poll_oneoff", signature{i32 + i32 + i32 + i32, i32}, (*Instance).poll},
	{"proc_exit", signature{i32, ""}, (*Instance).exit},
	{"proc_raise", signature{i32, i32}, nil},
	{"fd_write", signature{i32 + i32 + i32 + i32, i32}, (*Instance).fdWrite},
	{"fd_fdstat_get", signature{i32 + i32, i32}, (*Instance).fdStat},
	{"fd_advise", signature{i32 + i64 + i64 + i32, i32}, nil},
	{"fd_allocate", signature{i32 + i64 + i64, i32}, nil},
	{"fd_close", signature{i32, i32}, nil},
	{"fd_datasync", signature{i32, i32}, nil},
	{"fd_fdstat_set_flags", signature{i32 + i32, i32}, nil},
	{"fd_fdstat_set_rights", signature{i32 + i64 + i64, i32}, nil},
	{"fd_filestat_get", signature{i32 + i32, i32}, nil},
	{"fd_filestat_set_size", signature{i32 + i64, i32}, nil},
	{"fd_filestat_set_times", signature{i32 + i64 + i64 + i32, i32}, nil},
	{"fd_pread", signature{i32 + i32 + i32 + i64 + i32, i32}, nil},
	{"fd_prestat_get", signature{i32 + i32, i32}, nil},
	{"fd_prestat_dir_name", signature{i32 + i32 + i32, i32}, nil},
	{"fd_pwrite", signature{i32 + i32 + i32 + i64 + i32, i32}, nil},
	{"fd_read", signature{i32 + i32 + i32 + i32, i32}, nil},
	{"fd_readdir", signature{i32 + i32 + i32 + i64 + i32, i32}, nil},
	{"fd_renumber", signature{i32 + i32, i32}, nil},
	{"fd_seek", signature{i32 + i64 + i32 + i32, i32}, nil},
	{"fd_sync", signature{i32, i32}, nil},
	{"fd_tell", signature{i32 + i32, i32}, nil},
	{"path_create_directory", signature{i32 + i32 + i32, i32}, nil},
	{"path_filestat_get", signature{i32 + i32 + i32 + i32 + i32, i32}, nil},
	{"path_filestat_set_times", signature{i32 + i32 + i32 + i32 + i64 + i64 + i32, i32}, nil},
	{"path_link", signature{i32 + i32 + i32 + i32 + i32 + i32 + i32, i32}, nil},
	{"path_open", signature{i32 + i32 + i32 + i32 + i32 + i64 + i64 + i32 + i32, i32}, nil},
	{"path_readlink", signature{i32 + i32 + i32 + i32 + i32 + i32, i32}, nil},
	{"path_remove_directory", signature{i32 + i32 + i32, i32}, nil},
	{"path_rename", signature{i32 + i32 + i32 + i32 + i32 + i32, i32}, nil},
	{"path_symlink", signature{i32 + i32 + i32 + i32 + i32, i32}, nil},
	{"path_unlink_file", signature{i32 + i32 + i32, i32}, nil},
	{"sock_accept", signature{i32 + i32 + i32, i32}, nil},
	{"sock_recv", signature{i32 + i32 + i32 + i32 + i32 + i32, i32}, nil},
	{"sock_send", signature{i32 + i32 + i32 + i32 + i32, i32}, nil},
	{"sock_shutdown", signature{i32 + i32, i32}, nil},
}

func hostFuncs(module string) []hostFunc {
	switch module {
	case hostModule:
		return weirFuncs
	case wasiModule:
		return wasiFuncs
	}
	return nil
}

func hostSignature(module, name string) (signature, bool) {
	for _, f := range hostFuncs(module) {
		if f.name == name {
			return f.typ, true
		}
	}
	return signature{}, false
}

// instantiateHost gives a runtime both host modules.
func instantiateHost(ctx context.Context, rt wazero.Runtime) error {
	for _, name := range []string{hostModule, wasiModule} {
		b := rt.NewHostModuleBuilder(name)
		for _, f := range hostFuncs(name) {
			b.NewFunctionBuilder().WithGoModuleFunction(f.bind(), valueTypes(f.typ.params), valueTypes(f.typ.results)).Export(f.name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return fmt.Errorf("instantiate host module %s: %w", name, err)
		}
	}
	return nil
}

func valueTypes(s string) []api.ValueType {
	t := make([]api.ValueType, len(s))
	for i := range t {
		t[i] = s[i]
	}
	return t
}

// bind makes a host function of f. The context of every call into a guest is the instance's own.
func (f hostFunc) bind() api.GoModuleFunction {
	if f.name == yieldName {
		return api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) { ctx.(*guestContext).instance.yield(stack) })
	}
	run := f.run
	if run == nil {
		run = func(_ *Instance, stack []uint64) { stack[0] = errnoBadF }
	}
	return api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
		i := ctx.(*guestContext).instance
		i.charge(costHostCall)
		run(i, stack)
	})
}

func succeed(_ *Instance, stack []uint64) { stack[0] = errnoSuccess }

// answer sets the result of a WASI call that had to write into guest memory.
func answer(stack []uint64, written bool) {
	stack[0] = errnoSuccess
	if !written {
		stack[0] = errnoFault
	}
}

func (i *Instance) emptySizes(stack []uint64) {
	answer(stack, i.memory.WriteUint32Le(uint32(stack[0]), 0) && i.memory.WriteUint32Le(uint32(stack[1]), 0))
}

func (i *Instance) clockResolution(stack []uint64) {
	answer(stack, i.memory.WriteUint64Le(uint32(stack[1]), 1000))
}

// clockTime answers the batch's time for the wall clock. The monotonic clock is the instance's own: it only counts how
// often it was read and how long the guest slept, so that it moves on and tells nothing of the host.
func (i *Instance) clockTime(stack []uint64) {
	t := i.clock.monotonic()
	if uint32(stack[0]) == wallClock {
		t = i.clock.wall
	}
	answer(stack, i.memory.WriteUint64Le(uint32(stack[2]), uint64(t)))
}

// wallClock is WASI's id of the clock that tells the date; all others are monotonic here.
const wallClock = 0

// clock is what a guest sees of time, in nanoseconds.
type clock struct {
	wall  int64
	ticks int64
}

// tick is what the monotonic clock gains with every read: Go's runtime divides by differences of it.
const tick = 1000

func (c *clock) monotonic() int64 {
	c.ticks += tick
	return c.ticks
}

func (i *Instance) randomBytes(stack []uint64) {
	n := uint32(stack[1])
	i.charge(int64(n))
	b, ok := i.memory.Read(uint32(stack[0]), n)
	answer(stack, ok)
	for len(b) > 0 {
		word := i.random.Uint64()
		for n := min(len(b), 8); n > 0; n-- {
			b[0] = byte(word)
			word >>= 8
			b = b[1:]
		}
	}
}

// Layout of WASI's subscription and event.
const (
	subscriptionBytes = 48
	eventBytes        = 32
)

// poll answers every subscription at once, as if all that was waited for had come: a sleep moves the guest's monotonic
// clock and returns.
func (i *Instance) poll(stack []uint64) {
	in, out, n, count := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	if n == 0 || n > wasmPage/subscriptionBytes {
		stack[0] = errnoInval
		return
	}
	i.charge(int64(n) * subscriptionBytes)
	subs, ok1 := i.memory.Read(in, n*subscriptionBytes)
	events, ok2 := i.memory.Read(out, n*eventBytes)
	if !ok1 || !ok2 || !i.memory.WriteUint32Le(count, n) {
		stack[0] = errnoFault
		return
	}
	now, latest := i.clock.ticks, i.clock.ticks
	for k := range int(n) {
		s, e := subs[k*subscriptionBytes:][:subscriptionBytes], events[k*eventBytes:][:eventBytes]
		user, kind := le.Uint64(s), s[8]
		if kind == 0 {
			wait := int64(le.Uint64(s[24:]))
			if absolute := s[40]&1 != 0; absolute {
				wait -= now
			}
			latest = max(latest, now+min(wait, maxSleep))
		}
		clear(e)
		le.PutUint64(e, user)
		e[10] = kind
	}
	i.clock.ticks = latest
	stack[0] = errnoSuccess
}

// maxSleep keeps the monotonic clock from overflowing, whatever a guest asks for: one hour per call, in nanoseconds.
const maxSleep = int64(3600e9)

func (i *Instance) exit(stack []uint64) {
	panic(fmt.Errorf("%w: the guest exited with code %d", ErrTrap, uint32(stack[0])))
}

// fdStat describes standard input and output as character devices.
func (i *Instance) fdStat(stack []uint64) {
	if uint32(stack[0]) > 2 {
		stack[0] = errnoBadF
		return
	}
	b, ok := i.memory.Read(uint32(stack[1]), 24)
	if ok {
		clear(b)
		b[0] = 2
	}
	answer(stack, ok)
}
