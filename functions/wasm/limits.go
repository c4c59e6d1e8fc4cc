package wasm

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Static limits of a module. They hold before anything is compiled, because validation and compilation are the first
// code that a stranger's bytes reach. A standard-Go guest with json, fmt, regexp and text/template stays below half of
// each; the figures stand in docs/sandbox.md.
const (
	// MaxModuleBytes bounds an upload: a standard-Go guest with json and fmt has 3.3 MB, one with net/http 14 MB.
	MaxModuleBytes = 10 << 20

	maxTypes     = 10_000
	maxParams    = 256 // C has at most 127; wazero copies them for every block of the type
	maxResults   = 64  // toolchains write one
	maxImports   = 1000
	maxFunctions = 20_000 // a million tiny functions take 7 s to compile
	maxTables    = 1
	maxTableMin  = 1 << 16
	maxGlobals   = 10_000
	maxExports   = 10_000
	maxElements  = 1 << 16
	maxSegments  = 100_000   // the Go linker's own limit; json and fmt make 40 000
	maxBodyBytes = 256 << 10 // the largest of net/http has 50 KB
	maxLocals    = 2000
	// maxMemoryPages is 1 GiB: more than any limit a job can set.
	maxMemoryPages = 1 << 14
	// maxNesting bounds blocks within blocks in one function: 50 000 take 19 s to compile, 10 000 take 0.5 s. Standard
	// Go opens one block per resume point of a function, all nested, and reaches 550 in its own library.
	maxNesting = 4000
	// maxNestingSquares bounds the sum of squares over all functions, because compiling is quadratic in the nesting. It
	// is worth 0.5 s; a guest with net/http has an eighth of it.
	maxNestingSquares = 100_000_000
	// reservedPrefix begins the names that the rewriter exports.
	reservedPrefix = "__weir"
)

// Code says why a module was refused.
type Code string

// The codes of a Refusal.
const (
	NotWASM              Code = "not-wasm"
	Malformed            Code = "malformed"
	Limit                Code = "limit"
	ForbiddenInstruction Code = "forbidden-instruction"
	ForbiddenImport      Code = "forbidden-import"
	ForbiddenExport      Code = "forbidden-export"
	MissingExport        Code = "missing-export"
	Invalid              Code = "invalid"      // wazero's validation
	WrongABI             Code = "abi-version"  // weir_abi answered another version
	BadDescription       Code = "description"  // weir_describe
	InitFailed           Code = "init-failed"  // the start function, _initialize, or the first calls
	CompileFailed        Code = "compile"      // the compiler gave up, or died at its memory limit
	CompileTimeout       Code = "compile-time" // the compiler took longer than it may
)

// Refusal is the error of a module that is not run. Where names the place: a byte offset, a function index, an import
// or an export; it is empty when the whole module is meant.
type Refusal struct {
	Code   Code
	Where  string
	Detail string
	cause  error
}

// Error says what, where, why, and what to do next.
func (r *Refusal) Error() string { return "module refused: " + r.Reason() }

// Reason is the error's text without its first words. What to do has a line of its own behind a guest's stack.
func (r *Refusal) Reason() string {
	where, detail, next := r.Where, strings.TrimRight(r.Detail, "\n"), "; "
	if where != "" {
		where += ": "
	}
	if strings.Contains(detail, "\n") {
		next = "\n"
	}
	return string(r.Code) + ": " + where + detail + next + r.next()
}

// next is what the author of the module can do.
func (r *Refusal) next() string {
	switch r.Code {
	case NotWASM:
		return "upload a core module, such as one that GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared writes"
	case Malformed, Invalid:
		return "the file is damaged or its toolchain is at fault: build it again"
	case Limit:
		return "make the module smaller or split it: docs/sandbox.md has all limits"
	case ForbiddenInstruction:
		return "turn this feature off in the toolchain: docs/sandbox.md has what is run"
	case ForbiddenImport:
		return "import nothing but weir.* and WASI preview 1"
	case ForbiddenExport:
		return "rename the export"
	case MissingExport:
		return "build it with a Weir SDK"
	case WrongABI:
		return "rebuild it with the SDK of this server"
	case BadDescription:
		return "declare the functions through a Weir SDK"
	case InitFailed:
		if errors.Is(r.cause, ErrTrap) {
			return "mend what runs before the first message: init, and what it declares and calls"
		}
		return "keep what runs before the first message small"
	case CompileFailed, CompileTimeout:
		return "make its largest functions smaller"
	}
	panic("wasm: a refusal with the code " + string(r.Code))
}

// maxRefusal is where each part of a refusal is cut: names in it are the guest's, and may have megabytes.
const maxRefusal = 1 << 10

func (r *Refusal) shorten() {
	for _, part := range []*string{&r.Where, &r.Detail} {
		if len(*part) > maxRefusal {
			*part = strings.ToValidUTF8((*part)[:maxRefusal], "") + "..."
		}
	}
}

