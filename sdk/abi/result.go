package abi

// Result decodes the effects of a batch. Open checks everything once, so that walking it cannot fail: groups with Next,
// and in each group its state writes and its ops, in any interleaving. All it hands out are views of the opened bytes.
type Result struct {
	out    []byte
	groups int // not yet visited
	next   int // where the next group starts

	done, ops, writes int
	code              uint16
	text              []byte
	op, write         int // where the next op and the next state write start
}

// Open checks out as the answer to a batch of groups groups, of counts[i] messages each, and stands before its first group.
// The error is an *Error. It does not know how many states a function has: the caller checks StateWrite.Index.
func (r *Result) Open(out []byte, groups int, counts []int) error {
	*r = Result{}
	if len(out) < resultHeader {
		return &Error{true, faultShort, 0}
	}
	if le.Uint16(out) != Version {
		return &Error{true, faultVersion, 0}
	}
	if uint64(le.Uint32(out[4:])) != uint64(groups) || groups != len(counts) {
		return &Error{true, faultGroups, 4}
	}
	if uint64(le.Uint32(out[8:])) != uint64(len(out)) || len(out) > MaxBytes {
		return &Error{true, faultLength, 8}
	}
	ext := uint64(le.Uint32(out[12:]))
	if ext > uint64(len(out)-resultHeader) {
		return &Error{true, faultShort, 12}
	}
	first := resultHeader + pad8(int(ext))
	at := first
	for i := range groups {
		n, err := checkGroup(out, at, counts[i])
		if err != nil {
			return err
		}
		at += n
	}
	if at != len(out) {
		return &Error{true, faultLength, at}
	}
	r.out, r.groups, r.next = out, groups, first
	return nil
}

// checkGroup checks the group result at byte at, for a group of count messages, and returns its length.
func checkGroup(out []byte, at, count int) (int, error) {
	if at > len(out)-groupResult {
		return 0, &Error{true, faultShort, at}
	}
	h := out[at:]
	n, ops, text, ext := uint64(le.Uint32(h)), uint64(le.Uint32(h[16:])), uint64(le.Uint32(h[20:])), uint64(le.Uint32(h[24:]))
	if n > uint64(len(h)) || n < groupResult || n%8 != 0 {
		return 0, &Error{true, faultShort, at}
	}
	if ops%8 != 0 || groupResult+ops+(text+7)&^7+(ext+7)&^7 > n {
		return 0, &Error{true, faultLength, at + 16}
	}
	done, failed := uint64(le.Uint32(h[4:])), le.Uint16(h[8:]) != 0
	if failed && done >= uint64(count) || !failed && done != uint64(count) {
		return 0, &Error{true, faultDone, at + 4}
	}
	opsEnd := at + groupResult + int(ops)
	if err := checkOps(out[:opsEnd], at+groupResult, int(le.Uint32(h[12:])), int(done)); err != nil {
		return 0, err
	}
	writes := opsEnd + pad8(int(text)) + pad8(int(ext))
	return int(n), checkWrites(out[:at+int(n)], writes, int(le.Uint16(h[10:])))
}

// checkOps checks that out from byte at on is exactly ops ops, of messages below done.
func checkOps(out []byte, at, ops, done int) error {
	last, replied := 0, -1
	for range ops {
		if len(out)-at < opHeader {
			return &Error{true, faultShort, at}
		}
		h := out[at:]
		n := uint64(le.Uint32(h))
		if n > uint64(len(h)) {
			return &Error{true, faultShort, at}
		}
		parts := opHeader + uint64(le.Uint16(h[6:])) + uint64(le.Uint32(h[12:])) + uint64(le.Uint32(h[16:])) +
			uint64(le.Uint16(h[20:])) + uint64(le.Uint16(h[22:])) + uint64(le.Uint32(h[24:]))
		if n != (parts+7)&^7 {
			return &Error{true, faultLength, at}
		}
		message := int(le.Uint32(h[8:]))
		if message < last || message >= done {
			return &Error{true, faultMessage, at + 8}
		}
		last = message
		switch OpKind(h[4]) {
		case Send, Egress:
		case Reply:
			if replied == message {
				return &Error{true, faultReply, at + 4}
			}
			replied = message
		default:
			return &Error{true, faultKind, at + 4}
		}
		at += int(n)
	}
	if at != len(out) {
		return &Error{true, faultLength, at}
	}
	return nil
}

