package checkpoint

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// MemoryStorage keeps files in memory, for tests and simulation, and can be made to fail as storages do. The zero value
// is ready and never fails.
type MemoryStorage struct {
	// Fail is asked before each step of an operation on a file, in the caller's goroutine; an error ends the operation
	// at that step. Set it before use. Steps: "open", "list" (name is the prefix), "delete", and those of Create:
	//
	//	"create"  nothing has happened
	//	"write"   after half of the bytes; nothing can be seen
	//	"sync"    the file can be seen, and is lost at the next Crash
	//	"ack"     the file is durable, only the answer is lost
	Fail func(step, name string) error
	// Capacity is the bytes that fit, 0 for any number. Beyond it Create fails with ENOSPC.
	Capacity int64

	mu    sync.Mutex // guards files and bytes
	files map[string]memoryFile
	bytes int64
}

type memoryFile struct {
	content []byte
	durable bool
}

// fail asks Fail.
func (s *MemoryStorage) fail(ctx context.Context, step, name string) error {
	err := ctx.Err()
	if err == nil && s.Fail != nil {
		err = s.Fail(step, name)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", step, name, err)
	}
	return nil
}

// Create writes a file; see Storage.
func (s *MemoryStorage) Create(ctx context.Context, name string, write func(io.Writer) error) error {
	if !validName(name) {
		return fmt.Errorf("file name %q: want elements divided by '/', none empty or starting with a dot", name)
	}
	if err := s.fail(ctx, "create", name); err != nil {
		return err
	}
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err := s.fail(ctx, "write", name); err != nil {
		return err
	}
	if err := s.add(name, content.Bytes()); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err := s.fail(ctx, "sync", name); err != nil {
		return err
	}
	s.mu.Lock()
	if f, ok := s.files[name]; ok {
		f.durable = true
		s.files[name] = f
	}
	s.mu.Unlock()
	return s.fail(ctx, "ack", name)
}

func (s *MemoryStorage) add(name string, content []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.files[name]; taken {
		return ErrExists
	}
	if s.Capacity > 0 && s.bytes+int64(len(content)) > s.Capacity {
		return syscall.ENOSPC
	}
	if s.files == nil {
		s.files = map[string]memoryFile{}
	}
	s.files[name] = memoryFile{content: content}
	s.bytes += int64(len(content))
	return nil
}

// Open reads a file; see Storage.
func (s *MemoryStorage) Open(ctx context.Context, name string) (File, error) {
	if err := s.fail(ctx, "open", name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.files[name]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", name, ErrNotExist)
	}
	return openMemoryFile{bytes.NewReader(f.content)}, nil
}

type openMemoryFile struct{ *bytes.Reader }

func (openMemoryFile) Close() error { return nil }

// List returns names; see Storage.
func (s *MemoryStorage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.fail(ctx, "list", prefix); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.files {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Delete removes a file; see Storage.
func (s *MemoryStorage) Delete(ctx context.Context, name string) error {
	if err := s.fail(ctx, "delete", name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(name)
	return nil
}

func (s *MemoryStorage) remove(name string) {
	s.bytes -= int64(len(s.files[name].content))
	delete(s.files, name)
}

// Crash takes back every file whose Create did not come as far as being durable, as a power loss does.
func (s *MemoryStorage) Crash() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, f := range s.files {
		if !f.durable {
			s.remove(name)
		}
	}
}

// Tear cuts a file to its first size bytes, as a broken disk does.
func (s *MemoryStorage) Tear(name string, size int) {
	s.change(name, func(content []byte) []byte { return content[:size] })
}

// Flip inverts one bit of a file, counted from the lowest bit of its first byte.
func (s *MemoryStorage) Flip(name string, bit int) {
	s.change(name, func(content []byte) []byte {
		content[bit/8] ^= 1 << (bit % 8)
		return content
	})
}

// change replaces a file's content by what f makes of a copy.
func (s *MemoryStorage) change(name string, f func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, ok := s.files[name]
	if !ok {
		panic("checkpoint: no file " + name + " to damage")
	}
	s.bytes -= int64(len(file.content))
	file.content = f(bytes.Clone(file.content))
	s.bytes += int64(len(file.content))
	s.files[name] = file
}
