package abi

import "unsafe"

// Writer writes a result into a buffer of its caller, which never grows: when it is full, the writer drops what follows and
// Finish answers GuestFull. The order of calls is Reset, then per group Group, per message any number of ops (Put, PutInt,
// Op) and then Commit or, for the last message run, Fail; then State for every state that changed, in rising order; at the
// end Finish.
//
// An op that the writer cannot take makes the open message odd: see Odd and Fault.
type Writer struct {
	out    []byte
	base   unsafe.Pointer // of out
	size   int            // of out
	at     int
	group  int // where the open group starts
	groups int
	mark   int // where the ops of the open message start
	ops    int // of the group
	done   int
	writes int
	text   int // length of the failure text
	code   uint16
	odd    uint8 // of the open message: bits of oddStaged to oddStuck
	fault  Fault // of the open message
	stage  stage
	digits [20]byte // of a number in text
}

// What can be odd about the open message.
const (
	oddStaged = 1 << iota // a record is staged
	oddFault              // fault says what
	oddFull               // the buffer is full
	oddStuck              // it is full of more than the open message
)

// Fault is what a writer could not take of the open message.
type Fault uint8

// The faults of a message.
const (
	Sound    Fault = iota
	TooLong        // a name is longer than 64 KiB - 1
	Unput          // a record was staged and not put, or another was started before
	PutTwice       // a staged record was put twice, or after another was staged
	Refused        // the caller refuses it: Refuse
)

// Reset starts a result in out.
func (w *Writer) Reset(out []byte) {
	*w = Writer{out: out, base: start(out), size: len(out), at: resultHeader, stage: stage{ext: w.stage.ext[:0]}}
	if len(out) < resultHeader {
		w.at = 0
		w.odd = oddFull | oddStuck
	}
}

// Odd says that the open message must not be committed: it has a Fault, or the writer is Full.
func (w *Writer) Odd() bool { return w.odd != 0 }

// Full says that the result will not fit: nothing that follows matters.
func (w *Writer) Full() bool { return w.odd&oddFull != 0 }

// Fault says what is wrong with the open message.
func (w *Writer) Fault() Fault {
	if w.odd&oddStaged != 0 && w.fault == Sound {
		return Unput
	}
	return w.fault
}

// Refuse makes the open message odd.
func (w *Writer) Refuse() { w.blame(Refused) }

func (w *Writer) blame(f Fault) {
	w.odd |= oddFault
	if w.fault == Sound {
		w.fault = f
	}
}

// reserve returns the next n bytes, or nil when they do not fit.
func (w *Writer) reserve(n int) []byte {
	if w.Full() || n > w.size-w.at {
		w.odd |= oddFull
		return nil
	}
	h := w.out[w.at : w.at+n]
	w.at += n
	return h
}

// Group opens the result of the batch's next group.
func (w *Writer) Group() {
	if w.group != 0 && w.odd == 0 {
		w.close()
	}
	if w.odd != 0 || groupResult > w.size-w.at {
		w.odd |= oddFull | oddStuck
		return
	}
	w.group = w.at
	w.at += groupResult
	w.mark = w.at
	w.groups++
	w.ops, w.done, w.writes, w.text, w.code = 0, 0, 0, 0, 0
}

// close writes the header of the open group.
func (w *Writer) close() {
	p := unsafe.Add(w.base, w.group)
	store64(p, 0, uint64(w.at-w.group)|uint64(w.done)<<32)
	store64(p, 8, uint64(w.code)|uint64(w.writes)<<16|uint64(w.ops)<<32)
	store64(p, 16, uint64(w.mark-w.group-groupResult)|uint64(w.text)<<32)
	store64(p, 24, 0)
}

// Commit ends a message that succeeded.
func (w *Writer) Commit() {
	w.done++
	w.mark = w.at
	if w.odd != 0 {
		w.odd |= oddStuck
	}
}

// Fail ends a message that failed: its ops are dropped. It is the last message of its group. code is not 0.
func (w *Writer) Fail(code uint16, text string) {
	if w.odd&oddStuck != 0 {
		return
	}
	for w.mark < w.at && int(le.Uint32(w.out[w.mark+8:])) < w.done { // a Pass leaves the mark behind
		w.mark += int(le.Uint32(w.out[w.mark:]))
	}
	for at := w.mark; at < w.at; at += int(le.Uint32(w.out[at:])) {
		w.ops--
	}
	w.at, w.code, w.odd, w.fault = w.mark, code, 0, Sound
	if h := w.reserve(pad8(len(text))); len(h) > 0 {
		padTail(h)
		copy(h, text)
	}
	w.text = len(text)
}

// State writes or deletes a state. Indices rise from call to call.
func (w *Writer) State(index int, value []byte, del bool) {
	if del {
		value = nil
	}
	b := w.reserve(pad8(writeHeader + len(value)))
	if b == nil {
		return
	}
	w.writes++
	op := uint64(0)
	if del {
		op = 1
	}
	padTail(b)
	le.PutUint64(b, uint64(index)|op<<16|uint64(len(value))<<32)
	copy(b[writeHeader:], value)
}

// StateInt is State with an int64 in 8 bytes.
func (w *Writer) StateInt(index int, n int64) {
	if b := w.reserve(writeHeader + 8); b != nil {
		w.writes++
		le.PutUint64(b, uint64(index)|8<<32)
		le.PutUint64(b[8:], uint64(n))
	}
}

// Finish ends the result and returns its length in bytes, or GuestFull.
func (w *Writer) Finish() int {
	if w.Full() {
		return GuestFull
	}
	if w.group != 0 {
		w.close()
	}
	le.PutUint64(w.out, Version|uint64(w.groups)<<32)
	le.PutUint64(w.out[8:], uint64(w.at))
	return w.at
}
