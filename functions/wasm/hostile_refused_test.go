package wasm_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions/wasm"
)

// refusal is a module and what its refusal says: the code, where, why, and what to do next.
type refusal struct {
	name   string
	module []byte
	code   wasm.Code
	where  string
	why    string
	next   string
}

// plain is a guest that does no harm.
func plain() *assembly { return hostileGuest(answer) }

// desyncs are modules that wazero and a careless reader read differently: what one takes for the operand of an instruction
// is an instruction to the other, such as the head of a loop, which then has no meter.
func desyncs() []refusal {
	function := func(name string, code, why string) refusal {
		return refusal{name, plain().raw(void, "", unhex(code)).bytes(), wasm.Malformed, "function 5, byte", why, "build it again"}
	}
	section := func(name string, m *assembly, why string) refusal {
		return refusal{name, m.bytes(), wasm.Malformed, "byte", why, "build it again"}
	}
	vector := strings.Repeat("00 ", 16)
	return []refusal{
		function("a loop behind a SIMD instruction of two bytes", "02 40 41 01 0d 00 fd 0c "+vector+"fd 80 00 0b 03 7f 0c 00 0b 1a 0b", "longer than it need be"),
		function("a SIMD instruction of three bytes", "fd 0c "+vector+"fd e0 81 00 1a 0b", "longer than it need be"),
		function("a loop behind a block with a type of two bytes", "02 63 02 03 7f 0c 00 0b 00 0b 1a 0b", "a block's type is unknown"),
		function("a block with a long negative type", "02 e3 7f 02 03 7f 0c 00 0b 00 0b 1a 0b", "a block's type is unknown"),
		function("a block with the longest negative type", "02 e3 ff ff ff 1f 02 0b 0b", "a block's type is unknown"),
		function("a loop that returns an exception", "03 69 0c 00 0b 1a 0b", "a block's type is unknown"),
		function("a select with a type of two bytes", "41 00 41 00 41 01 1c 01 63 02 40 0b 1a 0b", "a select with a type has not exactly one"),
		function("a select with a long count", "41 00 41 00 41 01 1c 81 00 7f 1a 0b", "a select with a type has not exactly one"),
		function("a null exception", "d0 69 1a 0b", "the type of a null reference is unknown"),
		section("a local with a type of two bytes", plain().body(void, unhex("01 01 63 02 40 0b 0b")), "a value type is unknown"),
		section("a local that is an exception", plain().body(void, unhex("01 01 69 0b")), "a value type is unknown"),
		section("a parameter with a type of two bytes", plain().add(types, unhex("60 01 63 00 00")), "a value type is unknown"),
		section("a global with a type of two bytes", plain().add(globals, unhex("63 02 00 d0 02 0b")), "a value type is unknown"),
		section("a table with a type of two bytes", plain().add(tables, unhex("63 02 00 01")), "a table's type is unknown"),
		section("elements with a type of two bytes", plain().add(elements, unhex("05 63 02 00")), "an element segment's type is unknown"),
	}
}

