package abi

// Reader walks a batch in the guest: groups with Next, and the messages of each with NextMessage. It checks each block as it
// comes to it: after any method returned false, Err tells the end from damage. What it hands out are views of the batch.
type Reader struct {
	Cursor
	Key   []byte // of the group at hand
	Value []byte // of the message at hand
}

// Next goes to the next group, wherever in the last one the reader stands, and takes its states.
func (r *Reader) Next() bool {
	if !r.Cursor.Next() {
		return false
	}
	r.Key = r.Cursor.Key()
	return true
}

// NextMessage goes to the group's next message; false after the last.
func (r *Reader) NextMessage() bool {
	if !r.Cursor.NextMessage() {
		return false
	}
	r.Value = r.Cursor.Value()
	return true
}

// Cursor is a Reader for modules, where a call costs more than the work in most of these methods: few calls, headers read
// through array pointers, parts cut out only when asked for. It keeps places in the batch, not slices of it: a pointer stored
// on the heap passes the collector's barrier, which makes a module jump. BenchmarkRecordsOfTheGoSDK in functions/wasm has figures.
type Cursor struct {
	Untyped bool // the message at hand does not name the type of its value

	in       []byte
	key      extent // of the group
	value    extent // of the message at hand
	groups   int    // not yet visited
	next     int    // where the next group starts
	at       int    // within the group
	count    int    // messages of the group, not yet read
	body     int    // where the block of the message at hand starts
	function int
	states   []extent
	err      *Error

	now  int64
	seed uint64
}

// extent is where a state's value lies in the batch; absent when from is 0.
type extent struct{ from, to int }

// Open starts on a batch. The error is an *Error, whose method Version tells a batch of another version from a damaged one.
func (r *Cursor) Open(in []byte) error {
	*r = Cursor{states: r.states[:0]}
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
	r.in, r.next = in, batchHeader+pad8(int(ext))
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
	r.groups, r.count, r.at, r.next = 0, 0, 0, 0
	return false
}

// Next goes to the next group, wherever in the last one the reader stands, and takes its states.
func (r *Cursor) Next() bool {
	if r.groups == 0 {
		if r.err == nil && r.next != len(r.in) {
			return r.fail(faultGroups, r.next)
		}
		return false
	}
	r.groups--
	if r.next > len(r.in)-groupHeader {
		return r.fail(faultShort, r.next)
	}
	b := r.in[r.next:]
	h := (*[groupHeader]byte)(b)
	n, key, ext := uint64(le.Uint32(h[:])), uint64(le.Uint32(h[8:])), uint64(le.Uint32(h[16:]))
	if n > uint64(len(b)) || n%8 != 0 {
		return r.fail(faultShort, r.next)
	}
	body := groupHeader + (key+7)&^7 + (ext+7)&^7
	if body > n {
		return r.fail(faultLength, r.next+8)
	}
	b = b[:n]
	states := int(le.Uint16(h[6:]))
	if states > cap(r.states) {
		r.states = make([]extent, states)
	}
	r.states = r.states[:states]
	for i := range r.states {
		if n-body < stateHeader {
			return r.fail(faultShort, r.next+int(body))
		}
		head := le.Uint64(b[body:])
		end := body + stateHeader + uint64(uint32(head))
		if (end+7)&^7 > n {
			return r.fail(faultShort, r.next+int(body))
		}
		e := extent{}
		if head>>32 != 0 {
			e = extent{r.next + int(body) + stateHeader, r.next + int(end)}
		}
		r.states[i] = e
		body = (end + 7) &^ 7
	}
	r.function, r.count = int(le.Uint16(h[4:])), int(le.Uint32(h[12:]))
	r.key = extent{r.next + groupHeader, r.next + groupHeader + int(key)}
	r.at = r.next + int(body)
	r.next += int(n)
	if r.count == 0 && r.at != r.next {
		return r.fail(faultLength, r.at)
	}
	return true
}

// Key is the key of the group at hand.
func (r *Cursor) Key() []byte { return r.in[r.key.from:r.key.to:r.key.to] }

// Value is the value of the message at hand.
func (r *Cursor) Value() []byte { return r.in[r.value.from:r.value.to:r.value.to] }

// Function is the group's function, as its index in the description.
func (r *Cursor) Function() int { return r.function }

// Messages is the number of the group's messages not yet read.
func (r *Cursor) Messages() int { return r.count }

// States is the number of the group's states.
func (r *Cursor) States() int { return len(r.states) }

// State is one of the group's states, in the order of the description.
func (r *Cursor) State(i int) (value []byte, present bool) {
	e := r.states[i]
	if e.from == 0 {
		return nil, false
	}
	return r.in[e.from:e.to:e.to], true
}

// NextMessage goes to the group's next message; false after the last.
func (r *Cursor) NextMessage() bool {
	if r.count == 0 {
		return false
	}
	at := r.at
	b := r.in[at:r.next]
	if len(b) < messageHeader {
		return r.fail(faultShort, at)
	}
	h := (*[messageHeader]byte)(b)
	n := uint64(le.Uint32(h[:]))
	if n > uint64(len(b)) {
		return r.fail(faultShort, at)
	}
	value, typ := uint64(le.Uint32(h[24:])), uint64(le.Uint16(h[6:]))
	parts := messageHeader + value + typ + uint64(le.Uint16(h[28:])) +
		uint64(le.Uint32(h[32:])) + uint64(le.Uint32(h[36:]))
	if n != (parts+7)&^7 {
		return r.fail(faultLength, at)
	}
	r.value = extent{at + messageHeader, at + messageHeader + int(value)}
	r.body, r.Untyped, r.at = at, typ == 0, at+int(n)
	if r.count--; r.count == 0 && r.at != r.next {
		return r.fail(faultLength, r.at)
	}
	return true
}

// Kind is the message's kind.
func (r *Cursor) Kind() uint8 { return r.in[r.body+4] }

// Time is the message's event time in unix ms.
func (r *Cursor) Time() int64 { return int64(le.Uint64(r.in[r.body+8:])) }

// ID is the message's id.
func (r *Cursor) ID() uint64 { return le.Uint64(r.in[r.body+16:]) }

// Type is the value type name, or empty.
func (r *Cursor) Type() []byte {
	h := r.in[r.body:r.at]
	v, _ := part(h, r.value.to-r.body, int(le.Uint16(h[6:])))
	return v
}

// Sender is the address of the function that sent the message; empty when none did.
func (r *Cursor) Sender() (function, key []byte) {
	h := r.in[r.body:r.at]
	at := r.value.to - r.body + int(le.Uint16(h[6:]))
	function, at = part(h, at, int(le.Uint16(h[28:])))
	key, _ = part(h, at, int(le.Uint32(h[32:])))
	return function, key
}

// Ext is the message's extensions.
func (r *Cursor) Ext() []byte {
	h := r.in[r.body:r.at]
	at := r.value.to - r.body + int(le.Uint16(h[6:])) + int(le.Uint16(h[28:])) + int(le.Uint32(h[32:]))
	v, _ := part(h, at, int(le.Uint32(h[36:])))
	return v
}
