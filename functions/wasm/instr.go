package wasm

import "math"

// Opcodes that the rewriter looks at; every other one is only skipped.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0B
	opBr           = 0x0C
	opBrIf         = 0x0D
	opBrTable      = 0x0E
	opReturn       = 0x0F
	opCall         = 0x10
	opCallIndirect = 0x11
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableSet     = 0x26
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LtS       = 0x48
	opI64LtS       = 0x53
	opI32Add       = 0x6A
	opI32Sub       = 0x6B
	opI64Sub       = 0x7D
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xAD
	opRefNull      = 0xD0
	opRefFunc      = 0xD2
	opMisc         = 0xFC
	opSIMD         = 0xFD
)

// Instructions behind opMisc.
const (
	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableFill  = 17
)

// bulk says whether an instruction behind opMisc works on as much as the count on top of the stack says.
func bulk(misc uint32) bool {
	switch misc {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill, miscTableInit, miscTableCopy, miscTableFill:
		return true
	}
	return false
}

// reshapes says whether an instruction behind opMisc writes to a table or names a segment.
func reshapes(misc uint32) bool {
	switch misc {
	case miscMemoryInit, miscDataDrop, miscTableInit, miscElemDrop, miscTableCopy, miscTableFill:
		return true
	}
	return false
}

// immediate says what follows an opcode.
type immediate uint8

const (
	immInvalid immediate = iota
	immNone
	immIndex // one u32
	immPair  // two u32
	immTypes // select with types
	immByte
	imm32 // signed
	imm64 // signed
	immF32
	immF64
	immMisc
	immSIMD
)

var immediates = func() (t [256]immediate) {
	set := func(from, to int, k immediate) {
		for i := from; i <= to; i++ {
			t[i] = k
		}
	}
	set(opUnreachable, opNop, immNone)
	set(opElse, opElse, immNone)
	set(opEnd, opEnd, immNone)
	set(opReturn, opReturn, immNone)
	set(opCall, opCall, immIndex)
	set(opCallIndirect, opCallIndirect, immPair)
	set(0x1A, 0x1B, immNone)
	set(0x1C, 0x1C, immTypes)
	set(opLocalGet, 0x26, immIndex)
	set(0x28, 0x3E, immPair)
	set(0x3F, opMemoryGrow, immIndex)
	set(opI32Const, opI32Const, imm32)
	set(opI64Const, opI64Const, imm64)
	set(opF32Const, opF32Const, immF32)
	set(opF64Const, opF64Const, immF64)
	set(0x45, 0xC4, immNone)
	set(opRefNull, opRefNull, immByte)
	set(0xD1, 0xD1, immNone)
	set(opRefFunc, opRefFunc, immIndex)
	set(opMisc, opMisc, immMisc)
	set(opSIMD, opSIMD, immSIMD)
	return t
}()

// immediates skips what follows op, but for calls, branches, blocks and variables, whose operands the planner reads, and for opMisc returns which instruction it is.
func (c *cursor) immediates(op byte) (misc uint32) {
	switch immediates[op] {
	case immNone:
	case immIndex:
		c.u32()
	case immPair:
		c.u32()
		c.u32()
	case immTypes:
		if c.u8() != 1 || !valueType(c.u8()) {
			c.fail(Malformed, "a select with a type has not exactly one")
		}
	case immByte:
		if t := c.u8(); t != typeFunc && t != typeExt {
			c.fail(Malformed, "the type of a null reference is unknown")
		}
	case imm32:
		c.signed(32)
	case imm64:
		c.signed(64)
	case immF32:
		c.take(4)
	case immF64:
		c.take(8)
	case immMisc:
		return c.misc()
	case immSIMD:
		c.simd()
	default:
		c.fail(ForbiddenInstruction, forbidden(op))
	}
	return 0
}

func (c *cursor) misc() uint32 {
	sub := c.u32()
	switch {
	case sub <= 7:
	case sub == miscTableGrow:
		c.fail(ForbiddenInstruction, "table.grow is not run: no limit would cover it")
	case sub == miscMemoryInit, sub == miscMemoryCopy, sub == miscTableInit, sub == miscTableCopy:
		c.u32()
		c.u32()
	case sub <= miscTableFill:
		c.u32()
	default:
		c.fail(ForbiddenInstruction, "an instruction behind 0xfc is unknown")
	}
	return sub
}

// blockEmpty is the type of a block without parameters and results.
const blockEmpty = 0x40

// blockType reads the type of a block: empty or one value, both -1, or the index of a function type. All but an index are
// one byte here; an index may be padded.
func (c *cursor) blockType() int64 {
	at := c.at
	if first := c.u8(); first == blockEmpty || valueType(first) {
		return -1
	}
	c.at = at
	v := c.signed(33)
	if v < 0 || v > math.MaxUint32 {
		c.fail(Malformed, "a block's type is unknown")
	}
	return v
}

// simd skips what follows the prefix. wazero reads the instruction as one byte, and the second byte of those above 127 as
// a nop: so they are taken in their shortest form only, which both read alike.
func (c *cursor) simd() {
	first := c.u8()
	sub := uint32(first)
	if first >= 0x80 {
		second := c.u8()
		if sub = uint32(first&0x7F) | uint32(second)<<7; second == 0 || second >= 0x80 {
			c.fail(Malformed, "a SIMD instruction is longer than it need be")
		}
	}
	switch {
	case sub <= 11 || sub == 92 || sub == 93:
		c.u32()
		c.u32()
	case sub == 12 || sub == 13:
		c.take(16)
	case sub >= 21 && sub <= 34:
		c.u8()
	case sub >= 84 && sub <= 91:
		c.u32()
		c.u32()
		c.u8()
	case sub <= 255:
	default:
		c.fail(ForbiddenInstruction, "relaxed SIMD is not run: its results differ between processors")
	}
}

func forbidden(op byte) string {
	switch {
	case op >= 0x06 && op <= 0x0A, op == 0x18, op == 0x19, op == 0x1F:
		return "exception handling is not run"
	case op == 0x12, op == 0x13:
		return "tail calls are not run"
	case op == 0xFE:
		return "threads and atomics are not run"
	}
	return "opcode " + hex(op) + " is unknown"
}
