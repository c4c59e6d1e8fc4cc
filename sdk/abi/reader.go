package abi

// Reader walks a batch in the guest: groups with Next, and the messages of each with NextMessage. It checks each block as it
// comes to it: after any method returned false, Err tells the end from damage. What it hands out are views of the batch.
type Reader struct {
	Cursor
	Key   []byte // of the group at hand
	Value []byte // of the message at hand

	values []extent
}

// extent is where a state's value lies in the batch.
type extent struct {
	at, size int
	present  bool
}

// Next goes to the next group, wherever in the last one the reader stands, and takes its states.
func (r *Reader) Next() bool {
	if !r.Cursor.Next() {
		return false
	}
	r.Key, r.values = bytesOf(r.Cursor.Key()), r.values[:0]
	for range r.States() {
		at, size, present := r.NextState()
		r.values = append(r.values, extent{at, size, present})
	}
	return r.at <= r.next || r.fail(faultShort, r.next)
}

// State is one of the group's states, in the order of the description.
func (r *Reader) State(i int) (value []byte, present bool) {
	e := r.values[i]
	if !e.present {
		return nil, false
	}
	return r.Bytes(e.at, e.size), true
}

// NextMessage goes to the group's next message; false after the last.
func (r *Reader) NextMessage() bool {
	if !r.Cursor.NextMessage() {
		return false
	}
	r.Value = r.Cursor.Value()
	return true
}
