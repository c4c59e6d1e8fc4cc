//go:build !purego && !tinygo

// The innermost steps of a batch, for modules: the twins of those in leaves.go, which say what they do. Go compiles a
// function to a switch over resume points around code that reloads each argument at each use, and a copy to a call with
// spills around it: in these four it takes three times the instructions. BenchmarkRecordsOfTheGoSDK in functions/wasm pays
// for them: 1750 units a message without, 1150 with, at one message per key.
//
// They store no pointers, so the collector's barrier need not know, and where anything is unusual they go on in Go, which
// takes over their arguments and their result.

#include "go_asm.h"
#include "textflag.h"

// func put(w *Writer, op PutOp, target, key string, value *byte, size int)
TEXT ·put(SB), NOSPLIT, $0-64
	MOVD w+0(FP), R0
	MOVD target_len+24(FP), R4
	MOVD key_len+40(FP), R5
	MOVD size+56(FP), R6
	MOVD Writer_at(R0), R1

	// R2 is the size of the block
	Get R4
	Get R5
	I64Add
	Get R6
	I64Add
	I64Const $47
	I64Add
	I64Const $-8
	I64And
	Set R2

	// staged, odd, a name too long, no room
	I64Load op+8(FP)
	I64Const $1
	I64And
	I64Load8U Writer_odd(R0)
	I64Or
	Get R4
	I64Const $16
	I64ShrU
	I64Or
	I64Const $0
	I64Ne
	Get R2
	I64Load Writer_size(R0)
	Get R1
	I64Sub
	I64GtS
	I32Or
	If
		JMP ·putOdd(SB)
	End

	// R3 is the block
	I64Load Writer_base(R0)
	Get R1
	I64Add
	Set R3
	Get R0
	I32WrapI64
	Get R1
	Get R2
	I64Add
	I64Store $Writer_at
	Get R0
	I32WrapI64
	I64Load Writer_ops(R0)
	I64Const $1
	I64Add
	I64Store $Writer_ops

	// the padding, in the last 8 bytes
	Get R3
	Get R2
	I64Add
	I64Const $-8
	I64Add
	I32WrapI64
	I64Const $0
	I64Store $0

	// the header; an op asks for NoKey in case that its key is empty
	Get R3
	I32WrapI64
	I64Load op+8(FP)
	Get R5
	I64Const $0
	I64Ne
	I64ExtendI32U
	I64Const $40
	I64Shl
	I64Const $-1
	I64Xor
	I64And
	Get R2
	I64Or
	Get R4
	I64Const $48
	I64Shl
	I64Or
	I64Store $0
	Get R3
	I32WrapI64
	I64Load Writer_done(R0)
	Get R5
	I64Const $32
	I64Shl
	I64Or
	I64Store $8
	MOVD R6, 16(R3)
	MOVD $0, 24(R3)
	MOVD $0, 32(R3)

	// the parts
	Get R3
	I64Const $40
	I64Add
	Tee R3
	I32WrapI64
	I64Load target_base+16(FP)
	I32WrapI64
	Get R4
	I32WrapI64
	MemoryCopy
	Get R3
	Get R4
	I64Add
	Tee R3
	I32WrapI64
	I64Load key_base+32(FP)
	I32WrapI64
	Get R5
	I32WrapI64
	MemoryCopy
	Get R3
	Get R5
	I64Add
	I32WrapI64
	I64Load value+48(FP)
	I32WrapI64
	Get R6
	I32WrapI64
	MemoryCopy
	RET

// func turn(w *Writer)
TEXT ·turn(SB), NOSPLIT, $0-8
	MOVD w+0(FP), R0
	MOVD Writer_at(R0), R1
	MOVD Writer_group(R0), R2

	// the first group, odd, no room
	Get R2
	I64Eqz
	I64Load8U Writer_odd(R0)
	I64Const $0
	I64Ne
	I32Or
	I64Load Writer_size(R0)
	Get R1
	I64Sub
	I64Const $32
	I64LtS
	I32Or
	If
		JMP ·turnOdd(SB)
	End

	// R3 is the header of the open group
	I64Load Writer_base(R0)
	Get R2
	I64Add
	Set R3
	Get R3
	I32WrapI64
	Get R1
	Get R2
	I64Sub
	I64Load Writer_done(R0)
	I64Const $32
	I64Shl
	I64Or
	I64Store $0
	Get R3
	I32WrapI64
	I64Load16U Writer_code(R0)
	I64Load Writer_writes(R0)
	I64Const $16
	I64Shl
	I64Or
	I64Load Writer_ops(R0)
	I64Const $32
	I64Shl
	I64Or
	I64Store $8
	Get R3
	I32WrapI64
	I64Load Writer_mark(R0)
	Get R2
	I64Sub
	I64Const $32
	I64Sub
	I64Load Writer_text(R0)
	I64Const $32
	I64Shl
	I64Or
	I64Store $16
	MOVD $0, 24(R3)

	Get R0
	I32WrapI64
	Get R1
	I64Store $Writer_group
	Get R1
	I64Const $32
	I64Add
	Set R1
	Get R0
	I32WrapI64
	Get R1
	I64Store $Writer_at
	Get R0
	I32WrapI64
	Get R1
	I64Store $Writer_mark
	Get R0
	I32WrapI64
	I64Load Writer_groups(R0)
	I64Const $1
	I64Add
	I64Store $Writer_groups
	MOVD $0, Writer_ops(R0)
	MOVD $0, Writer_done(R0)
	MOVD $0, Writer_writes(R0)
	MOVD $0, Writer_text(R0)
	Get R0
	I32WrapI64
	I64Const $0
	I64Store16 $Writer_code
	RET

