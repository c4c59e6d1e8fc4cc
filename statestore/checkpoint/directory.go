package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// tempPrefix begins the name of a file that is being written. Names with an element that starts with a dot are
	// refused, so it is never anybody else's.
	tempPrefix = ".tmp-"
	// tempAge is after what an unfinished file counts as left over: another process may share the directory, and no
	// write takes that long.
	tempAge = 10 * time.Minute
)

// DirectoryStorage keeps files in a directory of one machine, or of a mount that several share and that has hard links.
// A file is written without a name (or, where the file system cannot do that, under another), synced, and then linked to
// its name, which fails if the name is taken; then the directory is synced: two syncs per file. A Delete is not synced: after
// a power loss a deleted file may be back, as it was. With Recycle a deleted file is written over instead of a new one.
type DirectoryStorage struct {
	root    string
	writers sync.Pool // of *blockWriter: one per file would be most of what an epoch allocates
	blocks  sync.Pool // of *[]byte, for writers of large files
	spares  spares
}

// Directory opens a directory, makes it if it is missing, tries that it can be written, and removes what earlier
// processes left unfinished.
func Directory(path string) (*DirectoryStorage, error) {
	d := &DirectoryStorage{root: filepath.Clean(path)}
	if err := d.makeDir(d.root); err != nil {
		return nil, fmt.Errorf("open checkpoint directory: %w", err)
	}
	if err := d.probe(); err != nil {
		return nil, fmt.Errorf("open checkpoint directory: it must be writable and have hard links: %w", err)
	}
	if err := d.sweepTemps(time.Now().Add(-tempAge)); err != nil {
		return nil, fmt.Errorf("open checkpoint directory: %w", err)
	}
	return d, nil
}

// probe does once what Create needs, so that a mount that cannot do it is refused at the start.
func (d *DirectoryStorage) probe() error {
	temp, err := os.CreateTemp(d.root, tempPrefix)
	if err != nil {
		return err
	}
	linked := temp.Name() + "-link"
	err = os.Link(temp.Name(), linked)
	return errors.Join(err, temp.Close(), os.Remove(temp.Name()), ignoreMissing(os.Remove(linked)))
}

func (d *DirectoryStorage) sweepTemps(before time.Time) error {
	return filepath.WalkDir(d.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasPrefix(entry.Name(), tempPrefix) {
			return err
		}
		stat, err := entry.Info()
		if err != nil || !stat.ModTime().Before(before) {
			return ignoreMissing(err)
		}
		return ignoreMissing(os.Remove(path))
	})
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// path is where a name is, always below the root.
func (d *DirectoryStorage) path(name string) (string, error) {
	if !validName(name) {
		return "", fmt.Errorf("file name %q: want elements divided by '/', none empty or starting with a dot", name)
	}
	return filepath.Join(d.root, filepath.FromSlash(name)), nil
}

func validName(name string) bool {
	if strings.ContainsAny(name, "\\\x00") {
		return false
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element[0] == '.' {
			return false
		}
	}
	return true
}

// Create writes a file; see Storage.
func (d *DirectoryStorage) Create(ctx context.Context, name string, write func(io.Writer) error) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err := d.create(path, write); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

func (d *DirectoryStorage) create(path string, write func(io.Writer) error) error {
	dir := filepath.Dir(path)
	done, err := d.createRecycled(path, dir, write)
	if !done {
		err = d.createNew(path, dir, write)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errors.Join(err, d.discard()) // the next try finds what room there is
	}
	if err != nil {
		return err
	}
	last := d.spares.last()
	if err := syncDir(dir); err != nil {
		return err
	}
	d.spares.ripen(dir, last)
	return nil
}

// createNew makes an inode for the file, and the directories that it is in.
func (d *DirectoryStorage) createNew(path, dir string, write func(io.Writer) error) error {
	supported, err := d.createUnnamed(path, dir, write)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.makeDir(dir); err != nil {
			return err
		}
		supported, err = d.createUnnamed(path, dir, write)
	}
	if !supported {
		err = d.createTemp(path, dir, write)
	}
	return err
}

// createTemp writes a file under a temporary name, and links it to its own.
func (d *DirectoryStorage) createTemp(path, dir string, write func(io.Writer) error) error {
	temp, err := os.CreateTemp(dir, tempPrefix)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.makeDir(dir); err != nil {
			return err
		}
		temp, err = os.CreateTemp(dir, tempPrefix)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(d.fill(temp, write, temp.Sync), temp.Close()); err != nil {
		// What is left over is swept at the next open; the first error says more.
		_ = os.Remove(temp.Name())
		return err
	}
	err = os.Link(temp.Name(), path)
	removed := os.Remove(temp.Name())
	if errors.Is(err, syscall.EEXIST) {
		return ErrExists
	}
	return errors.Join(err, removed)
}

// fill writes a file and syncs it.
func (d *DirectoryStorage) fill(f *os.File, write func(io.Writer) error, sync func() error) error {
	blocks, ok := d.writers.Get().(*blockWriter)
	if !ok {
		blocks = newBlockWriter(&d.blocks)
	}
	blocks.reset(f)
	defer func() {
		blocks.reset(nil)
		d.writers.Put(blocks)
	}()
	err := write(blocks)
	if err == nil {
		err = blocks.flush()
	}
	if err == nil {
		err = sync()
	}
	return err
}

// makeDir makes a directory and those above it that are missing, and makes that durable.
func (d *DirectoryStorage) makeDir(dir string) error {
	stat, err := os.Stat(dir)
	if err == nil && !stat.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := d.makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Open reads a file; see Storage.
func (d *DirectoryStorage) Open(ctx context.Context, name string) (File, error) {
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	f, err := d.open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return f, nil
}

func (d *DirectoryStorage) open(path string) (File, error) {
	d.spares.opening(path)
	f, err := os.Open(path)
	if err != nil {
		d.spares.closed(path)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	file := &directoryFile{File: f, path: path, spares: &d.spares}
	stat, err := f.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	file.size = stat.Size()
	return file, nil
}

type directoryFile struct {
	*os.File
	path   string
	size   int64
	spares *spares
}

func (f *directoryFile) Size() int64 { return f.size }

// Close ends reading, the first time.
func (f *directoryFile) Close() error {
	err := f.File.Close()
	if !errors.Is(err, os.ErrClosed) {
		f.spares.closed(f.path)
	}
	return err
}

// List walks the part of the tree that the prefix names; see Storage.
func (d *DirectoryStorage) List(ctx context.Context, prefix string) ([]string, error) {
	dir := "."
	if cut := strings.LastIndexByte(prefix, '/'); cut >= 0 {
		dir = prefix[:cut]
		if !validName(dir) {
			return nil, fmt.Errorf("list %q: want elements divided by '/', none empty or starting with a dot", prefix)
		}
	}
	var names []string
	err := filepath.WalkDir(filepath.Join(d.root, filepath.FromSlash(dir)), func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), tempPrefix) {
			return ignoreMissing(err) // deleted meanwhile, or a directory that is not there
		}
		relative, err := filepath.Rel(d.root, path)
		if name := filepath.ToSlash(relative); err == nil && strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", prefix, err)
	}
	slices.Sort(names)
	return names, nil
}

// Delete removes a file; see Storage.
func (d *DirectoryStorage) Delete(ctx context.Context, name string) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	done, err := d.recycle(path)
	if !done {
		err = ignoreMissing(os.Remove(path))
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}
