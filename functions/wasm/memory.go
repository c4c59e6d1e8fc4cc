package wasm

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

const wasmPage = 64 << 10

// ledger counts the linear memory of all instances of a module.
type ledger struct {
	limit int64
	used  atomic.Int64
}

func (l *ledger) take(n int64) bool {
	if l.used.Add(n) > l.limit {
		l.used.Add(-n)
		return false
	}
	return true
}

func (l *ledger) give(n int64) { l.used.Add(-n) }

// linearMemory is the memory of one instance: a reservation of its limit, of which the head is readable and writable.
// Its base never moves, it is outside the Go heap, and pages that the guest never touches cost nothing. It is handed to
// wazero as the allocator of exactly one memory; wazero frees it with the instance.
type linearMemory struct {
	reserved []byte
	usable   uint64
	ledger   *ledger
	refused  bool // a growth was refused, so what traps next ran out of memory
}

// reserve maps limit bytes, the first initial of them usable. With an image, they are its pages, copied on write.
func reserve(initial, limit int64, ledger *ledger, image *image) (*linearMemory, error) {
	if initial > limit {
		return nil, fmt.Errorf("%w: an instance begins with %d bytes, the limit of an instance is %d", ErrMemory, initial, limit)
	}
	if !ledger.take(initial) {
		return nil, fmt.Errorf("%w: an instance begins with %d bytes, and all of the module's have %d of %d", ErrMemory, initial,
			ledger.used.Load(), ledger.limit)
	}
	b, err := unix.Mmap(-1, 0, int(limit), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		ledger.give(initial)
		return nil, fmt.Errorf("reserve %d bytes for an instance: %w", limit, err)
	}
	l := &linearMemory{reserved: b, usable: uint64(initial), ledger: ledger}
	switch {
	case initial == 0:
	case image != nil:
		err = image.mapAt(b)
	default:
		err = unix.Mprotect(b[:initial], unix.PROT_READ|unix.PROT_WRITE)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map %d bytes for an instance: %w", initial, err), l.unmap())
	}
	return l, nil
}

// Allocate makes a linearMemory the allocator of itself.
func (l *linearMemory) Allocate(_, _ uint64) experimental.LinearMemory { return l }

// Reallocate makes size bytes usable, or answers nil when a limit forbids it: memory.grow then returns -1.
func (l *linearMemory) Reallocate(size uint64) []byte {
	if size <= l.usable {
		return l.reserved[:size:l.usable]
	}
	grown := int64(size - l.usable)
	if size > uint64(len(l.reserved)) || !l.ledger.take(grown) {
		l.refused = true
		return nil
	}
	if err := unix.Mprotect(l.reserved[l.usable:size], unix.PROT_READ|unix.PROT_WRITE); err != nil {
		l.ledger.give(grown)
		l.refused = true
		return nil
	}
	l.usable = size
	return l.reserved[:size:size]
}

// Free gives the memory back; wazero calls it when the instance closes.
func (l *linearMemory) Free() {
	if l.reserved == nil {
		return
	}
	if err := l.unmap(); err != nil {
		panic(fmt.Sprintf("wasm: unmap a memory of %d bytes: %v", len(l.reserved), err))
	}
}

func (l *linearMemory) unmap() error {
	b := l.reserved
	l.ledger.give(int64(l.usable))
	l.reserved, l.usable = nil, 0
	return unix.Munmap(b)
}

// image is the memory of a pre-initialised guest, in a file without a name, which instances map privately.
type image struct {
	fd    int
	bytes int
}

func (m *image) mapAt(b []byte) error {
	at := unsafe.Pointer(unsafe.SliceData(b))
	_, err := unix.MmapPtr(m.fd, 0, at, uintptr(m.bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	return err
}

func (m *image) close() error { return unix.Close(m.fd) }

// newImage copies b into an anonymous file. Pages of zeros stay holes.
func newImage(b []byte) (*image, error) {
	fd, err := anonymousFile()
	if err != nil {
		return nil, fmt.Errorf("create a memory image: %w", err)
	}
	m := &image{fd: fd, bytes: len(b)}
	if err := m.fill(b); err != nil {
		return nil, errors.Join(fmt.Errorf("write a memory image of %d bytes: %w", len(b), err), m.close())
	}
	return m, nil
}

func (m *image) fill(b []byte) error {
	if err := unix.Ftruncate(m.fd, int64(len(b))); err != nil {
		return err
	}
	var zero [4096]byte
	for at := 0; at < len(b); at += len(zero) {
		page := b[at:min(at+len(zero), len(b))]
		if string(page) == string(zero[:len(page)]) {
			continue
		}
		for len(page) > 0 {
			n, err := unix.Pwrite(m.fd, page, int64(at+len(zero)-len(page)))
			if err != nil {
				return err
			}
			page = page[n:]
		}
	}
	return seal(m.fd)
}
