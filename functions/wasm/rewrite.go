package wasm

import (
	"encoding/binary"
	"slices"
)

// rewriterVersion is part of every cache key: change it whenever the bytes that the rewriter writes change.
const rewriterVersion = 3

// Names that the rewriter exports to the host.
const (
	exportFuel  = reservedPrefix + "_fuel"
	exportDepth = reservedPrefix + "_depth"
	exportStart = reservedPrefix + "_start"
	// exportGlobal begins the names of the guest's own mutable globals, in a module that is pre-initialised.
	exportGlobal = reservedPrefix + "_global_"
)

// metered is a module after rewriting.
//
// Two globals are appended: the fuel left until the next yield (i64) and the call depth left (i32); both begin at zero,
// so that nothing runs before the host has set them. The start function becomes an export, called by the host.
type metered struct {
	m        *module
	types    []funcType
	yield    uint32 // function index of weir.yield
	added    bool   // the import was added: every function index from yield on moves up by one
	bakeable bool   // see module.bakeable
	fuel     uint32
	depth    uint32
	code     []byte // the code section
}

// rewrite meters a planned module. wazero validates only what comes out, which is valid exactly when the module was: what is
// added leaves the stack as it was, and the plan has refused every index behind those of the module. FuzzRewrite holds both
// ways.
func rewrite(m *module, plans []plan) *metered {
	w := &metered{m: m, types: slices.Clone(m.types), bakeable: m.bakeable()}
	at := slices.IndexFunc(m.imports, func(f funcImport) bool { return f.module == hostModule && f.name == yieldName })
	if w.yield = uint32(at); at < 0 {
		w.added = true
		w.yield = uint32(len(m.imports))
	}
	w.fuel = uint32(len(m.globals))
	w.depth = w.fuel + 1
	w.code = appendUint(w.code, uint64(len(m.bodies)))
	var scratch []byte
	for i := range m.bodies {
		scratch = w.function(scratch[:0], i, &plans[i])
		w.code = appendUint(w.code, uint64(len(scratch)))
		w.code = append(w.code, scratch...)
	}
	return w
}

// index is a function's index after the yield import was added.
func (w *metered) index(f uint32) uint32 {
	if w.added && f >= w.yield {
		return f + 1
	}
	return f
}

// typeOf is the index of a function type, appended when the module has no such type.
func (w *metered) typeOf(params, results []byte) uint32 {
	for i, t := range w.types {
		if string(t.params) == string(params) && string(t.results) == string(results) {
			return uint32(i)
		}
	}
	w.types = append(w.types, funcType{params: params, results: results})
	return uint32(len(w.types) - 1)
}

// scratchLocals are the locals that metering adds to a function: one i64, one i32.
type scratchLocals struct{ long, short uint64 }

// function appends the rewritten body of function i: locals, entry charge, depth, the code in a block of its own when
// depth is counted, so that every way out of the code ends behind that block, where the depth is given back.
func (w *metered) function(out []byte, i int, p *plan) []byte {
	b, t := &w.m.bodies[i], w.m.types[w.m.funcs[i]]
	first := uint64(len(t.params)) + b.localCount
	locals := scratchLocals{long: first, short: first + 1}
	out = appendUint(out, uint64(b.localGroups)+2)
	out = append(out, b.locals...)
	out = append(out, 1, typeI64, 1, typeI32)
	out = w.charge(out, p.pieces[0], locals)
	code := b.code
	if p.calls {
		frame := w.m.frame(i, p)
		out = w.enter(out, frame, locals)
		out = append(out, opBlock)
		out = w.blockType(out, t.results)
		out = w.instructions(out, code, p, locals)
		out = appendIndexed(out, opGlobalGet, uint64(w.depth))
		out = appendSigned(append(out, opI32Const), frame)
		out = appendIndexed(append(out, opI32Add), opGlobalSet, uint64(w.depth))
		out = w.check(appendIndexed(out, opGlobalGet, uint64(w.fuel)))
		return append(out, opEnd)
	}
	return w.instructions(out, code, p, locals)
}

