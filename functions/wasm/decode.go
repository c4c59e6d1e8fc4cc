package wasm

import (
	"bytes"
	"unicode/utf8"
)

// Value types of the binary format that the package names.
const (
	typeI32  = 0x7F
	typeI64  = 0x7E
	typeF32  = 0x7D
	typeF64  = 0x7C
	typeV128 = 0x7B
	typeFunc = 0x70
	typeExt  = 0x6F
)

// valueType says whether b alone is a value type. What else wazero takes as one has two parts or belongs to proposals that
// are not run; every place that reads a type asks here, because a type that is read with another length than wazero reads it
// hides instructions from the rewriter.
func valueType(b byte) bool { return b >= typeV128 && b <= typeI32 || b == typeFunc || b == typeExt }

// Kinds of imports and exports.
const (
	kindFunc   = 0
	kindTable  = 1
	kindMemory = 2
	kindGlobal = 3
)

// Section ids, which are also the order of sections but for data count.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	sectionIDs

	secTag = 13 // of the exception handling proposal
)

// sectionOrder is the place of each section id in a module: data count stands between element and code.
var sectionOrder = [sectionIDs]int{secType: 1, secImport: 2, secFunction: 3, secTable: 4, secMemory: 5, secGlobal: 6,
	secExport: 7, secStart: 8, secElement: 9, secDataCount: 10, secCode: 11, secData: 12}

// module is a decoded binary. Every slice of bytes is a view of the input.
type module struct {
	types     []funcType
	imports   []funcImport // functions: nothing else may be imported
	funcs     []uint32     // type index of each function that the module defines
	tables    []byte       // the section as it was
	tableMins []uint32
	memory    limitsPair
	hasMemory bool
	globals   []global
	exports   []export
	start     int64 // function index, or -1
	elements  []element
	bodies    []body
	data      []byte // the section as it was
	passive   bool   // a passive data segment
	segments  []segment
	dataCount []byte // the section as it was
	names     []byte // the content of the name section
	standard  bool   // made by the standard Go toolchain: it leaves a go:buildid section
	reshapes  bool   // an instruction writes to a table or names a segment: memory and globals are not all its state
}

type funcType struct{ params, results []byte }

type funcImport struct {
	module, name string
	typ          uint32
}

// limitsPair is the size of a memory in pages.
type limitsPair struct {
	min, max uint32
	hasMax   bool
}

type global struct {
	typ     byte
	mutable bool
	init    []byte // constant expression, its end included
}

type export struct {
	name  string
	kind  byte
	index uint32
}

// element is one element segment: head are its bytes up to the list, then the functions or the expressions.
type element struct {
	head   []byte
	funcs  []uint32
	exprs  [][]byte
	isExpr bool
}

// segment is one active data segment.
type segment struct {
	at   uint32
	data []byte
}

// body is the code of one function: its locals declaration and its instructions, and where they stand in the module.
type body struct {
	localGroups uint32
	locals      []byte // the groups, without their count
	localCount  uint64
	code        []byte
	at          int // byte offset of code in the module
}

// cursor reads a view of the module and keeps the first refusal; after one, every read returns zero.
type cursor struct {
	b       []byte
	at      int
	base    int // offset of b in the module
	refusal *Refusal
}

func (c *cursor) fail(code Code, detail string) {
	if c.refusal == nil {
		c.refusal = &Refusal{Code: code, Where: byteOffset(c.base + c.at), Detail: detail}
	}
	c.at = len(c.b)
}

func (c *cursor) done() bool { return c.at >= len(c.b) }

func (c *cursor) u8() byte {
	if c.at >= len(c.b) {
		c.fail(Malformed, "the module ends within a value")
		return 0
	}
	v := c.b[c.at]
	c.at++
	return v
}

func (c *cursor) u32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := c.u8()
		if shift == 28 && b > 0x0F {
			break
		}
		v |= uint32(b&0x7F) << shift
		if b < 0x80 {
			return v
		}
	}
	c.fail(Malformed, "an integer is longer than 32 bits")
	return 0
}

// signed reads a signed integer of at most bits bits.
func (c *cursor) signed(bits int) int64 {
	v, shift := int64(0), 0
	for n := (bits + 6) / 7; n > 0; n-- {
		b := c.u8()
		v |= int64(b&0x7F) << shift
		shift += 7
		if b < 0x80 {
			if b&0x40 != 0 && shift < 64 {
				v |= -1 << shift
			}
			return v
		}
	}
	c.fail(Malformed, "a signed integer is too long")
	return 0
}

func (c *cursor) take(n uint32) []byte {
	if uint64(n) > uint64(len(c.b)-c.at) {
		c.fail(Malformed, "a length runs past the end of its section")
		return nil
	}
	v := c.b[c.at : c.at+int(n) : c.at+int(n)]
	c.at += int(n)
	return v
}

func (c *cursor) name() string {
	v := c.take(c.u32())
	if !utf8.Valid(v) {
		c.fail(Malformed, "a name is not UTF-8")
		return ""
	}
	return string(v)
}