func bombs() []refusal {
	bomb := func(name string, m *assembly, where, why string) refusal {
		return refusal{name, m.bytes(), wasm.Limit, where, why, "docs/sandbox.md has all limits"}
	}
	many := func(section byte, n int, entry []byte) *assembly {
		m := plain()
		for range n {
			m.add(section, entry)
		}
		return m
	}
	repeated := func(n int) *assembly {
		m := plain()
		for range n {
			m.fn(void, "", "")
		}
		return m
	}
	exported := plain()
	for n := range 10_000 {
		exported.export(fmt.Sprintf("f%d", n), 0, 4)
	}
	return []refusal{
		bomb("a huge function", plain().fn(void, "", times(100_000, "i32.const 1 drop")), "byte", "function 5: body bytes: 300002, the limit is 262144"),
		bomb("a huge br_table", plain().fn(void, "", "i32.const 0 br_table 300000 "+times(300_000, "0")+"0"), "byte", "body bytes"),
		bomb("very many locals", plain().body(void, unhex("01 d1 0f 7e 0b")), "byte", "function 5: locals: 2001, the limit is 2000"),
		bomb("locals that overflow", plain().body(void, unhex("02 ff ff ff ff 0f 7e ff ff ff ff 0f 7e 0b")), "byte", "locals: 4294967295"),
		bomb("very many functions", repeated(20_000), "byte", "functions: 20005, the limit is 20000"),
		bomb("very many types", many(types, 10_000, unhex("60 00 00")), "byte", "types: 10005, the limit is 10000"),
		bomb("very many parameters", plain().add(types, append([]byte{0x60}, append(vector(strings.Repeat("7f ", 257)), 0)...)), "byte", "parameters of a function type: 257, the limit is 256"),
		bomb("very many results", plain().add(types, append([]byte{0x60, 0}, vector(strings.Repeat("7f ", 65))...)), "byte", "results of a function type: 65, the limit is 64"),
		bomb("very many globals", many(globals, 10_001, unhex("7f 00 41 00 0b")), "byte", "globals: 10001, the limit is 10000"),
		bomb("very many data segments", many(datas, 100_000, unhex("01 00")), "byte", "data segments: 100001, the limit is 100000"),
		bomb("very many exports", exported, "byte", "exports: 10006, the limit is 10000"),
		bomb("very many imports", many(imports, 1001, append(append(text("weir"), text("yield")...), 0, void)), "byte", "imports: 1001, the limit is 1000"),
		bomb("very many elements", plain().add(tables, unhex("70 00 01")).add(elements, append(append(unhex("00 41 00 0b"), size(65_537)...), make([]byte, 65_537)...)), "byte", "elements: 65537, the limit is 65536"),
		bomb("deep nesting", plain().fn(void, "", times(5000, "block void")+times(5000, "end")), "function 5, byte", "nesting: 4001, the limit is 4000"),
		bomb("nesting in many functions", plain().nested(10, 3900), "function", "squares of the nesting of all functions"),
		bomb("huge data", plain().add(datas, append([]byte{1}, text(strings.Repeat("x", wasm.MaxModuleBytes))...)), "", "bytes: 10485982, the limit is 10485760"),
		bomb("two memories", plain().add(memories, []byte{0, 1}), "byte", "memories: 2, the limit is 1"),
		bomb("two tables", plain().add(tables, unhex("70 00 01")).add(tables, unhex("70 00 01")), "byte", "tables: 2, the limit is 1"),
	}
}

// nested adds functions with blocks in blocks.
func (a *assembly) nested(n, depth int) *assembly {
	for range n {
		a.fn(void, "", times(depth, "block void")+times(depth, "end"))
	}
	return a
}

func proposals() []refusal {
	function := func(name, code, why string) refusal {
		return refusal{name, plain().raw(void, "", unhex(code)).bytes(), wasm.ForbiddenInstruction, "function 5, byte", why, "turn this feature off"}
	}
	section := func(name string, m *assembly, why string) refusal {
		return refusal{name, m.bytes(), wasm.ForbiddenInstruction, "byte", why, "turn this feature off"}
	}
	tagged := plain()
	tagged.custom = unhex("0d 03 01 00 03")
	shared := plain()
	shared.entries[memories] = [][]byte{unhex("03 01 02")}
	large := plain()
	large.entries[memories] = [][]byte{unhex("04 01")}
	return []refusal{
		function("atomic instructions", "fe 03 00 0b", "threads and atomics are not run"),
		function("a tail call", "12 00 0b", "tail calls are not run"),
		function("an indirect tail call", "41 00 13 00 00 0b", "tail calls are not run"),
		function("a call by reference", "14 00 0b", "opcode 0x14 is unknown"),
		function("a try block", "06 40 0b 0b", "exception handling is not run"),
		function("a try table", "1f 40 00 0b 0b", "exception handling is not run"),
		function("garbage collection", "fb 00 00 0b", "opcode 0xfb is unknown"),
		function("relaxed SIMD", "fd 80 02 0b", "relaxed SIMD is not run"),
		function("growth of a table", "d0 70 41 01 fc 0f 00 1a 0b", "table.grow is not run"),
		function("an unknown instruction", "fc 20 0b", "an instruction behind 0xfc is unknown"),
		section("exception tags", tagged, "exception handling is not run"),
		section("shared memory", shared, "shared and 64-bit memories and tables are not run"),
		section("64-bit memory", large, "shared and 64-bit memories and tables are not run"),
	}
}

