package abi

import "unsafe"

// Cursor walks a batch in place: headers are read at fixed offsets, parts cut out only when asked for. Per group the order of
// calls is Next, then NextState once for each of States, then NextMessage at most once for each of Messages.
type Cursor struct {
	base     unsafe.Pointer // of the batch
	size     int
	groups   int // not yet visited
	next     int // where the next group starts
	at       int // within the group; above next when a state was damaged
	function int
	states   int
	messages int // of the group, not yet read
	body     int // where the message at hand starts
	key      string
	value    []byte
	err      *Error

	now   int64
	seed  uint64
	epoch uint64 // what sets the turns of this batch apart from those of earlier ones
}

// Open starts on a batch. The error is an *Error, whose method Version tells a batch of another version from a damaged one.
func (r *Cursor) Open(in []byte) error {
	*r = Cursor{epoch: r.epoch + uint64(r.size)}
	if len(in) < batchHeader {
		return &Error{false, faultShort, 0}
	}
	if le.Uint16(in) != Version {
		return &Error{false, faultVersion, 0}
	}
	if uint64(le.Uint32(in[24:])) != uint64(len(in)) || len(in) > MaxBytes {
		return &Error{false, faultLength, 24}
	}
	ext := uint64(le.Uint32(in[28:]))
	if ext > uint64(len(in)-batchHeader) {
		return &Error{false, faultShort, 28}
	}
	r.base, r.size, r.next = start(in), len(in), batchHeader+pad8(int(ext))
	r.at = r.next
	r.groups = int(le.Uint32(in[4:]))
	r.now, r.seed = int64(le.Uint64(in[8:])), le.Uint64(in[16:])
	return nil
}

// Now is the batch's time in unix ms.
func (r *Cursor) Now() int64 { return r.now }

// Seed is what the batch's random numbers start from.
func (r *Cursor) Seed() uint64 { return r.seed }

// Err is what stopped the reader, an *Error, or nil when it came to the end.
func (r *Cursor) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

func (r *Cursor) fail(what string, at int) bool {
	r.err = &Error{false, what, at}
	r.groups, r.messages, r.states, r.at, r.next = 0, 0, 0, 0, 0
	return false
}

// Next goes to the next group, wherever in the last one the reader stands.
func (r *Cursor) Next() bool {
	at := r.next
	if r.groups == 0 || r.messages == 0 && r.at != at || r.size-at < groupHeader {
		return r.end()
	}
	p := unsafe.Add(r.base, at)
	head, middle := load64(p, 0), load64(p, 8)
	n, key := head&0xFFFFFFFF, middle&0xFFFFFFFF
	body := groupHeader + (key+7)&^7 + (load64(p, 16)&0xFFFFFFFF+7)&^7
	switch {
	case n > uint64(r.size-at) || n%8 != 0:
		return r.fail(faultShort, at)
	case body > n:
		return r.fail(faultLength, at+8)
	}
	r.groups--
	r.at, r.next = at+int(body), at+int(n)
	k := r.Bytes(at+groupHeader, int(key))
	r.key = unsafe.String(unsafe.SliceData(k), len(k))
	r.function, r.states, r.messages = int(head>>32&0xFFFF), int(head>>48), int(middle>>32)
	return true
}

// end says why there is no further group.
func (r *Cursor) end() bool {
	switch {
	case r.err != nil:
	case r.messages == 0 && r.at > r.next:
		return r.fail(faultShort, r.next)
	case r.messages == 0 && r.at != r.next:
		return r.fail(faultLength, r.at)
	case r.groups > 0:
		return r.fail(faultShort, r.next)
	case r.next != r.size:
		return r.fail(faultGroups, r.next)
	}
	return false
}

// Key is the key of the group at hand.
func (r *Cursor) Key() string { return r.key }

// Function is the group's function, as its index in the description.
func (r *Cursor) Function() int { return r.function }

// Messages is the number of the group's messages not yet read.
func (r *Cursor) Messages() int { return r.messages }

// States is the number of the group's states.
func (r *Cursor) States() int { return r.states }

// NextState goes to the group's next state, in the order of the description: where its value lies in the batch and how long
// it is, as Bytes takes them. After a damaged state, which reads as absent, there is no further message.
func (r *Cursor) NextState() (at, size int, present bool) {
	at = r.at + stateHeader
	if at > r.next {
		r.at = r.size + 1
		return 0, 0, false
	}
	head := load64(r.base, r.at)
	if uint32(head) > uint32(r.next-at) {
		r.at = r.size + 1
		return 0, 0, false
	}
	r.at = at + (int(uint32(head))+7)&^7
	return at, int(uint32(head)), head>>32 != 0
}

// Word is the 8 bytes of a state that NextState found at a place, as a number.
func (r *Cursor) Word(at int) int64 { return int64(load64(r.base, at)) }

// Bytes is what NextState found at a place: a view.
func (r *Cursor) Bytes(at, size int) []byte {
	if size == 0 { // the place may be the end of the batch, where no pointer may lead
		return nil
	}
	return view(unsafe.Add(r.base, at), size)
}

// NextMessage goes to the group's next message; false after the last.
func (r *Cursor) NextMessage() bool {
	at, left := r.at, r.next-r.at
	if r.messages == 0 {
		return false
	}
	if left < messageHeader {
		return r.fail(faultShort, r.next)
	}
	p := unsafe.Add(r.base, at)
	head, lengths, rest := load64(p, 0), load64(p, 24), load64(p, 32)
	n, value := head&0xFFFFFFFF, lengths&0xFFFFFFFF
	parts := messageHeader + value + head>>48 + lengths>>32&0xFFFF + rest&0xFFFFFFFF + rest>>32
	switch {
	case n > uint64(left):
		return r.fail(faultShort, at)
	case n != (parts+7)&^7:
		return r.fail(faultLength, at)
	}
	r.messages--
	r.body, r.at, r.value = at, at+int(n), r.Bytes(at+messageHeader, int(value))
	return true
}

// Value is the value of the message at hand.
func (r *Cursor) Value() []byte { return r.value }

// typ is the length of the message's type.
func (r *Cursor) typ() int { return int(load64(r.base, r.body) >> 48) }

// Untyped says that the message does not name the type of its value.
func (r *Cursor) Untyped() bool { return r.typ() == 0 }

// Kind is the message's kind.
func (r *Cursor) Kind() uint8 { return uint8(load64(r.base, r.body) >> 32) }

// Time is the message's event time in unix ms.
func (r *Cursor) Time() int64 { return int64(load64(r.base, r.body+8)) }

// ID is the message's id.
func (r *Cursor) ID() uint64 { return load64(r.base, r.body+16) }

// Type is the value type name, or empty.
func (r *Cursor) Type() []byte { return r.Bytes(r.body+messageHeader+len(r.value), r.typ()) }

// Sender is the address of the function that sent the message; empty when none did.
func (r *Cursor) Sender() (function, key []byte) {
	at, n := r.body+messageHeader+len(r.value)+r.typ(), int(load64(r.base, r.body+24)>>32&0xFFFF)
	return r.Bytes(at, n), r.Bytes(at+n, int(uint32(load64(r.base, r.body+32))))
}

// Ext is the message's extensions.
func (r *Cursor) Ext() []byte {
	lengths := load64(r.base, r.body+32)
	sender := int(load64(r.base, r.body+24)>>32&0xFFFF) + int(uint32(lengths))
	return r.Bytes(r.body+messageHeader+len(r.value)+r.typ()+sender, int(lengths>>32))
}