// checkWrites checks that out from byte at on is exactly writes state writes, of rising indices.
func checkWrites(out []byte, at, writes int) error {
	last := -1
	for range writes {
		if len(out)-at < writeHeader {
			return &Error{true, faultShort, at}
		}
		h := out[at:]
		index := int(le.Uint16(h))
		if index <= last {
			return &Error{true, faultState, at}
		}
		last = index
		if h[2] > 1 {
			return &Error{true, faultKind, at + 2}
		}
		n := (uint64(le.Uint32(h[4:])) + writeHeader + 7) &^ 7
		if n > uint64(len(h)) {
			return &Error{true, faultShort, at + 4}
		}
		at += int(n)
	}
	if at != len(out) {
		return &Error{true, faultLength, at}
	}
	return nil
}

// Next goes to the next group; false after the last.
func (r *Result) Next() bool {
	if r.groups == 0 {
		return false
	}
	r.groups--
	h := r.out[r.next:]
	r.op = r.next + groupResult
	text := r.op + int(le.Uint32(h[16:]))
	size := int(le.Uint32(h[20:]))
	r.text = r.out[text : text+size : text+size]
	r.write = text + pad8(size) + pad8(int(le.Uint32(h[24:])))
	r.done, r.code = int(le.Uint32(h[4:])), le.Uint16(h[8:])
	r.writes, r.ops = int(le.Uint16(h[10:])), int(le.Uint32(h[12:]))
	r.next += int(le.Uint32(h))
	return true
}

// Done is the number of the group's messages whose effects apply.
func (r *Result) Done() int { return r.done }

// Failure says that the message at index Done failed, and why: nothing of it applies, and the messages after it were not
// run. text is UTF-8 as far as the guest keeps to it, its first line fit for a list.
func (r *Result) Failure() (code uint16, text []byte, failed bool) {
	return r.code, r.text, r.code != 0
}

// NextState reads the group's next state write into s; false after the last.
func (r *Result) NextState(s *StateWrite) bool {
	if r.writes == 0 {
		return false
	}
	r.writes--
	h := r.out[r.write:]
	end := writeHeader + int(le.Uint32(h[4:]))
	s.Index, s.Delete, s.Value = int(le.Uint16(h)), h[2] == 1, h[writeHeader:end:end]
	if s.Delete {
		s.Value = nil
	}
	r.write += pad8(end)
	return true
}

// NextOp reads the group's next op into op; false after the last.
func (r *Result) NextOp(op *Op) bool {
	if r.ops == 0 {
		return false
	}
	r.ops--
	h := r.out[r.op:]
	op.Kind, op.Message = OpKind(h[4]), int(le.Uint32(h[8:]))
	op.NoKey, op.NoValue = h[5]&NoKey != 0, h[5]&NoValue != 0
	op.Delay = int64(le.Uint64(h[32:]))
	at := opHeader
	op.Target, at = part(h, at, int(le.Uint16(h[6:])))
	op.Key, at = part(h, at, int(le.Uint32(h[12:])))
	op.Value, at = part(h, at, int(le.Uint32(h[16:])))
	op.Topic, at = part(h, at, int(le.Uint16(h[20:])))
	op.Type, at = part(h, at, int(le.Uint16(h[22:])))
	op.Ext, _ = part(h, at, int(le.Uint32(h[24:])))
	r.op += int(le.Uint32(h))
	return true
}

// part is the n bytes of h from at on, and where the next part starts.
func part(h []byte, at, n int) ([]byte, int) { return h[at : at+n : at+n], at + n }