func interfaces() []refusal {
	imported := func(name, module, field string, rest ...byte) refusal {
		m := plain().add(imports, append(append(text(module), text(field)...), rest...))
		return refusal{name, m.bytes(), wasm.ForbiddenImport, "", "", "import nothing but weir.* and WASI preview 1"}
	}
	without := func(export string) *assembly {
		m := plain()
		for k, e := range m.entries[exports] {
			if bytes.HasPrefix(e, text(export)) {
				m.entries[exports] = append(m.entries[exports][:k:k], m.entries[exports][k+1:]...)
				return m
			}
		}
		panic(export)
	}
	shadow := func(name string, m *assembly, where, why string) refusal {
		return refusal{name, m.bytes(), wasm.MissingExport, "export " + where, why, "build it with a Weir SDK"}
	}
	host := hostileGuest(answer, wasi("fd_close"))
	for k, e := range host.entries[exports] {
		if bytes.HasPrefix(e, text("weir_batch")) {
			host.entries[exports][k] = append(text("weir_batch"), 0, 0)
		}
	}
	noStart := plain()
	noStart.start = []byte{99}
	return []refusal{
		imported("an import of the system", "env", "system", 0, void),
		imported("a host function of another type", "weir", "log", 0, void),
		imported("an imported memory", "env", "memory", 2, 0, 1),
		imported("an imported table", "env", "table", 1, 0x70, 0, 1),
		imported("an imported global", "env", "global", 3, 0x7F, 0),
		imported("an imported tag", "env", "tag", 4, 0, void),
		imported("an import with a long name", "env", strings.Repeat("x", 100_000), 0, void),
		shadow("a global named weir_batch", without("weir_batch").add(globals, unhex("7f 00 41 00 0b")).export("weir_batch", 3, 0), "weir_batch", "the export is no function"),
		shadow("a memory named weir_in", without("weir_in").export("weir_in", 2, 0), "weir_in", "the export is no function"),
		shadow("a function named memory", without("memory").export("memory", 0, 0), "memory", "does not export its memory"),
		shadow("weir_batch of another type", without("weir_batch").export("weir_batch", 0, 0), "weir_batch", "another type"),
		shadow("weir_batch of the host", host, "weir_batch", "the export is an import"),
		shadow("no weir_abi", without("weir_abi"), "weir_abi", "does not export this function"),
		shadow("_initialize with a parameter", plain().export("_initialize", 0, 2), "_initialize", "another type"),
		{"an export of the rewriter's", plain().export("__weir_fuel", 0, 0).bytes(), wasm.ForbiddenExport, "export __weir_fuel", "reserved", "rename the export"},
		{"two exports of one name", plain().export("memory", 2, 0).bytes(), wasm.Invalid, "", "duplicate", "build it again"},
		{"a start function that is none", noStart.bytes(), wasm.Malformed, "start", "out of range", "build it again"},
		{"an export that is none", plain().export("x", 0, 99).bytes(), wasm.Malformed, "export x", "out of range", "build it again"},
	}
}

