//go:build !purego && !tinygo

// The innermost steps of a batch, for modules. Go compiles a function to a switch over resume points around code that
// reloads each argument at each use, and a copy to a call with spills around it: in these it takes three times the
// instructions. BenchmarkRecordsOfTheGoSDK in functions/wasm pays for them, and TestAModuleAnswersAsItsTwinInGo there compares.
//
// Each does what its twin of the same name with InGo does, and where anything is unusual, before it has changed anything,
// goes on in that one, which takes over its arguments and result. The pointers that they store lead into the batch, which its
// owner keeps, so the collector's barrier need not know; and never to the end of it, where another object may begin.

#include "go_asm.h"
#include "textflag.h"

// func group(p *Pass) int
TEXT ·group(SB), NOSPLIT, $0-16
	MOVD p+0(FP), R0
	MOVD (Pass_Cursor+Cursor_next)(R0), R1
	MOVD (Pass_Writer+Writer_at)(R0), R8

	// no group before, odd, no room in the result, the last group, no room in the batch
	I64Load (Pass_Writer+Writer_group)(R0)
	I64Eqz
	I64Load8U (Pass_Writer+Writer_odd)(R0)
	I64Const $0
	I64Ne
	I32Or
	I64Load (Pass_Writer+Writer_size)(R0)
	Get R8
	I64Sub
	I64Const $32
	I64LtS
	I32Or
	I64Load (Pass_Cursor+Cursor_groups)(R0)
	I64Eqz
	I32Or
	I64Load (Pass_Cursor+Cursor_size)(R0)
	Get R1
	I64Sub
	Tee R2
	I64Const $24
	I64LtS
	I32Or
	If
		JMP ·groupInGo(SB)
	End

	// R3 is the header, R4 the length of the block, R5 that of the key, R6 where the states start in it
	I64Load (Pass_Cursor+Cursor_base)(R0)
	Get R1
	I64Add
	Tee R3
	I32WrapI64
	I64Load32U $0
	Set R4
	I64Load32U 8(R3)
	Tee R5
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
	I64Load16U 4(R3)
	I64Load Pass_function(R0)
	I64Ne
	I32Or
	I64Load16U 6(R3)
	I64Load (Pass_cells+8)(R0)
	I64Ne
	I32Or
	If
		JMP ·groupInGo(SB)
	End

	// the cursor: R2 is the first state
	Get R0
	I32WrapI64
	I64Load (Pass_Cursor+Cursor_groups)(R0)
	I64Const $-1
	I64Add
	I64Store $(Pass_Cursor+Cursor_groups)
	Get R0
	I32WrapI64
	Get R3
	I64Const $24
	I64Add
	Get R3
	Get R5
	I32WrapI64
	Select
	I64Store $(Pass_Cursor+Cursor_key)
	MOVD R5, (Pass_Cursor+Cursor_key+8)(R0)
	Get R0
	I32WrapI64
	Get R1
	Get R4
	I64Add
	I64Store $(Pass_Cursor+Cursor_next)
	Get R0
	I32WrapI64
	I64Load32U 12(R3)
	I64Store $(Pass_Cursor+Cursor_messages)
	Get R3
	Get R6
	I64Add
	Set R2

	// the header of the group before: R6 is where it starts, R5 the header
	I64Load (Pass_Writer+Writer_base)(R0)
	I64Load (Pass_Writer+Writer_group)(R0)
	Tee R6
	I64Add
	Set R5
	Get R5
	I32WrapI64
	Get R8
	Get R6
	I64Sub
	I64Load (Pass_Writer+Writer_done)(R0)
	I64Const $32
	I64Shl
	I64Or
	I64Store $0
	Get R5
	I32WrapI64
	I64Load16U (Pass_Writer+Writer_code)(R0)
	I64Load (Pass_Writer+Writer_writes)(R0)
	I64Const $16
	I64Shl
	I64Or
	I64Load (Pass_Writer+Writer_ops)(R0)
	I64Const $32
	I64Shl
	I64Or
	I64Store $8
	Get R5
	I32WrapI64
	I64Load (Pass_Writer+Writer_mark)(R0)
	Get R6
	I64Sub
	I64Const $32
	I64Sub
	I64Load (Pass_Writer+Writer_text)(R0)
	I64Const $32
	I64Shl
	I64Or
	I64Store $16
	MOVD $0, 24(R5)

	// the result of this one
	Get R0
	I32WrapI64
	Get R8
	I64Store $(Pass_Writer+Writer_group)
	Get R8
	I64Const $32
	I64Add
	Set R8
	MOVD R8, (Pass_Writer+Writer_at)(R0)
	MOVD R8, (Pass_Writer+Writer_mark)(R0)
	Get R0
	I32WrapI64
	I64Load (Pass_Writer+Writer_groups)(R0)
	I64Const $1
	I64Add
	I64Store $(Pass_Writer+Writer_groups)
	MOVD $0, (Pass_Writer+Writer_ops)(R0)
	MOVD $-1, (Pass_Writer+Writer_done)(R0)
	MOVD $0, (Pass_Writer+Writer_writes)(R0)
	MOVD $0, (Pass_Writer+Writer_text)(R0)
	Get R0
	I32WrapI64
	I64Const $0
	I64Store16 $(Pass_Writer+Writer_code)
	Get R0
	I32WrapI64
	I64Load (Pass_Cursor+Cursor_epoch)(R0)
	Get R1
	I64Add
	I64Store $Pass_first
	MOVD $-1, Pass_stored(R0)

	// the states: R1 is the last place of one, R4 the next cell's place, R5 the end of the cells
	Get R3
	I64Load32U 0(R3)
	I64Add
	I64Const $16
	I64Sub
	Set R1
	I64Load Pass_cells(R0)
	Tee R4
	I64Load (Pass_cells+8)(R0)
	I64Const $3
	I64Shl
	I64Add
	Set R5
	Block
		Get R4
		Get R5
		I64Eq
		BrIf $0
		Loop
			MOVD 0(R4), R6
			I64Load8U Cell_Number(R6)
			I64Eqz
			Get R2
			Get R1
			I64GtU
			I32Or
			BrIf $1
			I64Load 0(R2)
			I64Const $0x100000008
			I64Ne
			BrIf $1
			Get R6
			I32WrapI64
			I64Load 8(R2)
			I64Store $Cell_N
			Get R6
			I32WrapI64
			I64Const $1
			I64Store8 $Cell_Present
			Get R2
			I64Const $16
			I64Add
			Set R2
			Get R4
			I64Const $8
			I64Add
			Tee R4
			Get R5
			I64Ne
			BrIf $0
		End
	End
	Get R0
	I32WrapI64
	Get R2
	I64Load (Pass_Cursor+Cursor_base)(R0)
	I64Sub
	I64Store $(Pass_Cursor+Cursor_at)
	Get SP
	Get R4
	I64Load Pass_cells(R0)
	I64Sub
	I64Const $3
	I64ShrU
	I64Store ret+8(FP)
	RET

