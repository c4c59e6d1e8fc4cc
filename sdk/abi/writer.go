package abi

// Writer writes a result into a buffer of its caller, which never grows: when it is full, the writer drops what follows and
// Finish answers GuestFull. The order of calls is Reset, then per group Group, per message any number of Op and then Commit
// or, for the last message run, Fail; then State for every state that changed, in rising order; at the end Finish.
type Writer struct {
	out    []byte
	at     int
	group  int // where the open group starts
	groups int
	mark   int // where the ops of the open message start
	ops    int // of the group
	kept   int // ops of committed messages
	done   int
	writes int
	text   int // length of the failure text
	code   uint16
	full   bool
	stuck  bool // what does not fit is more than the open message
}

// Reset starts a result in out.
func (w *Writer) Reset(out []byte) {
	*w = Writer{out: out}
	w.full = len(out) < resultHeader
	w.stuck = w.full
	w.at = resultHeader
}

// Full says that the result will not fit: nothing that follows matters.
func (w *Writer) Full() bool { return w.full }

// reserve returns the next n bytes, or nil when they do not fit.
func (w *Writer) reserve(n int) []byte {
	if w.full || n > len(w.out)-w.at {
		w.full = true
		return nil
	}
	h := w.out[w.at : w.at+n]
	w.at += n
	return h
}

// Group opens the result of the batch's next group.
func (w *Writer) Group() {
	w.groups++
	w.turn(groupResult)
}

// turn closes the open group, if there is one, and opens the next in a block that starts with size bytes.
func (w *Writer) turn(size int) {
	if w.group != 0 && !w.full {
		b := w.out[w.group:w.at]
		h := (*[groupResult]byte)(b)
		le.PutUint64(h[:], uint64(len(b))|uint64(w.done)<<32)
		le.PutUint64(h[8:], uint64(w.code)|uint64(w.writes)<<16|uint64(w.ops)<<32)
		le.PutUint64(h[16:], uint64(w.mark-w.group-groupResult)|uint64(w.text)<<32)
		le.PutUint64(h[24:], 0)
	}
	w.group = w.at
	if size > len(w.out)-w.at {
		w.full = true
	} else {
		w.at += size
	}
	w.mark, w.stuck = w.at, w.full
	w.ops, w.kept, w.done, w.writes, w.text, w.code = 0, 0, 0, 0, 0, 0
}

// Put adds an op without topic, type, and extensions; flags are NoKey and NoValue. It does what Op does, in the form that
// costs a module the least: a struct in memory is dearer than arguments.
func (w *Writer) Put(kind OpKind, flags uint8, target, key string, value []byte) {
	size := (opHeader + len(target) + len(key) + len(value) + 7) &^ 7
	if size > len(w.out)-w.at {
		w.full = true
		return
	}
	b := w.out[w.at : w.at+size]
	w.at += size
	w.ops++
	le.PutUint64(b[size-8:], 0)
	h := (*[opHeader]byte)(b)
	le.PutUint64(h[:], uint64(size)|uint64(kind)<<32|uint64(flags)<<40|uint64(len(target))<<48)
	le.PutUint64(h[8:], uint64(w.done)|uint64(len(key))<<32)
	le.PutUint64(h[16:], uint64(len(value)))
	le.PutUint64(h[24:], 0)
	le.PutUint64(h[32:], 0)
	b = b[opHeader:]
	if len(target)+len(key) > 0 { // a copy costs a module the same when it copies nothing
		copy(b, target)
		b = b[len(target):]
		copy(b, key)
		b = b[len(key):]
	}
	copy(b, value)
}

