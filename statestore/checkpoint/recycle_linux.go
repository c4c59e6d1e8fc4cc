package checkpoint

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// canRecycle tries what createRecycled needs.
func canRecycle(dir string) (bool, error) {
	temp, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return false, err
	}
	renamed := temp.Name() + "-renamed"
	failed := renameNew(temp.Name(), renamed)
	err = errors.Join(temp.Close(), ignoreMissing(os.Remove(temp.Name())), ignoreMissing(os.Remove(renamed)))
	return failed == nil, err
}

// renameNew renames a file if the name is free: EEXIST.
func renameNew(from, to string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		return &fs.PathError{Op: "rename", Path: to, Err: err}
	}
	return nil
}

// createRecycled writes a file over a spare of its directory; false, and nothing has happened, when there is none. The file
// gets its name when it is whole and synced, as an unnamed one does.
func (d *DirectoryStorage) createRecycled(path, dir string, write func(io.Writer) error) (done bool, err error) {
	from := d.spares.take(dir)
	if from == "" {
		return false, nil
	}
	f, size := openSpare(from)
	if f == nil {
		_ = os.Remove(from) // somebody did something to it; what is left over is swept
		return false, nil
	}
	err = d.fill(f, write, func() (err error) {
		size, err = syncRecycled(f, size)
		return err
	})
	if err == nil {
		err = renameNew(from, path)
	}
	if errors.Is(err, unix.EEXIST) {
		return true, errors.Join(ErrExists, f.Close(), d.keep("", spare{dir: dir, path: from, size: size, ripe: true}))
	}
	if err != nil {
		_ = os.Remove(from) // the error says more, and what is left over is swept
	}
	return true, errors.Join(err, f.Close())
}

// openSpare opens a spare to be written over, and says how long it is; nil when it is not as Delete left it. One with a
// second name is a copy that somebody keeps.
func openSpare(path string) (*os.File, int64) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, 0
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Nlink != 1 || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd) // nothing was written
		return nil, 0
	}
	return os.NewFile(uintptr(fd), path), stat.Size
}

// syncRecycled ends a file, which was size bytes long, where the writing has ended, syncs it, and returns its length.
func syncRecycled(f *os.File, size int64) (int64, error) {
	end, err := f.Seek(0, io.SeekCurrent)
	if err == nil && end < size {
		err = f.Truncate(end)
	}
	if err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	return end, err
}