// func message(p *Pass) bool
TEXT ·message(SB), NOSPLIT, $0-9
	MOVD p+0(FP), R0
	MOVD (Pass_Cursor+Cursor_at)(R0), R1

	// no room for a message, odd
	I64Load (Pass_Cursor+Cursor_next)(R0)
	Get R1
	I64Sub
	Tee R2
	I64Const $40
	I64LtS
	I32Load8U (Pass_Writer+Writer_odd)(R0)
	I32Or
	If
		JMP ·lastMessage(SB)
	End

	// R3 is the header, R4 the length of the block, R5 that of the value
	I64Load (Pass_Cursor+Cursor_base)(R0)
	Get R1
	I64Add
	Tee R3
	I32WrapI64
	I64Load32U $0
	Set R4
	I64Load32U 24(R3)
	Tee R5
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
		JMP ·messageInGo(SB)
	End

	// the message before is committed
	Get R0
	I32WrapI64
	I64Load (Pass_Writer+Writer_done)(R0)
	I64Const $1
	I64Add
	I64Store $(Pass_Writer+Writer_done)

	MOVD R1, (Pass_Cursor+Cursor_body)(R0)
	Get R0
	I32WrapI64
	Get R1
	Get R4
	I64Add
	I64Store $(Pass_Cursor+Cursor_at)
	Get R0
	I32WrapI64
	Get R3
	I64Const $40
	I64Add
	Get R3
	Get R5
	I32WrapI64
	Select
	I64Store $(Pass_Cursor+Cursor_value)
	MOVD R5, (Pass_Cursor+Cursor_value+8)(R0)
	MOVD R5, (Pass_Cursor+Cursor_value+16)(R0)
	Get SP
	I64Const $1
	I64Store8 ret+8(FP)
	RET

