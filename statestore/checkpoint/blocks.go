package checkpoint

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

const (
	// blockBytes is how much of a file is written at a time: many pages, so that a system call is a small part of the cost.
	blockBytes = 512 << 10
	// smallBytes is the memory that a file begins with, so that one of a few kilobytes, as a lone request makes, costs no
	// more: with whole blocks an idle server collects garbage for every few requests.
	smallBytes = 32 << 10
	// directAlign is what offset, length and memory of a direct write are multiples of: the largest that devices ask for.
	directAlign = 4 << 10
)

// blockWriter writes a file in large blocks. A file of one block or less goes through the page cache. A larger one passes it
// by (O_DIRECT, open(2)) where the file system can: nobody reads a checkpoint soon, pages for it cost 3 to 10 times the CPU of
// the write itself, and they would push out those of a broker on the same machine. BenchmarkDirectoryCreate16MiB pays for it.
type blockWriter struct {
	file   *os.File
	blocks *sync.Pool // of *[]byte, whole blocks
	small  []byte
	whole  *[]byte // nil while small is enough
	block  []byte  // small or whole, aligned
	used   int
	direct bool // writes pass the page cache by
	full   bool // a block was written, so that direct says what the file system can
}

func newBlockWriter(blocks *sync.Pool) *blockWriter {
	return &blockWriter{blocks: blocks, small: aligned(smallBytes)}
}

// aligned is memory for direct writes.
func aligned(size int) []byte {
	room := make([]byte, size+directAlign)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(room)))) & (directAlign - 1)
	return room[skip : skip+size : skip+size]
}

// reset begins a file, or, with nil, gives back what the last one took.
func (w *blockWriter) reset(file *os.File) {
	if w.whole != nil {
		w.blocks.Put(w.whole)
	}
	w.file, w.whole, w.block, w.used, w.direct, w.full = file, nil, w.small, 0, false, false
}

// grow goes on in a whole block.
func (w *blockWriter) grow() {
	whole, ok := w.blocks.Get().(*[]byte)
	if !ok {
		room := aligned(blockBytes)
		whole = &room
	}
	w.whole = whole
	copy(*whole, w.block[:w.used])
	w.block = *whole
}

// Write takes p into the block, and writes the block when it is full.
func (w *blockWriter) Write(p []byte) (int, error) {
	taken := 0
	for taken < len(p) {
		n := copy(w.block[w.used:], p[taken:])
		w.used += n
		taken += n
		if w.used < len(w.block) {
			break
		}
		if w.whole == nil {
			w.grow()
			continue
		}
		if !w.full {
			w.full, w.direct = true, setDirect(w.file, true) == nil
		}
		if err := w.write(w.block); err != nil {
			return taken, err
		}
		w.used = 0
	}
	return taken, nil
}

// flush writes what is left. The end of a file that is no multiple of the alignment goes through the page cache.
func (w *blockWriter) flush() error {
	aligned := w.used &^ (directAlign - 1)
	if w.direct && aligned > 0 {
		if err := w.write(w.block[:aligned]); err != nil {
			return err
		}
		copy(w.block, w.block[aligned:w.used])
		w.used -= aligned
	}
	if w.used == 0 {
		return nil
	}
	if err := w.buffered(); err != nil {
		return err
	}
	_, err := w.file.Write(w.block[:w.used])
	return err
}

func (w *blockWriter) write(b []byte) error {
	n, err := w.file.Write(b)
	if !w.direct || !errors.Is(err, syscall.EINVAL) {
		return err
	}
	// It could be set, but this file system, or device, asks for more.
	if err := w.buffered(); err != nil {
		return err
	}
	_, err = w.file.Write(b[n:])
	return err
}

// buffered goes back to the page cache.
func (w *blockWriter) buffered() error {
	if !w.direct {
		return nil
	}
	w.direct = false
	return setDirect(w.file, false)
}
