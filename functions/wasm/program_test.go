package wasm

import "math/rand/v2"

// Places in the memory of a random module.
const (
	inAt  = 1 << 16
	outAt = 2 << 16
)

const opEqz = 0x45

// program writes one random function of two i32 parameters and an i32 result. Locals: 0 and 1 parameters, 2 a value.
type program struct {
	random *rand.Rand
	code   []byte
	open   int      // labels of blocks that are open; the function's own is one more
	calls  []uint32 // functions that may be called
	budget int
}

// Indices of a random module's globals and function types.
const (
	globalSteps  = 0
	globalTrace  = 1
	typeProduce  = 0
	typeDescribe = 1
	typeConvert  = 2
	typeBinary   = 3
)

func (p *program) emit(b ...byte) { p.code = append(p.code, b...) }

func (p *program) number(v int64) { p.code = appendSigned(append(p.code, opI32Const), v) }

// count adds one to the statements run, and ends the function when there were too many: every program ends.
func (p *program) count() {
	p.emit(opGlobalGet, globalSteps, opI32Const, 1, opI32Add, opGlobalSet, globalSteps)
	p.emit(opGlobalGet, globalSteps)
	p.number(20_000)
	p.emit(0x4A, opIf, 0x40, opLocalGet, 2, opReturn, opEnd) // i32.gt_s
}

// work is n+2 instructions that leave nothing on the stack.
func (p *program) work(n int) {
	p.emit(opLocalGet, 2)
	for range n {
		p.emit(opEqz)
	}
	p.emit(opLocalSet, 2)
}

func (p *program) expression() {
	p.emit(opLocalGet, byte(p.random.IntN(3)))
	for range p.random.IntN(3) {
		p.emit(opLocalGet, byte(p.random.IntN(3)))
		p.emit([]byte{opI32Add, opI32Sub, 0x6C, 0x71, 0x73, 0x77}[p.random.IntN(6)]) // mul, and, xor, rotl
		p.number(p.random.Int64N(1000))
		p.emit(opI32Add)
	}
}

func (p *program) statements() {
	for n := p.random.IntN(5); n >= 0 && p.budget > 0; n-- {
		p.budget--
		p.count()
		p.statement()
	}
}

func (p *program) statement() {
	switch p.random.IntN(10) {
	case 0, 1:
		p.expression()
		p.emit(opLocalSet, byte(p.random.IntN(3)))
	case 2:
		p.emit(opGlobalGet, globalTrace)
		p.number(31)
		p.emit(0x6C)
		p.expression()
		p.emit(opI32Add, opGlobalSet, globalTrace)
	case 3:
		p.inside(func() { p.emit(opBlock, 0x40) }, false)
	case 4:
		p.inside(func() { p.emit(opLoop, 0x40) }, false)
	case 5:
		p.inside(func() { p.expression(); p.emit(opIf, 0x40) }, p.random.IntN(2) == 0)
	case 6:
		if p.open > 0 {
			p.expression()
			p.emit(opBrIf, byte(p.random.IntN(p.open)))
		}
	case 7:
		p.leave()
	case 8:
		if len(p.calls) > 0 {
			p.expression()
			p.expression()
			p.code = appendIndexed(p.code, opCall, uint64(p.calls[p.random.IntN(len(p.calls))]))
			p.emit(opLocalSet, 2)
		}
	case 9:
		p.bulk()
	}
}

// bulk fills or copies a few bytes that nobody reads.
func (p *program) bulk() {
	p.number(64)
	p.number(p.random.Int64N(64))
	p.number(p.random.Int64N(64))
	if p.random.IntN(2) == 0 {
		p.emit(opMisc, miscMemoryFill, 0)
	} else {
		p.emit(opMisc, miscMemoryCopy, 0, 0)
	}
}

func (p *program) inside(begin func(), otherwise bool) {
	if p.open > 12 {
		return
	}
	begin()
	p.open++
	p.statements()
	if otherwise {
		p.emit(opElse)
		p.statements()
	}
	p.open--
	p.emit(opEnd)
}

