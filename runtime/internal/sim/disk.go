package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/weir-run/weir/statestore/checkpoint"
)

// errDied is what an operation of a process gets that is gone.
var errDied = errors.New("the process is gone")

// disk is the storage of a run; it outlives processes. A file becomes visible and durable in one step of the scheduler, or,
// when that step is in doubt, only visible: a loss of power then takes it back, unless its directory was synced since.
type disk struct {
	durable func(name string, content []byte) // told of every file that becomes durable
	deleted func(name string)

	mu    sync.Mutex // guards what follows; a leaf
	files map[string]*file
	fresh []string // durable since the last look
	gone  []string // deleted since the last look
}

type file struct {
	content []byte
	durable bool // would survive a loss of power
	told    bool // durable has been told
}

// mount is a process's view of the disk; it implements checkpoint.Storage.
type mount struct {
	disk    *disk
	process *process
}

func (m *mount) lane(step, name string) string {
	return fmt.Sprintf("%d/disk/%s/%s", m.process.number, name, step)
}

func (m *mount) hold(step, name string) verdict {
	return m.process.world.scheduler.hold(m.process, storage, m.lane(step, name))
}

// Create implements checkpoint.Storage.
func (m *mount) Create(_ context.Context, name string, write func(io.Writer) error) error {
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	said := m.process.world.scheduler.holdLate(m.process, storage, m.lane("create", name), func() {
		m.disk.add(name, content.Bytes(), true)
	})
	switch said {
	case died:
		return errDied
	case refuse:
		return fmt.Errorf("create %s: %w", name, syscall.ENOSPC)
	}
	if !m.disk.add(name, content.Bytes(), said != doubt) {
		return checkpoint.ErrExists
	}
	if said == doubt {
		return fmt.Errorf("sync %s: %w", name, syscall.EIO)
	}
	switch m.hold("told", name) {
	case died:
		return errDied
	case refuse, doubt:
		return fmt.Errorf("sync %s: %w", name, syscall.EIO)
	}
	return nil
}

// add makes a file, unless its name is taken.
func (d *disk) add(name string, content []byte, durable bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] != nil {
		return false
	}
	d.files[name] = &file{content: content, durable: durable}
	if durable {
		d.syncDir(path.Dir(name))
	}
	return true
}

// syncDir makes all names in a directory durable, and tells of them in their order.
func (d *disk) syncDir(dir string) {
	var names []string
	for name, f := range d.files {
		if path.Dir(name) == dir && !f.told {
			f.durable, f.told = true, true
			names = append(names, name)
		}
	}
	slices.Sort(names)
	d.fresh = append(d.fresh, names...)
}

// Open implements checkpoint.Storage.
func (m *mount) Open(_ context.Context, name string) (checkpoint.File, error) {
	if m.process.dead.Load() {
		return nil, errDied
	}
	if m.process.blind.Load() {
		return nil, fmt.Errorf("open %s: %w", name, syscall.EIO)
	}
	return m.disk.Open(context.Background(), name)
}

// Open reads a file as whoever looks from outside does.
func (d *disk) Open(_ context.Context, name string) (checkpoint.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		return nil, fmt.Errorf("open %s: %w", name, checkpoint.ErrNotExist)
	}
	return openFile{bytes.NewReader(f.content)}, nil
}

type openFile struct{ *bytes.Reader }

func (openFile) Close() error { return nil }

// List implements checkpoint.Storage.
func (m *mount) List(_ context.Context, prefix string) ([]string, error) {
	if m.process.dead.Load() {
		return nil, errDied
	}
	return m.disk.List(context.Background(), prefix)
}

// List returns the names with a prefix, sorted.
func (d *disk) List(_ context.Context, prefix string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.files {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete implements checkpoint.Storage.
func (m *mount) Delete(_ context.Context, name string) error {
	switch m.hold("delete", name) {
	case died:
		return errDied
	case refuse:
		return fmt.Errorf("delete %s: %w", name, syscall.EIO)
	}
	d := m.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files[name] != nil {
		delete(d.files, name)
		d.gone = append(d.gone, name)
	}
	return nil
}

// Create and Delete of the disk itself serve nobody: whoever looks from outside only reads.
func (d *disk) Create(context.Context, string, func(io.Writer) error) error {
	panic("sim: the judge writes nothing")
}

// Delete implements checkpoint.Storage.
func (d *disk) Delete(context.Context, string) error { panic("sim: the judge deletes nothing") }

// crash takes back what was not durable.
func (d *disk) crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.files {
		if !f.durable {
			delete(d.files, name)
		}
	}
}

// isDurable says whether a file would be there after a crash.
func (d *disk) isDurable(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	return f != nil && f.durable
}

// look tells of every change since the last time.
func (d *disk) look() {
	d.mu.Lock()
	fresh, gone := d.fresh, d.gone
	d.fresh, d.gone = nil, nil
	contents := make([][]byte, len(fresh))
	for i, name := range fresh {
		if f := d.files[name]; f != nil {
			contents[i] = f.content
		}
	}
	d.mu.Unlock()
	for i, name := range fresh {
		d.durable(name, contents[i])
	}
	for _, name := range gone {
		d.deleted(name)
	}
}

// flush makes everything durable, as a machine does that stays up when a process is killed.
func (d *disk) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name, f := range d.files {
		if !f.durable {
			f.durable, f.told = true, true
			names = append(names, name)
		}
	}
	slices.Sort(names)
	d.fresh = append(d.fresh, names...)
}
