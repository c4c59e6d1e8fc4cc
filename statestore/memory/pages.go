//go:build !race

package memory

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePageBytes = 2 << 20

// pages takes size bytes, zeroed, from the operating system: memory that the garbage collector neither scans nor counts.
func pages(size int) ([]byte, error) {
	at, err := unix.MmapPtr(-1, 0, nil, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of state: %w", size, os.NewSyscallError("mmap", err))
	}
	b := unsafe.Slice((*byte)(at), size)
	if size >= hugePageBytes {
		hugePages(b)
	}
	return b, nil
}

// returnPages gives back what pages took.
func returnPages(b []byte) error {
	if err := unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b))); err != nil {
		return fmt.Errorf("unmap %d bytes of state: %w", len(b), os.NewSyscallError("munmap", err))
	}
	return nil
}