// leave branches for sure, inside a condition: by br or br_table to any label, or out of the function.
func (p *program) leave() {
	p.expression()
	p.emit(opIf, 0x40)
	switch kind := p.random.IntN(4); {
	case kind == 0:
		p.expression()
		p.emit(opReturn)
	case kind == 1:
		p.expression()
		p.emit(opBr, byte(p.open+1)) // the function's own label
	case kind == 2:
		p.emit(opBr, byte(p.random.IntN(p.open+1)))
	default:
		p.expression()
		p.emit(opBrTable, 3)
		for range 4 {
			p.emit(byte(p.random.IntN(p.open + 1)))
		}
	}
	p.emit(opEnd)
}

// randomModule is a guest with five random functions, each of which may call those before it and itself.
func randomModule(seed uint64) []byte {
	random := rand.New(rand.NewPCG(seed, 7))
	var calls []uint32
	var programs [][]byte
	for n := range uint32(5) {
		calls = append(calls, firstProgram+n)
		p := &program{random: random, budget: 60, calls: calls}
		p.statements()
		p.emit(opLocalGet, 2, opEnd)
		programs = append(programs, p.code)
	}
	return programModule(programs)
}

// firstProgram is the index of the first program in a module, after the functions that every guest exports.
const firstProgram = 5

// programModule is a guest whose weir_batch calls the last program with the two numbers of the batch.
func programModule(programs [][]byte) []byte {
	m := &module{start: -1, hasMemory: true, memory: limitsPair{min: 3}}
	m.types = []funcType{{results: []byte(i32)}, {results: []byte(i64)}, {params: []byte(i32), results: []byte(i32)},
		{params: []byte(i32 + i32), results: []byte(i32)}}
	m.funcs = []uint32{typeProduce, typeDescribe, typeConvert, typeConvert, typeConvert}
	constant := func(v int64) []byte { return append(appendSigned([]byte{opI32Const}, v), opEnd) }
	bodies := [][]byte{constant(1), {opI64Const, 0, opEnd}, constant(inAt), constant(outAt)}
	batch := &program{}
	batch.emit(opI32Const, 0, opGlobalSet, globalSteps)
	batch.number(outAt)
	for _, at := range []int64{inAt, inAt + 4} {
		batch.number(at)
		batch.emit(0x28, 2, 0) // i32.load
	}
	batch.code = appendIndexed(batch.code, opCall, firstProgram+uint64(len(programs)-1))
	batch.emit(0x36, 2, 0) // i32.store
	for k, g := range []byte{globalTrace, globalSteps} {
		batch.number(outAt + 4 + 4*int64(k))
		batch.emit(opGlobalGet, g, 0x36, 2, 0)
	}
	batch.number(12)
	batch.emit(opEnd)
	bodies = append(append(bodies, batch.code), programs...)
	for k := range 2 {
		m.globals = append(m.globals, global{typ: typeI32, mutable: true, init: constant(int64(k))})
	}
	m.exports = []export{{"memory", kindMemory, 0}}
	for k, e := range guestExports[:firstProgram] {
		m.exports = append(m.exports, export{e.name, kindFunc, uint32(k)})
	}
	for range programs {
		m.funcs = append(m.funcs, typeBinary)
	}
	return m.plain(bodies, firstProgram)
}

// plain writes a module with these bodies. Functions from locals on have one i32 local.
func (m *module) plain(bodies [][]byte, locals int) []byte {
	for k, code := range bodies {
		b := body{code: code}
		if k >= locals {
			b.localGroups, b.locals = 1, []byte{1, typeI32}
		}
		m.bodies = append(m.bodies, b)
	}
	return m.canonical()
}

// canonical writes a module as it was read, in the shortest form and without its custom sections.
func (m *module) canonical() []byte {
	w := &metered{m: m, types: m.types}
	out := append([]byte(nil), header...)
	out = appendSection(out, secType, w.typeSection())
	out = appendSection(out, secImport, w.importSection())
	out = appendSection(out, secFunction, m.functionSection())
	if m.tables != nil {
		out = appendSection(out, secTable, m.tables)
	}
	out = appendSection(out, secMemory, m.memorySectionBytes())
	g := appendUint(nil, uint64(len(m.globals)))
	for _, v := range m.globals {
		mutable := byte(0)
		if v.mutable {
			mutable = 1
		}
		g = append(append(g, v.typ, mutable), v.init...)
	}
	out = appendSection(out, secGlobal, g)
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
	code := appendUint(nil, uint64(len(m.bodies)))
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
