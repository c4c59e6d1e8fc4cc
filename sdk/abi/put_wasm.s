//go:build !purego && !tinygo

// As pass_wasm.s, which says why.

#include "go_asm.h"
#include "textflag.h"

// func put(w *Writer, op PutOp, target, key string, value *byte, size int)
TEXT ·put(SB), NOSPLIT, $0-64
	MOVD w+0(FP), R0
	MOVD target_len+24(FP), R4
	MOVD key_len+40(FP), R5
	MOVD size+56(FP), R6
	MOVD Writer_at(R0), R1

	// staged, odd, a name too long, no room; R2 is the size of the block
	I32Load8U op+8(FP)
	I32Load8U Writer_odd(R0)
	I32Or
	Get R4
	I64Const $16
	I64ShrU
	I32WrapI64
	I32Or
	Get R4
	Get R5
	I64Add
	Get R6
	I64Add
	I64Const $47
	I64Add
	I64Const $-8
	I64And
	Tee R2
	I64Load Writer_size(R0)
	Get R1
	I64Sub
	I64GtS
	I32Or
	If
		JMP ·putInGo(SB)
	End

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

	// R3 is the block, with padding in the last 8 bytes
	I64Load Writer_base(R0)
	Get R1
	I64Add
	Tee R3
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
	I64Const $~0x10000000000
	I64Const $-1
	Get R5
	I32WrapI64
	Select
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
