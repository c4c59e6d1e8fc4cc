package checkpoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

const (
	// InlineBytes is how much of an epoch its manifest may hold itself, over all TaskManagers, instead of in files of their
	// own: to write so much again takes less time than the two syncs of a file. Flink has the same
	// (execution.checkpointing.data-inline-threshold, 20 KiB by default and 1 MiB at most).
	InlineBytes = 64 << 10
	// maxInlineDeltas is how many bytes of changes manifests repeat before they are joined into a file: a manifest holds
	// those of all epochs since the last join.
	maxInlineDeltas = 64 << 10
	// crowdedInline is how many they may be while a join is under way, or waits for a fold to end.
	crowdedInline = 4 * maxInlineDeltas
)

// AppendFiles appends files as bytes, in the order of their names: for each the length of its name (uvarint), the name, the
// length of its content (uvarint), the content. In JSON they would be base64, which at 100 epochs a second took a sixth of
// all CPU time.
func AppendFiles(b []byte, files map[string][]byte) []byte {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
		b = binary.AppendUvarint(b, uint64(len(files[name])))
		b = append(b, files[name]...)
	}
	return b
}

// ReadFiles reads what AppendFiles writes, nil when that is nothing, as views of b: ErrDamaged for anything else.
func ReadFiles(b []byte) (map[string][]byte, error) {
	var files map[string][]byte
	var name, content []byte
	last := ""
	for len(b) > 0 {
		var ok, also bool
		if name, b, ok = cutCounted(b); ok {
			content, b, also = cutCounted(b)
		}
		if !ok || !also {
			return nil, fmt.Errorf("%w: a file that it holds ends behind its end", ErrDamaged)
		}
		if files == nil {
			files = map[string][]byte{}
		} else if string(name) <= last {
			return nil, fmt.Errorf("%w: file %q that it holds stands behind %q", ErrDamaged, name, last)
		}
		last = string(name)
		files[last] = content
	}
	return files, nil
}

// cutCounted takes a length and so many bytes off b.
func cutCounted(b []byte) (counted, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return nil, nil, false
	}
	end := size + int(n)
	return b[size:end:end], b[end:], true
}

// Over is storage with the snapshot files that m holds itself on top of it: for whoever reads what m names.
func (m *Manifest) Over(storage Storage) Storage { return WithInline(storage, m.Inline) }

// WithInline is storage with some snapshot files on top of it, by name.
func WithInline(storage Storage, inline map[string][]byte) Storage {
	if len(inline) == 0 {
		return storage
	}
	return &overlay{storage, inline}
}

type overlay struct {
	Storage
	inline map[string][]byte
}

func (o *overlay) Open(ctx context.Context, name string) (File, error) {
	if b, ok := o.inline[name]; ok {
		return inlineFile{bytes.NewReader(b)}, nil
	}
	return o.Storage.Open(ctx, name)
}

type inlineFile struct{ *bytes.Reader }

func (inlineFile) Close() error { return nil }

// KeepInline makes m hold what it names of some snapshot files, and nothing else.
func (m *Manifest) KeepInline(from ...map[string][]byte) {
	m.Inline = nil
	for ref := range m.refs {
		for _, files := range from {
			if b, ok := files[ref.Name]; ok {
				if m.Inline == nil {
					m.Inline = map[string][]byte{}
				}
				m.Inline[ref.Name] = b
			}
		}
	}
}

// InlineOf is the part of what m holds that some references name.
func (m *Manifest) InlineOf(refs []FileRef) map[string][]byte {
	named := map[string][]byte{}
	for _, ref := range refs {
		if b, ok := m.Inline[ref.Name]; ok {
			named[ref.Name] = b
		}
	}
	return named
}

// Crowded says that m holds so many changes itself that the next epoch is to be written to files.
func (m *Manifest) Crowded() bool { return m.inlineBytes(m.Deltas) > crowdedInline }

// inlineBytes is how many bytes of some files m holds itself.
func (m *Manifest) inlineBytes(refs []FileRef) (sum int64) {
	for _, ref := range refs {
		if _, ok := m.Inline[ref.Name]; ok {
			sum += ref.Length
		}
	}
	return sum
}

// LimitedBuffer is a buffer that takes limit bytes and no more: the Write that would exceed them fails, and changes nothing.
type LimitedBuffer struct {
	Limit int
	b     []byte
}

// Bytes is what was written.
func (l *LimitedBuffer) Bytes() []byte { return l.b }

func (l *LimitedBuffer) Write(p []byte) (int, error) {
	if len(l.b)+len(p) > l.Limit {
		return 0, fmt.Errorf("%d bytes exceed the limit of %d", len(l.b)+len(p), l.Limit)
	}
	l.b = append(l.b, p...)
	return len(p), nil
}
