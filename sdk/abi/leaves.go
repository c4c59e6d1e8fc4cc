//go:build !wasm || purego || tinygo

package abi

import "unsafe"

// put writes an op without topic, type and extensions. op is its kind in bits 32 to 39, oddStaged when it is a staged record,
// and NoKey in bits 40 to 47 in case that the key is empty.
func put(w *Writer, op PutOp, target, key string, value *byte, size int) {
	at := w.at
	n := pad8(opHeader + len(target) + len(key) + size)
	if op&oddStaged != 0 || w.odd != 0 || len(target) > MaxName || n > w.size-at {
		putOdd(w, op, target, key, value, size)
		return
	}
	w.at = at + n
	w.ops++
	p := unsafe.Add(w.base, at)
	store64(p, n-8, 0)
	if len(key) > 0 {
		op &^= NoKey << 40
	}
	store64(p, 0, uint64(op)|uint64(n)|uint64(len(target))<<48)
	store64(p, 8, uint64(w.done)|uint64(len(key))<<32)
	store64(p, 16, uint64(size))
	store64(p, 24, 0)
	store64(p, 32, 0)
	b := w.out[at+opHeader : w.at]
	b = b[copy(b, target):]
	b = b[copy(b, key):]
	copy(b, view(unsafe.Pointer(value), size))
}

// turn closes the open group and opens the next.
func turn(w *Writer) {
	if w.group == 0 || w.odd != 0 || groupResult > w.size-w.at {
		turnOdd(w)
		return
	}
	w.close()
	w.open()
}

// nextGroup reads the header of the next group.
func nextGroup(r *Cursor) bool {
	at := r.next
	if r.groups == 0 || r.messages == 0 && r.at != at || r.size-at < groupHeader {
		return noGroup(r)
	}
	p := unsafe.Add(r.base, at)
	head, middle := load64(p, 0), load64(p, 8)
	n, key := head&0xFFFFFFFF, middle&0xFFFFFFFF
	body := groupHeader + (key+7)&^7 + (load64(p, 16)&0xFFFFFFFF+7)&^7
	if n > uint64(r.size-at) || body > n || n%8 != 0 {
		return damagedGroup(r)
	}
	r.groups--
	r.group, r.key, r.at, r.next = at, int(key), at+int(body), at+int(n)
	r.function, r.states, r.messages = int(head>>32&0xFFFF), int(head>>48), int(middle>>32)
	return true
}

// nextMessage reads the header of the group's next message.
func nextMessage(r *Cursor) bool {
	at, left := r.at, r.next-r.at
	if r.messages == 0 || left < messageHeader {
		return noMessage(r)
	}
	p := unsafe.Add(r.base, at)
	head, lengths, rest := load64(p, 0), load64(p, 24), load64(p, 32)
	n, value := head&0xFFFFFFFF, lengths&0xFFFFFFFF
	if n > uint64(left) || n != (messageHeader+7+value+head>>48+lengths>>32&0xFFFF+rest&0xFFFFFFFF+rest>>32)&^7 {
		return damagedMessage(r)
	}
	r.messages--
	r.body, r.at, r.value = at, at+int(n), int(value)
	return true
}