func (w *metered) blockType(out, results []byte) []byte {
	switch len(results) {
	case 0:
		return append(out, blockEmpty)
	case 1:
		return append(out, results[0])
	}
	return appendSigned(out, int64(w.typeOf(nil, results)))
}

// instructions copies the code with its edits.
func (w *metered) instructions(out, code []byte, p *plan, locals scratchLocals) []byte {
	from := int32(0)
	for _, e := range p.edits {
		out = append(out, code[from:e.at]...)
		from = e.at + e.drop
		switch e.kind {
		case editCharge:
			out = w.charge(out, p.pieces[e.arg], locals)
		case editReturn:
			if p.calls {
				out = appendIndexed(out, opBr, uint64(e.arg))
			} else {
				out = append(out, opReturn)
			}
		case editCall:
			out = appendIndexed(out, opCall, uint64(w.index(e.arg)))
		case editRef:
			out = appendIndexed(out, opRefFunc, uint64(w.index(e.arg)))
		case editBulk:
			out = w.chargeCount(out, locals)
		}
	}
	return append(out, code[from:]...)
}

// charge takes a piece's cost from the fuel, and yields below zero when the piece is checked.
func (w *metered) charge(out []byte, p piece, locals scratchLocals) []byte {
	if p.cost == 0 && !p.checked {
		return out
	}
	out = appendIndexed(out, opGlobalGet, uint64(w.fuel))
	out = appendSigned(append(out, opI64Const), int64(max(p.cost, 1)))
	out = append(out, opI64Sub)
	if !p.checked {
		return appendIndexed(out, opGlobalSet, uint64(w.fuel))
	}
	return w.settle(out, locals)
}

// settle stores the fuel on top of the stack, and yields when it is below zero.
func (w *metered) settle(out []byte, locals scratchLocals) []byte {
	out = appendIndexed(out, opLocalTee, locals.long)
	out = appendIndexed(out, opGlobalSet, uint64(w.fuel))
	return w.check(appendIndexed(out, opLocalGet, locals.long))
}

// check yields when the number on top of the stack is below zero.
func (w *metered) check(out []byte) []byte {
	out = append(out, opI64Const, 0, opI64LtS, opIf, blockEmpty)
	out = appendIndexed(out, opCall, uint64(w.yield))
	return append(out, opEnd)
}

// chargeCount charges the instruction that follows by the count on top of the stack, which it leaves there.
func (w *metered) chargeCount(out []byte, locals scratchLocals) []byte {
	out = appendIndexed(out, opLocalSet, locals.short)
	out = appendIndexed(out, opGlobalGet, uint64(w.fuel))
	out = appendIndexed(out, opLocalGet, locals.short)
	out = append(out, opI64ExtendU, opI64Const, bulkShift, opI64ShrU, opI64Sub)
	out = w.settle(out, locals)
	return appendIndexed(out, opLocalGet, locals.short)
}

// enter takes a frame from the depth, and yields below zero: the host ends the call.
func (w *metered) enter(out []byte, frame int64, locals scratchLocals) []byte {
	out = appendIndexed(out, opGlobalGet, uint64(w.depth))
	out = appendSigned(append(out, opI32Const), frame)
	out = appendIndexed(append(out, opI32Sub), opLocalTee, locals.short)
	out = appendIndexed(out, opGlobalSet, uint64(w.depth))
	out = appendIndexed(out, opLocalGet, locals.short)
	out = append(out, opI32Const, 0, opI32LtS, opIf, blockEmpty)
	out = appendIndexed(out, opCall, uint64(w.yield))
	return append(out, opEnd)
}

func appendIndexed(b []byte, op byte, index uint64) []byte { return appendUint(append(b, op), index) }

func appendUint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func appendSigned(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7F)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
