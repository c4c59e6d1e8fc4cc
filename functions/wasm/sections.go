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
		if mutable > 1 {
			c.fail(Malformed, "a global's mutability is unknown")
		}
		m.globals = append(m.globals, global{typ: t, mutable: mutable == 1, init: c.constExpr()})
		if c.refusal != nil {
			return
		}
	}
}

// constExpr takes a constant expression, its end included.
func (c *cursor) constExpr() []byte {
	from := c.at
	for range maxConstInstructions {
		switch op := c.u8(); op {
		case opEnd:
			return c.b[from:c.at:c.at]
		case opGlobalGet, opI32Const, opI64Const, opF32Const, opF64Const, opRefNull, opRefFunc, opSIMD:
			c.immediates(op)
		default:
			c.fail(Malformed, "an instruction is not allowed in a constant expression")
		}
		if c.refusal != nil {
			return nil
		}
	}
	c.fail(Limit, "instructions of a constant expression: "+ofLimit(maxConstInstructions+1, maxConstInstructions))
	return nil
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
		if !passive && indexed {
			c.u32()
		}
		if !passive {
			c.constExpr()
		}
		e := element{isExpr: flags&4 != 0}
		if passive || indexed {
			c.u8() // the element kind or the reference type: wazero checks which
		}
		e.head = c.b[from:c.at:c.at]
		n := c.count("elements", maxElements)
		if total += n; total > maxElements {
			c.fail(Limit, "elements: "+ofLimit(int64(total), maxElements))
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
			f.u8()
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
	m.segments = c.count("data segments", maxSegments)
	for range m.segments {
		switch c.u32() {
		case 0:
			c.constExpr()
		case 1:
			m.passive = true
		case 2:
			c.u32()
			c.constExpr()
		default:
			c.fail(Malformed, "a data segment's flags are unknown")
		}
		c.take(c.u32())
		if c.refusal != nil {
			return
		}
	}
}
