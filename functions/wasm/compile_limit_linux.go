package wasm

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// limitAddressSpace makes the process die, rather than the machine swap, when compiling takes more.
func limitAddressSpace(bytes uint64) error {
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: bytes, Max: bytes}); err != nil {
		return fmt.Errorf("limit address space: %w", err)
	}
	return nil
}
