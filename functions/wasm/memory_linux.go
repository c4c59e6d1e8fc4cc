package wasm

import "golang.org/x/sys/unix"

// anonymousFile is a file that lives in memory and has no name.
func anonymousFile() (int, error) {
	return unix.MemfdCreate("weir-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
}

// seal makes the file constant, so that nothing can pull pages from under an instance.
func seal(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	return err
}
