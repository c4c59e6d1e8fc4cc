// Package wire is what the roles say to one another, and how it gets there.
//
// JobManager, ResourceManager and TaskManagers never import one another: they exchange control messages, and tasks
// exchange data frames. Both are bytes, so that a transport only moves bytes. This package hides the encoding and the
// transport; the transport here is memory, within one process.
//
// Invariants: order is kept per pair of endpoints and per channel of tasks, and nothing is duplicated. Every control
// message about a job and every frame carries the attempt that it belongs to; the receiver drops and counts what is stale. A
// queue here has no limit of its own: control traffic is bounded by the protocol (one undecided epoch per job), data
// by byte credits.
//
// A frame between two tasks of one attempt, little-endian:
//
//	0 u8  version (1)     4 u16 from task      8 u64 attempt
//	1 u8  kind            6 u16 to task       16 payload
//	2 u16 0
//
// Payloads: FrameData a run of functions.Message; FrameBarrier u64 trigger, u32 job version to switch to (0: none), u8 1
// when it is the last; FrameCredit u32 bytes.
package wire
