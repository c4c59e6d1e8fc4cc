package wasm

func (c *cursor) limits() (l limitsPair) {
	flags := c.u8()
	if flags > 1 {
		c.fail(ForbiddenInstruction, "shared and 64-bit memories and tables are not run")
	}
	l.min = c.u32()
	if flags&1 != 0 {
		l.hasMax = true
		l.max = c.u32()
	}
	return l
}

func (m *module) tableSection(c *cursor) {
	for range c.count("tables", maxTables) {
		if t := c.u8(); t != typeFunc && t != typeExt {
			c.fail(Malformed, "a table's type is unknown")
		}
		m.tableMins = append(m.tableMins, c.limits().min)
	}
}

func (m *module) memorySection(c *cursor) {
	for range c.count("memories", 1) {
		m.memory = c.limits()
		m.hasMemory = true
	}
}

func (m *module) globalSection(c *cursor) {
	m.globals = make([]global, 0, c.count("globals", maxGlobals))
	for range cap(m.globals) {
		t, mutable := c.u8(), c.u8()
		if !valueType(t) {
			c.fail(Malformed, unknownType)
		}
		if mutable > 1 {
			c.fail(Malformed, "a global's mutability is unknown")
		}
		m.globals = append(m.globals, global{typ: t, mutable: mutable == 1, init: c.constExpr()})
		if c.refusal != nil {
			return
		}
	}
}

// constExpr takes a constant expression, its end included: one constant. Other globals would have to be imported.
func (c *cursor) constExpr() []byte {
	from := c.at
	switch op := c.u8(); op {
	case opI32Const, opI64Const, opF32Const, opF64Const, opRefNull, opRefFunc, opSIMD:
		c.immediates(op)
	default:
		c.fail(Malformed, "an instruction is not allowed in a constant expression")
	}
	if c.u8() != opEnd {
		c.fail(Malformed, "a constant expression is more than one constant")
	}
	if c.refusal != nil {
		return nil
	}
	return c.b[from:c.at:c.at]
}

// offset takes the constant expression of a place in a table or a memory.
func (c *cursor) offset() uint32 {
	if c.u8() != opI32Const {
		c.fail(Malformed, "a segment's place is no constant")
	}
	v := c.signed(32)
	if c.u8() != opEnd {
		c.fail(Malformed, "a segment's place is more than one constant")
	}
	return uint32(v)
}

func (m *module) exportSection(c *cursor) {
	m.exports = make([]export, 0, c.count("exports", maxExports))
	for range cap(m.exports) {
		e := export{name: c.name(), kind: c.u8(), index: c.u32()}
		if c.refusal != nil {
			return
		}
		m.exports = append(m.exports, e)
	}
}

func (m *module) elementSection(c *cursor) {
	total := 0
	for range c.count("element segments", maxElements) {
		from := c.at
		flags := c.u32()
		if flags > 7 {
			c.fail(Malformed, "an element segment's flags are unknown")
		}
		passive, indexed := flags&1 != 0, flags&2 != 0
		table, at := uint32(0), uint32(0)
		if !passive && indexed {
			table = c.u32()
		}
		if !passive {
			at = c.offset()
		}
		e := element{isExpr: flags&4 != 0}
		if passive || indexed {
			if kind := c.u8(); kind != 0 && kind != typeFunc && kind != typeExt { // wazero checks which of them
				c.fail(Malformed, "an element segment's type is unknown")
			}
		}
		e.head = c.b[from:c.at:c.at]
		n := c.count("elements", maxElements)
		if total += n; total > maxElements {
			c.fail(Limit, "elements: "+ofLimit(int64(total), maxElements))
		}
		if !passive && (int64(table) >= int64(len(m.tableMins)) || int64(at)+int64(n) > int64(m.tableMins[table])) {
			c.fail(Malformed, "elements lie outside of their table")
		}
		for range n {
			if e.isExpr {
				e.exprs = append(e.exprs, c.constExpr())
			} else {
				e.funcs = append(e.funcs, c.u32())
			}
			if c.refusal != nil {
				return
			}
		}
		m.elements = append(m.elements, e)
	}
}

func (m *module) codeSection(c *cursor) {
	m.bodies = make([]body, 0, c.count("functions", maxFunctions))
	for i := range cap(m.bodies) {
		size := c.u32()
		if size > maxBodyBytes {
			c.fail(Limit, function(len(m.imports)+i)+": body bytes: "+ofLimit(int64(size), maxBodyBytes))
		}
		at := c.base + c.at
		f := &cursor{b: c.take(size), base: at}
		if c.refusal != nil {
			return
		}
		b := body{localGroups: f.u32()}
		from := f.at
		for n := b.localGroups; n > 0 && f.refusal == nil; n-- {
			b.localCount += uint64(f.u32())
			if !valueType(f.u8()) {
				f.fail(Malformed, unknownType)
			}
			if b.localCount > maxLocals {
				f.fail(Limit, function(len(m.imports)+i)+": locals: "+ofLimit(int64(b.localCount), maxLocals))
			}
		}
		if f.refusal != nil {
			c.refusal = f.refusal
			return
		}
		b.locals, b.code, b.at = f.b[from:f.at], f.b[f.at:], at+f.at
		m.bodies = append(m.bodies, b)
	}
}

func (m *module) dataSection(c *cursor) {
	m.segments = make([]segment, 0, c.count("data segments", maxSegments))
	for range cap(m.segments) {
		s := segment{}
		switch c.u32() {
		case 0:
			s.at = c.offset()
		case 1:
			m.passive = true
		case 2:
			if c.u32() != 0 {
				c.fail(Malformed, "a data segment is for a memory that is not there")
			}
			s.at = c.offset()
		default:
			c.fail(Malformed, "a data segment's flags are unknown")
		}
		s.data = c.take(c.u32())
		if c.refusal != nil {
			return
		}
		m.segments = append(m.segments, s)
	}
}
