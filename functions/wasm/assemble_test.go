package wasm_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// assembly is a module to be written: by itself a guest that answers every batch with its first byte. Entries are the encoded
// entries of each section, whose counts are written for them.
type assembly struct {
	entries map[byte][][]byte
	start   []byte
	imports int
	custom  []byte // whole sections, written last
}

// Section ids, types of the guest and functions every guest has, behind its imports.
const (
	types, imports, funcs, tables, memories, globals, exports, elements, codes, datas, dataCount = 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12

	produce, describe, convert, void, binaryOp = 0, 1, 2, 3, 4

	guestFuncs = 5
	inAt       = 65536
	outAt      = 131072
)

// answer is the code of a weir_batch that answers with eight bytes.
const answer = "i32.const 8"

const description = `{"abi":1,"functions":[{"type":"test/hostile"}]}`

// hostileGuest is a guest whose weir_batch has this code, in the notation of asm. imported are names of WASI and weir
// functions, by their index.
func hostileGuest(batch string, imported ...string) *assembly {
	a := &assembly{entries: map[byte][][]byte{}, imports: len(imported)}
	for _, t := range []string{"|7f", "|7e", "7f|7f", "|", "7f 7f|7f"} {
		params, results, _ := strings.Cut(t, "|")
		a.add(types, append(append([]byte{0x60}, vector(params)...), vector(results)...))
	}
	for _, name := range imported {
		at := len(a.entries[types])
		params, results := hostType(name)
		a.add(types, append(append([]byte{0x60}, vector(params)...), vector(results)...))
		module, field, _ := strings.Cut(name, ".")
		a.add(imports, append(append(text(module), text(field)...), 0, byte(at)))
	}
	a.add(memories, []byte{0, 4})
	a.add(datas, append([]byte{0, 0x41, 16, 0x0B}, text(description)...))
	for k, f := range []struct {
		name, code string
		typ        int
	}{
		{"weir_abi", "i32.const 1", produce},
		{"weir_describe", fmt.Sprintf("i64.const %d", 16<<32+len(description)), describe},
		{"weir_in", fmt.Sprintf("i32.const %d", inAt), convert},
		{"weir_out", fmt.Sprintf("i32.const %d", outAt), convert},
		{"weir_batch", batch, convert},
	} {
		a.fn(f.typ, "", f.code)
		a.export(f.name, 0, len(imported)+k)
	}
	a.export("memory", 2, 0)
	return a
}

// hostType is the type of a host function.
func hostType(name string) (params, results string) {
	switch name {
	case "weir.yield":
		return "", ""
	case "weir.log":
		return "7f 7f 7f", ""
	case "wasi_snapshot_preview1.sched_yield":
		return "", "7f"
	case "wasi_snapshot_preview1.proc_exit":
		return "7f", ""
	case "wasi_snapshot_preview1.fd_close":
		return "7f", "7f"
	case "wasi_snapshot_preview1.clock_time_get":
		return "7f 7e 7f", "7f"
	case "wasi_snapshot_preview1.fd_write", "wasi_snapshot_preview1.poll_oneoff":
		return "7f 7f 7f 7f", "7f"
	}
	return "7f 7f", "7f"
}

func (a *assembly) add(section byte, entry []byte) *assembly {
	a.entries[section] = append(a.entries[section], entry)
	return a
}

func (a *assembly) export(name string, kind byte, index int) *assembly {
	return a.add(exports, append(append(text(name), kind), size(index)...))
}

// fn adds a function: locals are groups of a count and a type, in hexadecimal.
func (a *assembly) fn(typ int, locals, code string) *assembly {
	return a.raw(typ, locals, append(asm(code), 0x0B))
}

func (a *assembly) raw(typ int, locals string, code []byte) *assembly {
	declared := unhex(locals)
	return a.body(typ, append(append(size(len(declared)/2), declared...), code...))
}

// body adds a function as it stands in the code section, behind its length.
func (a *assembly) body(typ int, b []byte) *assembly {
	a.add(funcs, size(typ))
	return a.add(codes, append(size(len(b)), b...))
}