func startups() []refusal {
	begin := func(name string, m *assembly, where, why string) refusal {
		return refusal{name, m.bytes(), wasm.InitFailed, where, why, "keep what runs before the first message small"}
	}
	start := func(code string) *assembly {
		m := plain().fn(void, "", code)
		m.start = []byte{first}
		return m
	}
	saying := func(weirFunction int, code string) *assembly {
		m := plain()
		body := append([]byte{0}, append(asm(code), 0x0B)...)
		m.entries[codes][weirFunction] = append(size(len(body)), body...)
		return m
	}
	far := plain().add(datas, unhex("00 41 ff ff 0f 0b 02 00 00"))
	return []refusal{
		begin("a start function that hangs", start("loop void br 0 end"), "initialisation", "fuel spent"),
		begin("a start function that fills", start("loop void i32.const 0 i32.const 0 i32.const 262144 memory.fill 0 br 0 end"), "initialisation", "fuel spent"),
		begin("a start function that takes all memory", start("loop void i32.const 100 memory.grow 0 i32.const -1 i32.ne br_if 0 end unreachable"), "initialisation", "memory limit reached"),
		begin("a start function that recurses", start("call 5"), "initialisation", "call depth exceeded"),
		{"a start function that traps", start("unreachable").bytes(), wasm.InitFailed, "initialisation", "unreachable", "mend what runs before the first message"},
		begin("_initialize that hangs", plain().fn(void, "", "loop void br 0 end").export("_initialize", 0, first), "initialisation", "fuel spent"),
		begin("weir_abi that hangs", saying(0, "loop void br 0 end i32.const 1"), "weir_abi", "fuel spent"),
		begin("weir_describe that hangs", saying(1, "loop void br 0 end i64.const 1"), "weir_describe", "fuel spent"),
		begin("no place for the input", saying(2, "i32.const 0"), "initialisation", "weir_in returned 0"),
		begin("an input buffer outside of the memory", saying(2, "i32.const -8"), "initialisation", "no place for 65536 bytes"),
		begin("an output buffer at the end of the memory", saying(3, "i32.const 262143"), "initialisation", "no place for 65536 bytes"),
		begin("data outside of the memory", far, "instantiation", "out of bounds"),
		{"another version of the ABI", saying(0, "i32.const 7").bytes(), wasm.WrongABI, "weir_abi", "version 7", "rebuild it with the SDK"},
		{"a description outside of the memory", saying(1, "i64.const -4294967000").bytes(), wasm.BadDescription, "weir_describe", "outside of the memory", "Weir SDK"},
		{"a description of all memory", saying(1, "i64.const 4294967295").bytes(), wasm.BadDescription, "weir_describe", "bytes: 4294967295", "Weir SDK"},
		{"a start function with a parameter", func() []byte { m := plain(); m.start = []byte{2}; return m.bytes() }(), wasm.Malformed, "start", "has parameters", "build it again"},
		{"a body without its result", plain().fn(convert, "", "").bytes(), wasm.Invalid, "", "function[5]", "build it again"},
		{"very many function types", described(2000), wasm.BadDescription, "weir_describe", "function types: 2000, the limit is 1024", "Weir SDK"},
	}
}

// described is a guest that describes so many functions.
func described(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"abi":1,"functions":[`)
	for k := range n {
		if k > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"type":"test/f%d"}`, k)
	}
	b.WriteString("]}")
	m := plain()
	body := append([]byte{0}, append(asm(fmt.Sprintf("i64.const %d", 64<<32+b.Len())), 0x0B)...)
	m.entries[codes][1] = append(size(len(body)), body...)
	return m.add(datas, append(append([]byte{0}, asm("i32.const 64 end")...), text(b.String())...)).bytes()
}