// func nextGroup(r *Cursor) bool
TEXT ·nextGroup(SB), NOSPLIT, $0-9
	MOVD r+0(FP), R0
	MOVD Cursor_next(R0), R1

	// R2 is what is left of the batch
	I64Load Cursor_size(R0)
	Get R1
	I64Sub
	Set R2

	// the last group, messages that did not fill theirs, no room
	I64Load Cursor_groups(R0)
	I64Eqz
	I64Load Cursor_messages(R0)
	I64Eqz
	I64Load Cursor_at(R0)
	Get R1
	I64Ne
	I32And
	I32Or
	Get R2
	I64Const $24
	I64LtS
	I32Or
	If
		JMP ·noGroup(SB)
	End

	// R3 is the header, R4 the length of the block, R5 that of the key, R6 where the states start in it
	I64Load Cursor_base(R0)
	Get R1
	I64Add
	Set R3
	I64Load32U 0(R3)
	Set R4
	I64Load32U 8(R3)
	Set R5
	Get R5
	I64Const $7
	I64Add
	I64Const $-8
	I64And
	I64Load32U 16(R3)
	I64Const $7
	I64Add
	I64Const $-8
	I64And
	I64Add
	I64Const $24
	I64Add
	Set R6
	Get R4
	Get R2
	I64GtU
	Get R6
	Get R4
	I64GtU
	I32Or
	Get R4
	I64Const $7
	I64And
	I64Const $0
	I64Ne
	I32Or
	If
		JMP ·damagedGroup(SB)
	End

	Get R0
	I32WrapI64
	I64Load Cursor_groups(R0)
	I64Const $-1
	I64Add
	I64Store $Cursor_groups
	MOVD R1, Cursor_group(R0)
	MOVD R5, Cursor_key(R0)
	Get R0
	I32WrapI64
	Get R1
	Get R6
	I64Add
	I64Store $Cursor_at
	Get R0
	I32WrapI64
	Get R1
	Get R4
	I64Add
	I64Store $Cursor_next
	Get R0
	I32WrapI64
	I64Load16U 4(R3)
	I64Store $Cursor_function
	Get R0
	I32WrapI64
	I64Load16U 6(R3)
	I64Store $Cursor_states
	Get R0
	I32WrapI64
	I64Load32U 12(R3)
	I64Store $Cursor_messages
	Get SP
	I64Const $1
	I64Store8 ret+8(FP)
	RET

// func nextMessage(r *Cursor) bool
TEXT ·nextMessage(SB), NOSPLIT, $0-9
	MOVD r+0(FP), R0
	MOVD Cursor_at(R0), R1

	// R2 is what is left of the group
	I64Load Cursor_next(R0)
	Get R1
	I64Sub
	Set R2
	I64Load Cursor_messages(R0)
	I64Eqz
	Get R2
	I64Const $40
	I64LtS
	I32Or
	If
		JMP ·noMessage(SB)
	End

	// R3 is the header, R4 the length of the block, R5 that of the value
	I64Load Cursor_base(R0)
	Get R1
	I64Add
	Set R3
	I64Load32U 0(R3)
	Set R4
	I64Load32U 24(R3)
	Set R5
	Get R5
	I64Load16U 6(R3)
	I64Add
	I64Load16U 28(R3)
	I64Add
	I64Load32U 32(R3)
	I64Add
	I64Load32U 36(R3)
	I64Add
	I64Const $47
	I64Add
	I64Const $-8
	I64And
	Get R4
	I64Ne
	Get R4
	Get R2
	I64GtU
	I32Or
	If
		JMP ·damagedMessage(SB)
	End

	Get R0
	I32WrapI64
	I64Load Cursor_messages(R0)
	I64Const $-1
	I64Add
	I64Store $Cursor_messages
	MOVD R1, Cursor_body(R0)
	Get R0
	I32WrapI64
	Get R1
	Get R4
	I64Add
	I64Store $Cursor_at
	MOVD R5, Cursor_value(R0)
	Get SP
	I64Const $1
	I64Store8 ret+8(FP)
	RET
