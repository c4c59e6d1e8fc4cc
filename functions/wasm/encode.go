package wasm

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// baked is what a guest left behind after its initialisation: it replaces data segments and initial globals.
type baked struct {
	globals []uint64 // of the guest's mutable globals, by index; others are ignored
	pages   uint32   // of the memory image
}

// variant says which of the three forms of a metered module is written.
type variant struct {
	bake          *baked // nil: the module initialises itself
	exportGlobals bool   // for the run whose globals are baked
}

// encode writes a metered module.
func (w *metered) encode(v variant) []byte {
	m := w.m
	imports := w.importSection()
	out := append(make([]byte, 0, len(w.code)+len(m.data)+(64<<10)), header...)
	out = appendSection(out, secType, w.typeSection())
	out = appendSection(out, secImport, imports)
	out = appendSection(out, secFunction, m.functionSection())
	if m.tables != nil {
		out = appendSection(out, secTable, m.tables)
	}
	out = appendSection(out, secMemory, m.memorySectionBytes(v.bake))
	out = appendSection(out, secGlobal, w.globalSection(v.bake))
	out = appendSection(out, secExport, w.exportSection(v))
	if len(m.elements) > 0 {
		out = appendSection(out, secElement, w.elementSection())
	}
	if m.dataCount != nil && v.bake == nil {
		out = appendSection(out, secDataCount, m.dataCount)
	}
	out = appendSection(out, secCode, w.code)
	if m.data != nil && v.bake == nil {
		out = appendSection(out, secData, m.data)
	}
	if names := w.nameSection(); names != nil {
		out = appendSection(out, secCustom, names)
	}
	return out
}

// canonical writes a module as it was read, in the shortest form and without its custom sections. wazero validates this
// and never the upload, so that the two cannot read the same bytes differently, and what was not looked at here, such as
// the tables of the name section, is not looked at there.
func (m *module) canonical() []byte {
	w := &metered{m: m, types: m.types}
	out := append(make([]byte, 0, m.bytes), header...)
	out = appendSection(out, secType, w.typeSection())
	out = appendSection(out, secImport, w.importSection())
	out = appendSection(out, secFunction, m.functionSection())
	if m.tables != nil {
		out = appendSection(out, secTable, m.tables)
	}
	out = appendSection(out, secMemory, m.memorySectionBytes(nil))
	out = appendSection(out, secGlobal, m.plainGlobals())
	out = appendSection(out, secExport, appendExports(nil, m.exports))
	if m.start >= 0 {
		out = appendSection(out, secStart, appendUint(nil, uint64(m.start)))
	}
	if len(m.elements) > 0 {
		out = appendSection(out, secElement, w.elementSection())
	}
	if m.dataCount != nil {
		out = appendSection(out, secDataCount, m.dataCount)
	}
	code := appendUint(make([]byte, 0, m.bytes), uint64(len(m.bodies)))
	for i := range m.bodies {
		b := &m.bodies[i]
		groups := appendUint(nil, uint64(b.localGroups))
		code = appendUint(code, uint64(len(groups)+len(b.locals)+len(b.code)))
		code = append(append(append(code, groups...), b.locals...), b.code...)
	}
	out = appendSection(out, secCode, code)
	if m.data != nil {
		out = appendSection(out, secData, m.data)
	}
	return out
}

func (m *module) plainGlobals() []byte {
	b := appendUint(nil, uint64(len(m.globals)))
	for _, g := range m.globals {
		mutable := byte(0)
		if g.mutable {
			mutable = 1
		}
		b = append(append(b, g.typ, mutable), g.init...)
	}
	return b
}

func appendExports(b []byte, all []export) []byte {
	b = appendUint(b, uint64(len(all)))
	for _, e := range all {
		b = appendUint(append(appendName(b, e.name), e.kind), uint64(e.index))
	}
	return b
}

func appendSection(out []byte, id byte, content []byte) []byte {
	return append(appendUint(append(out, id), uint64(len(content))), content...)
}

func appendName(b []byte, s string) []byte { return append(appendUint(b, uint64(len(s))), s...) }

func (w *metered) typeSection() []byte {
	b := appendUint(nil, uint64(len(w.types)))
	for _, t := range w.types {
		b = append(b, 0x60)
		b = append(appendUint(b, uint64(len(t.params))), t.params...)
		b = append(appendUint(b, uint64(len(t.results))), t.results...)
	}
	return b
}

// importSection may append the type of yield, so it is written before the types.
func (w *metered) importSection() []byte {
	all := w.m.imports
	if w.added {
		all = append(all[:len(all):len(all)], funcImport{module: hostModule, name: yieldName, typ: w.typeOf(nil, nil)})
	}
	b := appendUint(nil, uint64(len(all)))
	for _, f := range all {
		b = appendName(appendName(b, f.module), f.name)
		b = appendUint(append(b, kindFunc), uint64(f.typ))
	}
	return b
}

