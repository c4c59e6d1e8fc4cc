// Package abi is the byte layout between host and guest, written once: how a batch of messages goes into a module and how
// their effects come out.
//
// It hides every offset and padding rule behind two halves: the host encodes a Batch and decodes a Result,
// the guest reads a batch with a Reader and writes a result with a Writer, or does both with a Pass. Its invariant: what one half writes the other reads back
// equal, and no bytes whatever make a decoder panic, read outside its input, or loop. Buffers belong to who fills them:
// decoders hand out views, valid as long as the bytes they were opened on. It imports the standard library only, does no
// I/O, and is not the vocabulary of the platform (package functions), whose tags it repeats.
//
// # Calls
//
// A guest exports, all of them plain WASM functions:
//
//	memory
//	_initialize()                 optional: runs once, before anything else
//	weir_abi() i32                the version it speaks: 1
//	weir_describe() i64           pointer<<32 | length of a JSON document, functions.Description
//	weir_in(cap i32) i32          pointer to an input buffer of at least cap bytes, aligned to 8, valid until the next weir_in
//	weir_out(cap i32) i32         the same for the output buffer
//	weir_batch(length i32) i32    runs the batch of length bytes in the input buffer:
//	                              > 0   bytes of the result in the output buffer
//	                              -1    the output buffer is too small: the host enlarges it and replays the batch
//	                              < -1  the guest cannot read the batch: GuestVersion, GuestBatch, GuestFunction
//
// and may import from module "weir":
//
//	yield()                                    a safepoint; the host's rewriter adds it
//	log(level i32, pointer i32, length i32)    one line of UTF-8 text; levels are LogDebug to LogError
//
// A guest keeps nothing from one batch to the next: a batch may be replayed, and an instance may be gone at any time.
//
// # Batch
//
// All numbers are little-endian. Every block starts at a multiple of 8 and is padded with zeros to one; lengths of parts
// do not count the padding, lengths of blocks do.
//
//	batch header, 32 bytes
//	 0 u16 version, 1        8 i64 now, unix ms             24 u32 length of the whole batch
//	 2 u16 flags, 0         16 u64 seed of random numbers   28 u32 extensions length
//	 4 u32 groups
//	 32 extensions | group ...
//
//	group header, 24 bytes: one address, its prefetched states, and its messages in order
//	 0 u32 length of the block, messages included    12 u32 messages
//	 4 u16 function: index in the description        16 u32 extensions length
//	 6 u16 states                                    20 u32 0
//	 8 u32 key length
//	 24 key | extensions | state ... | message ...   (key and extensions padded)
//
//	state, 8 bytes: one per state that the function declares, in the order of the description
//	 0 u32 value length, 0 when absent    4 u32 1 present, 0 absent
//	 8 value, padded
//
//	message, 40 bytes
//	 0 u32 length of the block      24 u32 value length
//	 4 u8  kind   5 u8 0            28 u16 sender type length   30 u16 0
//	 6 u16 type length              32 u32 sender key length
//	 8 i64 event time, unix ms      36 u32 extensions length
//	16 u64 id, unique in the job    40 value | type | sender type | sender key | extensions, padded
//
// # Result
//
// A result answers every group of the batch, in order. A group's effects are those of its first done messages. A failure
// belongs to the message after them: nothing of it applies, and later messages of the group were not run.
//
//	result header, 16 bytes
//	 0 u16 version, 1   2 u16 flags, 0   4 u32 groups   8 u32 length of the whole result   12 u32 extensions length
//	 16 extensions | group ...
//
//	group result, 32 bytes
//	 0 u32 length of the block               16 u32 length of all ops
//	 4 u32 done                              20 u32 failure text length
//	 8 u16 failure code, 0 when none failed  24 u32 extensions length
//	10 u16 state writes                      28 u32 0
//	12 u32 ops
//	 32 op ... | failure text | extensions | state write ...   (text and extensions padded)
//
//	state write, 8 bytes: the value after the last done message; indices rise, and a state not named keeps its value
//	 0 u16 index of the state   2 u8 0 set, 1 delete   3 u8 0   4 u32 value length
//	 8 value, padded
//
//	op, 40 bytes: in order of emission, so the message index never falls
//	 0 u32 length of the block                    20 u16 topic length
//	 4 u8 kind: 1 send, 2 egress, 3 reply         22 u16 type length
//	 5 u8 flags: 1 no key, 2 no value             24 u32 extensions length
//	 6 u16 target length                          28 u32 0
//	 8 u32 message: index in the group, < done    32 i64 delay in ms, 0
//	12 u32 key length                             40 target | key | value | topic | type | extensions, padded
//	16 u32 value length
//
// A target is "namespace/name" of a function for a send, the id for an egress, empty for a reply. A message has at most one
// reply.
//
// # Extensions
//
// An extension is u8 tag, u8 0, u16 0, u32 length, value, not padded inside a list of them; readers skip tags they do not
// know. Messages and ops carry TagType, TagHeader, TagCoordinates; batches and groups have none yet, their place is kept for
// list and map state, watermarks, and cancellation.
//
// # State values
//
// The host stores bytes. Their type is named in the description: int64 is 8 bytes little-endian two's complement, string is
// UTF-8, bytes is itself, json is JSON text; any other name is a codec of the guest's own.
//
// # Versions
//
// A guest that is handed another version returns GuestVersion. testdata/vectors holds batches and results, good and
// damaged, with what they mean, for every language that speaks this layout. internal/bench/guest/c/count.c is a whole guest
// without an SDK.
package abi
