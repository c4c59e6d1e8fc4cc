package wasm

import (
	"fmt"
	"strings"
)

// encode writes a metered module. When it is bakeable, its host fills the memory and sets the globals, for the first run and
// for every instance: so one compilation serves both.
func (w *metered) encode() []byte {
	m := w.m
	imports := w.importSection()
	out := append(make([]byte, 0, len(w.code)+len(m.data)+(64<<10)), header...)
	out = appendSection(out, secType, w.typeSection())
	out = appendSection(out, secImport, imports)
	out = appendSection(out, secFunction, m.functionSection())
	if m.tables != nil {
		out = appendSection(out, secTable, m.tables)
	}
	out = appendSection(out, secMemory, m.memorySectionBytes())
	out = appendSection(out, secGlobal, w.globalSection())
	out = appendSection(out, secExport, w.exportSection())
	if len(m.elements) > 0 {
		out = appendSection(out, secElement, w.elementSection())
	}
	if m.dataCount != nil && !w.bakeable {
		out = appendSection(out, secDataCount, m.dataCount)
	}
	out = appendSection(out, secCode, w.code)
	if m.data != nil && !w.bakeable {
		out = appendSection(out, secData, m.data)
	}
	if names := w.nameSection(); names != nil {
		out = appendSection(out, secCustom, names)
	}
	return out
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

func (m *module) memorySectionBytes() []byte {
	l := m.memory
	if !l.hasMax {
		return appendUint([]byte{1, 0}, uint64(l.min))
	}
	return appendUint(appendUint([]byte{1, 1}, uint64(l.min)), uint64(l.max))
}

func (w *metered) globalSection() []byte {
	b := appendUint(nil, uint64(len(w.m.globals))+2)
	for _, g := range w.m.globals {
		mutable := byte(0)
		if g.mutable {
			mutable = 1
		}
		b = append(append(b, g.typ, mutable), w.constExpr(g.init)...)
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

func (w *metered) exportSection() []byte {
	all := make([]export, 0, len(w.m.exports)+3)
	for _, e := range w.m.exports {
		if e.kind == kindFunc {
			e.index = w.index(e.index)
		}
		all = append(all, e)
	}
	all = append(all, export{exportFuel, kindGlobal, w.fuel}, export{exportDepth, kindGlobal, w.depth})
	if w.m.start >= 0 {
		all = append(all, export{exportStart, kindFunc, w.index(uint32(w.m.start))})
	}
	if w.bakeable {
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