func (m *module) functionSection() []byte {
	b := appendUint(nil, uint64(len(m.funcs)))
	for _, t := range m.funcs {
		b = appendUint(b, uint64(t))
	}
	return b
}

func (m *module) memorySectionBytes(bake *baked) []byte {
	l := m.memory
	if bake != nil {
		l.min = bake.pages
	}
	if !l.hasMax {
		return appendUint([]byte{1, 0}, uint64(l.min))
	}
	return appendUint(appendUint([]byte{1, 1}, uint64(l.min)), uint64(l.max))
}

func (w *metered) globalSection(bake *baked) []byte {
	b := appendUint(nil, uint64(len(w.m.globals))+2)
	for i, g := range w.m.globals {
		b = append(b, g.typ)
		if !g.mutable {
			b = append(append(b, 0), w.constExpr(g.init)...)
			continue
		}
		b = append(b, 1)
		if bake == nil {
			b = append(b, w.constExpr(g.init)...)
			continue
		}
		b = append(appendConst(b, g.typ, bake.globals[i]), opEnd)
	}
	b = append(b, typeI64, 1, opI64Const, 0, opEnd)
	return append(b, typeI32, 1, opI32Const, 0, opEnd)
}

// constExpr is a constant expression with its function indices moved.
func (w *metered) constExpr(expr []byte) []byte {
	if !w.added {
		return expr
	}
	var out []byte
	c := &cursor{b: expr}
	for !c.done() {
		from := c.at
		op := c.u8()
		if op == opRefFunc {
			out = appendIndexed(out, op, uint64(w.index(c.u32())))
			continue
		}
		c.immediates(op)
		out = append(out, expr[from:c.at]...)
	}
	return out
}

// appendConst appends the instruction that gives a numeric global its value as wazero reports it.
func appendConst(b []byte, typ byte, v uint64) []byte {
	switch typ {
	case typeI32:
		return appendSigned(append(b, opI32Const), int64(int32(uint32(v))))
	case typeI64:
		return appendSigned(append(b, opI64Const), int64(v))
	case typeF32:
		return binary.LittleEndian.AppendUint32(append(b, opF32Const), uint32(v))
	case typeF64:
		return binary.LittleEndian.AppendUint64(append(b, opF64Const), v)
	}
	panic(fmt.Sprintf("wasm: a global of type %#x cannot be baked", typ))
}

func (w *metered) exportSection(v variant) []byte {
	all := make([]export, 0, len(w.m.exports)+3)
	for _, e := range w.m.exports {
		if e.kind == kindFunc {
			e.index = w.index(e.index)
		}
		all = append(all, e)
	}
	all = append(all, export{exportFuel, kindGlobal, w.fuel}, export{exportDepth, kindGlobal, w.depth})
	if w.m.start >= 0 && v.bake == nil {
		all = append(all, export{exportStart, kindFunc, w.index(uint32(w.m.start))})
	}
	if v.exportGlobals {
		for i, g := range w.m.globals {
			if g.mutable {
				all = append(all, export{globalName(i), kindGlobal, uint32(i)})
			}
		}
	}
	return appendExports(nil, all)
}

func globalName(i int) string { return fmt.Sprintf("%s%d", exportGlobal, i) }

func (w *metered) elementSection() []byte {
	b := appendUint(nil, uint64(len(w.m.elements)))
	for _, e := range w.m.elements {
		b = append(b, e.head...)
		if e.isExpr {
			b = appendUint(b, uint64(len(e.exprs)))
			for _, expr := range e.exprs {
				b = append(b, w.constExpr(expr)...)
			}
			continue
		}
		b = appendUint(b, uint64(len(e.funcs)))
		for _, f := range e.funcs {
			b = appendUint(b, uint64(w.index(f)))
		}
	}
	return b
}

// functionNames is the subsection of the name section that names functions.
const functionNames = 1

// maxNameBytes is where the name of a function is cut: a failure carries 20 of them.
const maxNameBytes = 256

// nameSection keeps the names of functions, with their indices moved, for the stacks of failures. Damaged names are
// left out: they are decoration.
func (w *metered) nameSection() []byte {
	c := &cursor{b: w.m.names}
	for !c.done() {
		id := c.u8()
		sub := &cursor{b: c.take(c.u32())}
		if id != functionNames {
			continue
		}
		n := sub.count("names", maxFunctions+maxImports)
		names := appendUint(nil, uint64(n))
		for range n {
			names = appendUint(names, uint64(w.index(sub.u32())))
			name := sub.take(sub.u32())
			names = appendName(names, strings.ToValidUTF8(string(name[:min(len(name), maxNameBytes)]), ""))
		}
		if sub.refusal != nil || c.refusal != nil {
			return nil
		}
		return appendSection(appendName(nil, "name"), functionNames, names)
	}
	return nil
}