// table adds a table that holds functions from index 0 on.
func (a *assembly) table(held ...int) *assembly {
	a.add(tables, []byte{0x70, 0, byte(len(held) + 2)})
	e := append([]byte{0, 0x41, 0, 0x0B}, size(len(held))...)
	for _, f := range held {
		e = append(e, size(f)...)
	}
	return a.add(elements, e)
}

// section is a section of this content.
func section(id byte, content []byte) []byte {
	return append(append([]byte{id}, size(len(content))...), content...)
}

func (a *assembly) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, id := range []byte{types, imports, funcs, tables, memories, globals, exports, 8, elements, dataCount, codes, datas} {
		switch {
		case id == 8 && a.start != nil:
			out = append(out, section(8, a.start)...)
		case id == dataCount:
			out = append(out, section(id, size(len(a.entries[datas])))...)
		case len(a.entries[id]) > 0:
			out = append(out, section(id, append(size(len(a.entries[id])), bytes.Join(a.entries[id], nil)...))...)
		}
	}
	return append(out, a.custom...)
}

func text(s string) []byte { return append(size(len(s)), s...) }

func unhex(s string) (b []byte) {
	for _, word := range strings.Fields(s) {
		v, err := strconv.ParseUint(word, 16, 8)
		if err != nil {
			panic(err)
		}
		b = append(b, byte(v))
	}
	return b
}

func vector(s string) []byte { return append(size(len(strings.Fields(s))), unhex(s)...) }

// size is n as an unsigned LEB128.
func size(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// opcodes are the instructions that asm knows. Immediates follow them as numbers.
var opcodes = map[string]string{
	"unreachable": "00", "nop": "01", "block": "02", "loop": "03", "if": "04", "else": "05", "end": "0b", "br": "0c", "br_if": "0d",
	"br_table": "0e", "return": "0f", "call": "10", "call_indirect": "11", "drop": "1a", "select": "1b", "local.get": "20", "local.set": "21",
	"local.tee": "22", "global.get": "23", "global.set": "24", "table.get": "25", "table.set": "26", "i32.load": "28", "i64.load": "29",
	"i32.load8_u": "2d", "i32.store": "36", "i32.store8": "3a", "memory.size": "3f", "memory.grow": "40", "i32.const": "41", "i64.const": "42",
	"i32.eqz": "45", "i32.eq": "46", "i32.ne": "47", "i32.lt_u": "49", "i32.add": "6a", "i32.sub": "6b", "i32.mul": "6c", "i32.div_s": "6d",
	"i32.div_u": "6e", "i32.and": "71", "i64.add": "7c", "i64.div_u": "80", "i32.wrap_i64": "a7", "i32.trunc_f32_s": "a8", "ref.null": "d0",
	"ref.func": "d2", "memory.init": "fc 08", "data.drop": "fc 09", "memory.copy": "fc 0a", "memory.fill": "fc 0b", "table.init": "fc 0c",
	"elem.drop": "fc 0d", "table.copy": "fc 0e", "table.grow": "fc 0f", "table.size": "fc 10", "table.fill": "fc 11", "v128.const": "fd 0c",
	"i8x16.add": "fd 6e", "f32.const": "43", "void": "40", "value": "7f", "funcref": "70",
}

// asm assembles code in the notation of WASM's text format, flat: names of instructions, and numbers, which are written as
// signed LEB128 behind a constant and unsigned elsewhere. A word that begins with # is a byte in hexadecimal.
func asm(code string) (out []byte) {
	constant := false
	for _, word := range strings.Fields(code) {
		if op, ok := opcodes[word]; ok {
			out = append(out, unhex(op)...)
			constant = strings.HasSuffix(word, ".const")
			continue
		}
		if raw, ok := strings.CutPrefix(word, "#"); ok {
			out = append(out, unhex(raw)...)
			continue
		}
		n, err := strconv.ParseInt(word, 0, 64)
		if err != nil {
			panic(fmt.Sprintf("asm: %q is no instruction and no number", word))
		}
		if constant {
			out = append(out, signed(n)...)
		} else {
			out = append(out, size(int(n))...)
		}
		constant = false
	}
	return out
}

// signed is n as a signed LEB128.
func signed(n int64) (b []byte) {
	for {
		c := byte(n & 0x7F)
		if n >>= 7; n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// times repeats code.
func times(n int, code string) string { return strings.Repeat(code+" ", n) }