func damaged() []refusal {
	b := plain().bytes()
	broken := func(name string, module []byte, why string) refusal {
		return refusal{name, module, wasm.Malformed, "", why, "build it again"}
	}
	behind := func(id byte, content ...byte) []byte { return append(bytes.Clone(b), section(id, content)...) }
	return []refusal{
		{"nothing", nil, wasm.NotWASM, "", "magic number", "upload a core module"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), wasm.NotWASM, "byte 4", "not components", "upload a core module"},
		broken("half of a module", b[:len(b)/2], "runs past the end"),
		broken("a section that repeats", behind(1, 0), "unknown, repeated or out of order"),
		broken("an unknown section", behind(14, 0), "unknown, repeated or out of order"),
		broken("a section longer than its content", append(b[:8:8], 1, 2, 0, 0), "longer than its content"),
		broken("a length of six bytes", append(b[:8:8], 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0), "longer than 32 bits"),
		broken("more functions than code", append(b[:8:8], append(section(1, unhex("01 60 00 00")), section(3, unhex("01 00"))...)...), "differ in length"),
		broken("a constant expression that calls", plain().add(globals, unhex("7f 00 10 00 0b")).bytes(), "not allowed in a constant expression"),
		broken("a constant expression of two constants", plain().add(globals, unhex("7f 00 41 00 41 00 0b")).bytes(), "more than one constant"),
		broken("elements outside of the table", plain().add(tables, unhex("70 00 01")).add(elements, unhex("00 41 01 0b 01 00")).bytes(), "outside of their table"),
		broken("elements of no table", plain().add(elements, unhex("00 41 00 0b 01 00")).bytes(), "outside of their table"),
		broken("a branch to no block", plain().fn(void, "", "br 9").bytes(), "a branch leads to no block"),
		broken("a call of no function", plain().fn(void, "", "call 99").bytes(), "a function index is out of range"),
		broken("an end too many", plain().fn(void, "", "end").bytes(), "blocks do not end with its code"),
		broken("an else without an if", plain().fn(void, "", "else").bytes(), "an else without an if"),
	}
}

func TestHostileModulesAreRefused(t *testing.T) {
	e := drafting(t)
	for _, group := range [][]refusal{desyncs(), bombs(), proposals(), interfaces(), startups(), damaged()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				for tier, err := range verdicts(t, e, c.module) {
					c.check(t, tier, err)
				}
			})
		}
	}
}

func (c *refusal) check(t *testing.T, tier string, err error) {
	var r *wasm.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("%s: %v", tier, err)
	}
	if errors.Is(err, wasm.ErrInterpreter) {
		if !strings.Contains(c.name, "recurses") {
			t.Errorf("the interpreter cannot tell: %v", err)
		}
		return
	}
	if r.Code != c.code || !strings.HasPrefix(r.Where, c.where) || !strings.Contains(r.Detail, c.why) {
		t.Errorf("%s: refused as %q at %q: %s; want %q at %q: %s", tier, r.Code, r.Where, r.Detail, c.code, c.where, c.why)
	}
	if text := err.Error(); !strings.Contains(text, c.next) || len(text) > 3000 {
		t.Errorf("%s: it says %.300s; want %q in it", tier, text, c.next)
	}
}

// TestDecorationIsNotRead holds that wazero sees nothing that was not checked: its reader of names takes memory for as many
// as the section claims.
func TestDecorationIsNotRead(t *testing.T) {
	for name, content := range map[string]string{
		"a billion names of functions": "01 05 ff ff ff ff 03",
		"a billion names of locals":    "02 07 01 00 ff ff ff ff 03",
		"a section that ends early":    "01 ff ff ff ff 0f",
	} {
		m := plain()
		m.custom = section(0, append(text("name"), unhex(content)...))
		if got := call(t, instance(t, load(t, newEngine(t), m.bytes(), wasm.Limits{}), nil), "x"); len(got) != 8 {
			t.Errorf("%s: it answered %q", name, got)
		}
	}
}

func TestAFailureIsShortWhateverTheNames(t *testing.T) {
	m := hostileGuest("local.get 0 call 4")
	names := append(size(1), append([]byte{4}, text(strings.Repeat("x", 1<<20))...)...)
	m.custom = section(0, append(text("name"), section(1, names)...))
	_, err := instance(t, load(t, newEngine(t), m.bytes(), wasm.Limits{}), nil).Call([]byte("x"))
	var f *wasm.Failure
	if !errors.As(err, &f) || !strings.HasPrefix(f.Stack, "xxx") || len(f.Stack) > 10_000 {
		t.Errorf("the failure is %.100v, with a stack of %d bytes", err, len(f.Stack))
	}
}
