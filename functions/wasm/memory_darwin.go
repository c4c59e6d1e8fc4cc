package wasm

import (
	"os"

	"golang.org/x/sys/unix"
)

// anonymousFile is a file in the temporary directory that has lost its name: darwin has no memfd.
func anonymousFile() (int, error) {
	f, err := os.CreateTemp("", "weir-image-")
	if err != nil {
		return -1, err
	}
	defer f.Close() // the duplicate below stays open
	if err := os.Remove(f.Name()); err != nil {
		return -1, err
	}
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// seal does nothing: without a name, only this process reaches the file.
func seal(int) error { return nil }