// func lastMessage(p *Pass) bool
//
// It is message after the last message of a group.
TEXT ·lastMessage(SB), NOSPLIT, $0-9
	MOVD p+0(FP), R0

	// odd, more or fewer messages than the group promises, R8 what is done
	I64Load (Pass_Writer+Writer_done)(R0)
	I64Const $1
	I64Add
	Tee R8
	I64Load (Pass_Cursor+Cursor_messages)(R0)
	I64Ne
	I64Load (Pass_Cursor+Cursor_at)(R0)
	I64Load (Pass_Cursor+Cursor_next)(R0)
	I64Ne
	I32Or
	I32Load8U (Pass_Writer+Writer_odd)(R0)
	I32Or
	If
		JMP ·messageInGo(SB)
	End
	MOVD R8, (Pass_Writer+Writer_done)(R0)
	MOVD (Pass_Writer+Writer_at)(R0), R2
	MOVD R2, (Pass_Writer+Writer_mark)(R0)

	// the states: R2 is where the next write goes, R3 the last place with room for it, R4 the next cell's place, R5 the
	// end of the cells, R7 the group's first turn, R8 the index of the cell
	I64Load (Pass_Writer+Writer_base)(R0)
	Tee R1
	Get R2
	I64Add
	Set R2
	Get R1
	I64Load (Pass_Writer+Writer_size)(R0)
	I64Add
	I64Const $16
	I64Sub
	Set R3
	I64Load Pass_cells(R0)
	Tee R4
	I64Load (Pass_cells+8)(R0)
	I64Const $3
	I64Shl
	I64Add
	Set R5
	MOVD Pass_first(R0), R7
	I64Const $0
	Set R8
	Block
		Get R4
		Get R5
		I64Eq
		BrIf $0
		Loop
			MOVD 0(R4), R6
			I64Load Cell_Turn(R6)
			Get R7
			I64GeU
			If
				I64Load8U Cell_Number(R6)
				I64Load8U Cell_Present(R6)
				I64And
				I64Eqz
				Get R2
				Get R3
				I64GtU
				I32Or
				BrIf $2
				Get R2
				I32WrapI64
				Get R8
				I64Const $0x800000000
				I64Or
				I64Store $0
				Get R2
				I32WrapI64
				I64Load Cell_N(R6)
				I64Store $8
				Get R2
				I64Const $16
				I64Add
				Set R2
				Get R0
				I32WrapI64
				I64Load (Pass_Writer+Writer_writes)(R0)
				I64Const $1
				I64Add
				I64Store $(Pass_Writer+Writer_writes)
			End
			Get R8
			I64Const $1
			I64Add
			Set R8
			Get R4
			I64Const $8
			I64Add
			Tee R4
			Get R5
			I64Ne
			BrIf $0
		End
	End
	MOVD R8, Pass_stored(R0)
	Get R0
	I32WrapI64
	Get R2
	Get R1
	I64Sub
	I64Store $(Pass_Writer+Writer_at)
	Get SP
	I64Const $0
	I64Store8 ret+8(FP)
	RET
