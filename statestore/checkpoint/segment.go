package checkpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/weir-run/weir/functions"
)

// Segment is a part of a task's queue that lies in a file of its own: epochs refer to it, and do not write it again.
// Its place in the queue is that of the KindReferences section that names it.
type Segment struct {
	File  FileRef            `json:"file"`
	Taken int64              `json:"taken,omitempty"` // bytes of messages at its start that have been taken
	From  functions.KeyGroup `json:"from"`            // the messages of key groups in [From, To) count; others are another task's
	To    functions.KeyGroup `json:"to"`
}

// EncodeSegments is the body of a KindReferences section.
func EncodeSegments(segments []Segment) ([]byte, error) {
	b, err := json.Marshal(segments)
	if err != nil {
		return nil, fmt.Errorf("encode references to segments: %w", err)
	}
	return b, nil
}

// DecodeSegments reads what EncodeSegments writes: ErrDamaged for anything else.
func DecodeSegments(b []byte) ([]Segment, error) {
	var segments []Segment
	if err := json.Unmarshal(b, &segments); err != nil {
		return nil, fmt.Errorf("references to segments: %w: %v", ErrDamaged, err)
	}
	for i := range segments {
		s := &segments[i]
		if !validName(s.File.Name) || s.Taken < 0 || s.Taken > s.File.Length || s.From >= s.To || s.To > functions.MaxKeyGroups {
			return nil, fmt.Errorf("references to segments: %w: number %d refers to bytes from %d of %q, key groups %d to %d",
				ErrDamaged, i, s.Taken, s.File.Name, s.From, s.To)
		}
	}
	return segments, nil
}

// CreateSegment makes runs of messages durable as the segment file name, a snapshot file with one section.
func CreateSegment(ctx context.Context, storage Storage, name string, task int, runs [][]byte) (FileRef, error) {
	ref := FileRef{Name: name}
	err := storage.Create(ctx, name, func(out io.Writer) error {
		w := NewWriter(out)
		if err := w.Section(KindSegment, task, 0, "", runs...); err != nil {
			return err
		}
		return w.Close(&ref)
	})
	if err != nil {
		return FileRef{}, fmt.Errorf("write segment %s: %w", name, err)
	}
	return ref, nil
}

// ReadSegment returns the messages that s refers to, of every key group that the file has; they are the caller's.
func ReadSegment(ctx context.Context, storage Storage, s *Segment) ([]byte, error) {
	file, err := OpenSnapshot(ctx, storage, s.File)
	if err != nil {
		return nil, err
	}
	for _, section := range file.Sections() {
		if section.Kind != KindSegment || section.Length < s.Taken {
			continue
		}
		body, err := file.Read(section)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		return body[s.Taken:], nil
	}
	return nil, errors.Join(fmt.Errorf("segment %s: %w: it has no %d bytes of messages", s.File.Name, ErrDamaged, s.Taken), file.Close())
}