// Unwrap gives the error that stopped the module while it was tried, such as ErrFuel; nil for static checks.
func (r *Refusal) Unwrap() error { return r.cause }

func byteOffset(at int) string      { return "byte " + strconv.Itoa(at) }
func function(index int) string     { return "function " + strconv.Itoa(index) }
func hex(b byte) string             { return fmt.Sprintf("%#02x", b) }
func ofLimit(n, limit int64) string { return fmt.Sprintf("%d, the limit is %d", n, limit) }

// check holds a decoded module to what may be imported, exported and reserved.
func (m *module) check() *Refusal {
	if !m.hasMemory {
		return &Refusal{Code: MissingExport, Where: "export memory", Detail: "the module has no memory"}
	}
	if m.memory.min > maxMemoryPages {
		return &Refusal{Code: Limit, Where: "memory", Detail: "pages: " + ofLimit(int64(m.memory.min), maxMemoryPages)}
	}
	for i, pages := range m.tableMins {
		if pages > maxTableMin {
			return &Refusal{Code: Limit, Where: fmt.Sprintf("table %d", i), Detail: "entries: " + ofLimit(int64(pages), maxTableMin)}
		}
	}
	functions := int64(len(m.imports) + len(m.funcs))
	if m.start >= functions {
		return &Refusal{Code: Malformed, Where: "start", Detail: "the function index is out of range"}
	}
	if m.start >= 0 {
		if t := m.functionType(uint32(m.start)); len(t.params)+len(t.results) > 0 {
			return &Refusal{Code: Malformed, Where: "start", Detail: "the function has parameters or results"}
		}
	}
	for _, e := range m.elements {
		for _, f := range e.funcs {
			if int64(f) >= functions {
				return &Refusal{Code: Malformed, Where: "elements", Detail: "a function index is out of range"}
			}
		}
	}
	if r := m.checkImports(); r != nil {
		return r
	}
	return m.checkExports()
}

func (m *module) checkImports() *Refusal {
	for _, f := range m.imports {
		where := "import " + f.module + "." + f.name
		want, ok := hostSignature(f.module, f.name)
		if !ok {
			return &Refusal{Code: ForbiddenImport, Where: where, Detail: "the platform offers no such function to guests"}
		}
		if got := m.types[f.typ]; string(got.params) != want.params || string(got.results) != want.results {
			return &Refusal{Code: ForbiddenImport, Where: where, Detail: "the function has another type"}
		}
	}
	return nil
}

// guestExports are the functions that the host calls, by name. The first of every pair in the signature are parameters.
var guestExports = []struct {
	name     string
	typ      signature
	optional bool
}{
	{name: "weir_abi", typ: signature{"", i32}},
	{name: "weir_describe", typ: signature{"", i64}},
	{name: "weir_in", typ: signature{i32, i32}},
	{name: "weir_out", typ: signature{i32, i32}},
	{name: "weir_batch", typ: signature{i32, i32}},
	{name: "_initialize", optional: true},
}

func (m *module) checkExports() *Refusal {
	byName := make(map[string]export, len(m.exports))
	for _, e := range m.exports {
		where := "export " + e.name
		if strings.HasPrefix(e.name, reservedPrefix) {
			return &Refusal{Code: ForbiddenExport, Where: where, Detail: "names that begin with " + reservedPrefix + " are reserved"}
		}
		if e.kind == kindFunc && int64(e.index) >= int64(len(m.imports)+len(m.funcs)) {
			return &Refusal{Code: Malformed, Where: where, Detail: "the function index is out of range"}
		}
		byName[e.name] = e
	}
	if e, ok := byName["memory"]; !ok || e.kind != kindMemory {
		return &Refusal{Code: MissingExport, Where: "export memory", Detail: "the module does not export its memory"}
	}
	for _, want := range guestExports {
		e, ok := byName[want.name]
		if !ok && want.optional {
			continue
		}
		where := "export " + want.name
		if ok && e.kind == kindFunc && int(e.index) < len(m.imports) {
			return &Refusal{Code: MissingExport, Where: where, Detail: "the export is an import"}
		}
		if ok && e.kind != kindFunc {
			return &Refusal{Code: MissingExport, Where: where, Detail: "the export is no function"}
		}
		if !ok {
			return &Refusal{Code: MissingExport, Where: where, Detail: "the module does not export this function"}
		}
		if t := m.functionType(e.index); string(t.params) != want.typ.params || string(t.results) != want.typ.results {
			return &Refusal{Code: MissingExport, Where: where, Detail: "the function has another type"}
		}
	}
	return nil
}

// functionType is the type of a function by its index, which is in range.
func (m *module) functionType(index uint32) funcType {
	if int(index) < len(m.imports) {
		return m.types[m.imports[index].typ]
	}
	return m.types[m.funcs[int(index)-len(m.imports)]]
}