// count reads how many entries follow. Each has at least one byte, so a count above what remains is refused before
// anything is allocated for it.
func (c *cursor) count(what string, limit int) int {
	n := c.u32()
	if int64(n) > int64(limit) {
		c.fail(Limit, what+": "+ofLimit(int64(n), int64(limit)))
		return 0
	}
	if int64(n) > int64(len(c.b)-c.at) {
		c.fail(Malformed, "a count runs past the end of its section")
		return 0
	}
	return int(n)
}

var header = []byte("\x00asm\x01\x00\x00\x00")

// decode reads a module and holds it to the static limits. It never panics, whatever the bytes.
func decode(b []byte) (*module, *Refusal) {
	if len(b) < len(header) || !bytes.Equal(b[:4], header[:4]) {
		return nil, &Refusal{Code: NotWASM, Detail: "the file does not begin with the WASM magic number"}
	}
	if !bytes.Equal(b[:len(header)], header) {
		return nil, &Refusal{Code: NotWASM, Where: byteOffset(4), Detail: "only version 1 core modules are run (not components)"}
	}
	if len(b) > MaxModuleBytes {
		return nil, &Refusal{Code: Limit, Detail: "bytes: " + ofLimit(int64(len(b)), MaxModuleBytes)}
	}
	m := &module{start: -1}
	c := &cursor{b: b, at: len(header)}
	last := 0
	for !c.done() {
		id := c.u8()
		size := c.u32()
		at := c.at
		s := &cursor{b: c.take(size), base: at}
		if c.refusal != nil {
			break
		}
		if id == secTag {
			return nil, &Refusal{Code: ForbiddenInstruction, Where: byteOffset(at), Detail: "exception handling is not run"}
		}
		if id != secCustom {
			if int(id) >= sectionIDs || sectionOrder[id] <= last {
				return nil, &Refusal{Code: Malformed, Where: byteOffset(at), Detail: "a section is unknown, repeated or out of order"}
			}
			last = sectionOrder[id]
		}
		m.section(id, s)
		if s.refusal == nil && !s.done() {
			s.fail(Malformed, "a section is longer than its content")
		}
		if s.refusal != nil {
			return nil, s.refusal
		}
	}
	if c.refusal != nil {
		return nil, c.refusal
	}
	if len(m.bodies) != len(m.funcs) {
		return nil, &Refusal{Code: Malformed, Detail: "the function and the code section differ in length"}
	}
	return m, m.check()
}

func (m *module) section(id byte, c *cursor) {
	switch id {
	case secCustom:
		switch c.name() {
		case "go:buildid":
			m.standard = true
		case "name":
			m.names = c.b[c.at:]
		}
		c.at = len(c.b)
	case secType:
		m.typeSection(c)
	case secImport:
		m.importSection(c)
	case secFunction:
		n := c.count("functions", maxFunctions)
		m.funcs = make([]uint32, n)
		for i := range m.funcs {
			m.funcs[i] = c.typeIndex(m)
		}
	case secTable:
		m.tables = c.b
		m.tableSection(c)
	case secMemory:
		m.memorySection(c)
	case secGlobal:
		m.globalSection(c)
	case secExport:
		m.exportSection(c)
	case secStart:
		m.start = int64(c.u32())
	case secElement:
		m.elementSection(c)
	case secCode:
		m.codeSection(c)
	case secData:
		m.data = c.b
		m.dataSection(c)
	case secDataCount:
		m.dataCount = c.b
		c.u32()
	}
}

func (c *cursor) typeIndex(m *module) uint32 {
	t := c.u32()
	if int64(t) >= int64(len(m.types)) {
		c.fail(Malformed, "a type index is out of range")
		return 0
	}
	return t
}

func (c *cursor) valueTypes(what string, limit int) []byte {
	v := c.take(uint32(c.count(what, limit)))
	for _, t := range v {
		if !valueType(t) {
			c.fail(Malformed, unknownType)
		}
	}
	return v
}

const unknownType = "a value type is unknown"

func (m *module) typeSection(c *cursor) {
	m.types = make([]funcType, 0, c.count("types", maxTypes))
	for range cap(m.types) {
		if c.u8() != 0x60 {
			c.fail(Malformed, "a type is not a function type")
		}
		if c.refusal != nil {
			return
		}
		m.types = append(m.types, funcType{
			params: c.valueTypes("parameters of a function type", maxParams), results: c.valueTypes("results of a function type", maxResults)})
	}
}

func (m *module) importSection(c *cursor) {
	for range c.count("imports", maxImports) {
		at := c.at
		mod, name := c.name(), c.name()
		if kind := c.u8(); kind != kindFunc && c.refusal == nil {
			c.at = at
			c.fail(ForbiddenImport, mod+"."+name+": only functions may be imported")
		}
		t := c.typeIndex(m)
		if c.refusal != nil {
			return
		}
		m.imports = append(m.imports, funcImport{module: mod, name: name, typ: t})
	}
}