// PutInt is Put with a number in decimal, written in place.
func (w *Writer) PutInt(kind OpKind, flags uint8, target, key string, n int64) {
	u, sign := uint64(n), 0
	if n < 0 {
		u, sign = -u, 1
	}
	value := sign + 1
	for p := uint64(10); u >= p && value < sign+20; p *= 10 {
		value++
		if p == 1e19 { // the next power does not fit
			break
		}
	}
	end := opHeader + len(target) + len(key) + value
	size := (end + 7) &^ 7
	if size > len(w.out)-w.at {
		w.full = true
		return
	}
	b := w.out[w.at : w.at+size]
	w.at += size
	w.ops++
	le.PutUint64(b[size-8:], 0)
	h := (*[opHeader]byte)(b)
	le.PutUint64(h[:], uint64(size)|uint64(kind)<<32|uint64(flags)<<40|uint64(len(target))<<48)
	le.PutUint64(h[8:], uint64(w.done)|uint64(len(key))<<32)
	le.PutUint64(h[16:], uint64(value))
	le.PutUint64(h[24:], 0)
	le.PutUint64(h[32:], 0)
	if len(target) > 0 {
		copy(b[opHeader:], target)
	}
	if len(key) > 0 {
		copy(b[opHeader+len(target):], key)
	}
	for ; u >= 1<<32; u /= 10 {
		end--
		b[end] = '0' + byte(u%10)
	}
	for {
		q := u * 0xCCCCCCCD >> 35 // u / 10 for 32 bits: a module has no cheap division
		end--
		b[end] = '0' + byte(u-q*10)
		if q == 0 {
			break
		}
		u = q
	}
	if sign != 0 {
		b[end-1] = '-'
	}
}

// Op adds an op of the open message; its Message is ignored. Target, Topic and Type are at most 64 KiB - 1, which the
// caller checks.
func (w *Writer) Op(op *Op) {
	b := w.reserve(pad8(opHeader + len(op.Target) + len(op.Key) + len(op.Value) + len(op.Topic) + len(op.Type) + len(op.Ext)))
	if b == nil {
		return
	}
	w.ops++
	flags := uint64(0)
	if op.NoKey {
		flags |= NoKey
	}
	if op.NoValue {
		flags |= NoValue
	}
	padTail(b)
	le.PutUint64(b, uint64(len(b))|uint64(op.Kind)<<32|flags<<40|uint64(len(op.Target))<<48)
	le.PutUint64(b[8:], uint64(w.done)|uint64(len(op.Key))<<32)
	le.PutUint64(b[16:], uint64(len(op.Value))|uint64(len(op.Topic))<<32|uint64(len(op.Type))<<48)
	le.PutUint64(b[24:], uint64(len(op.Ext)))
	le.PutUint64(b[32:], uint64(op.Delay))
	b = b[opHeader:]
	for _, part := range [...][]byte{op.Target, op.Key, op.Value, op.Topic, op.Type, op.Ext} {
		b = b[copy(b, part):]
	}
}

// Commit ends a message that succeeded.
func (w *Writer) Commit() {
	w.done++
	w.mark, w.kept, w.stuck = w.at, w.ops, w.full
}

// Fail ends a message that failed: its ops are dropped. It is the last message of its group. code is not 0.
func (w *Writer) Fail(code uint16, text string) {
	if w.stuck {
		return
	}
	w.at, w.ops, w.code, w.full = w.mark, w.kept, code, false
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
	size := (writeHeader + len(value) + 7) &^ 7
	b := w.reserve(size)
	if b == nil {
		return
	}
	w.writes++
	op := uint64(0)
	if del {
		op = 1
	}
	le.PutUint64(b[size-8:], 0)
	le.PutUint64(b, uint64(index)|op<<16|uint64(len(value))<<32)
	copy(b[writeHeader:], value)
}

// StateInt is State with an int64 in 8 bytes.
func (w *Writer) StateInt(index int, n int64) {
	if writeHeader+8 > len(w.out)-w.at {
		w.full = true
		return
	}
	b := (*[writeHeader + 8]byte)(w.out[w.at:])
	w.at += writeHeader + 8
	w.writes++
	le.PutUint64(b[:], uint64(index)|8<<32)
	le.PutUint64(b[8:], uint64(n))
}

// Finish ends the result and returns its length in bytes, or GuestFull.
func (w *Writer) Finish() int {
	w.turn(0)
	if w.full {
		return GuestFull
	}
	le.PutUint64(w.out, Version|uint64(w.groups)<<32)
	le.PutUint64(w.out[8:], uint64(w.at))
	return w.at
}
