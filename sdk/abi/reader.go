package abi

// Reader walks a batch in the guest: groups with Next, and in each its states, then its messages. It checks each block as
// it comes to it: after any method returned false, Err tells the end from damage. What it hands out are views of the batch.
type Reader struct {
	in     []byte
	groups int
	next   int // where the next group starts
	at     int // within the group
	end    int // of the group
	states int // of the group, not yet read
	count  int // messages of the group, not yet read
	err    *Error

	now      int64
	seed     uint64
	function uint16
	key      []byte
}

// Open starts on a batch. The error is an *Error; Version tells a batch of another version from a damaged one.
func (r *Reader) Open(in []byte) error {
	*r = Reader{}
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
func (r *Reader) Now() int64 { return r.now }

// Seed is what the batch's random numbers start from.
func (r *Reader) Seed() uint64 { return r.seed }

// Err is what stopped the reader, an *Error, or nil when it came to the end.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

func (r *Reader) fail(what string, at int) bool {
	r.err = &Error{false, what, at}
	r.groups, r.states, r.count = 0, 0, 0
	return false
}

// Next goes to the next group, wherever in the last one the reader stands.
func (r *Reader) Next() bool {
	if r.err != nil {
		return false
	}
	if r.groups == 0 {
		if r.next != len(r.in) {
			return r.fail(faultGroups, r.next)
		}
		return false
	}
	r.groups--
	if r.next > len(r.in)-groupHeader {
		return r.fail(faultShort, r.next)
	}
	h := r.in[r.next:]
	n, key, ext := uint64(le.Uint32(h)), uint64(le.Uint32(h[8:])), uint64(le.Uint32(h[16:]))
	if n > uint64(len(h)) || n%8 != 0 {
		return r.fail(faultShort, r.next)
	}
	if groupHeader+(key+7)&^7+(ext+7)&^7 > n {
		return r.fail(faultLength, r.next+8)
	}
	r.function, r.states, r.count = le.Uint16(h[4:]), int(le.Uint16(h[6:])), int(le.Uint32(h[12:]))
	r.key = h[groupHeader : groupHeader+int(key) : groupHeader+int(key)]
	r.at = r.next + groupHeader + pad8(int(key)) + pad8(int(ext))
	r.next += int(n)
	r.end = r.next
	return true
}

// Function is the group's function, as its index in the description.
func (r *Reader) Function() int { return int(r.function) }

// Key is the key of the group's address.
func (r *Reader) Key() []byte { return r.key }

// Messages is the number of the group's messages not yet read.
func (r *Reader) Messages() int { return r.count }

// NextState reads the group's next state; ok is false after the last.
func (r *Reader) NextState() (value []byte, present, ok bool) {
	if r.states == 0 {
		return nil, false, false
	}
	r.states--
	if r.end-r.at < stateHeader {
		return nil, false, r.fail(faultShort, r.at)
	}
	h := r.in[r.at:r.end]
	size := (uint64(le.Uint32(h)) + stateHeader + 7) &^ 7
	if size > uint64(len(h)) {
		return nil, false, r.fail(faultShort, r.at)
	}
	end := stateHeader + int(le.Uint32(h))
	r.at += int(size)
	return h[stateHeader:end:end], le.Uint32(h[4:]) != 0, true
}

// NextMessage reads the group's next message into m; false after the last. States not read before are skipped.
func (r *Reader) NextMessage(m *Message) bool {
	for r.states > 0 {
		if _, _, ok := r.NextState(); !ok {
			return false
		}
	}
	if r.count == 0 {
		if r.err == nil && r.at != r.end {
			return r.fail(faultLength, r.at)
		}
		return false
	}
	r.count--
	if r.end-r.at < messageHeader {
		return r.fail(faultShort, r.at)
	}
	h := r.in[r.at:r.end]
	n := uint64(le.Uint32(h))
	if n > uint64(len(h)) {
		return r.fail(faultShort, r.at)
	}
	value, typ := uint64(le.Uint32(h[24:])), uint64(le.Uint16(h[6:]))
	senderType, senderKey, ext := uint64(le.Uint16(h[28:])), uint64(le.Uint32(h[32:])), uint64(le.Uint32(h[36:]))
	if n != (messageHeader+value+typ+senderType+senderKey+ext+7)&^7 {
		return r.fail(faultLength, r.at)
	}
	m.Kind, m.Time, m.ID = h[4], int64(le.Uint64(h[8:])), le.Uint64(h[16:])
	at := messageHeader
	m.Value, at = part(h, at, int(value))
	m.Type, at = part(h, at, int(typ))
	m.SenderType, at = part(h, at, int(senderType))
	m.SenderKey, at = part(h, at, int(senderKey))
	m.Ext, _ = part(h, at, int(ext))
	r.at += int(n)
	return true
}
