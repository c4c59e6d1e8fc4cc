package checkpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/weir-run/weir/functions"
)

// tailBytes is what is read of a file's end at first: trailer and footer of a usual snapshot in one request.
const tailBytes = 64 << 10

// Snapshot is an open snapshot file whose footer is verified. Read may be called from several goroutines.
type Snapshot struct {
	name     string
	file     File
	sections []Section
}

// OpenSnapshot opens a file and checks that it is the one that ref names, by length and footer checksum: ErrDamaged if
// not, ErrNewer for a later format. The sections' own checksums are checked when they are read.
func OpenSnapshot(ctx context.Context, storage Storage, ref FileRef) (*Snapshot, error) {
	file, err := storage.Open(ctx, ref.Name)
	if errors.Is(err, ErrNotExist) {
		return nil, fmt.Errorf("snapshot %s: %w: %w", ref.Name, ErrDamaged, err)
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", ref.Name, err)
	}
	sections, err := readSections(file, ref)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot %s: %w", ref.Name, err), file.Close())
	}
	return &Snapshot{name: ref.Name, file: file, sections: sections}, nil
}

func readSections(file File, ref FileRef) ([]Section, error) {
	size := file.Size()
	if size != ref.Length {
		return nil, fmt.Errorf("%w: %d bytes long, want %d", ErrDamaged, size, ref.Length)
	}
	if size < headerBytes+trailerBytes {
		return nil, fmt.Errorf("%w: %d bytes are shorter than header and trailer", ErrDamaged, size)
	}
	header := make([]byte, headerBytes)
	if err := readAt(file, header, 0); err != nil {
		return nil, err
	}
	if string(header[:4]) != snapshotMagic {
		return nil, fmt.Errorf("%w: not a snapshot file", ErrDamaged)
	}
	if version := binary.LittleEndian.Uint16(header[4:]); version > SnapshotVersion {
		return nil, fmt.Errorf("snapshot format %d: %w", version, ErrNewer)
	}
	tail := make([]byte, min(size, tailBytes))
	if err := readAt(file, tail, size-int64(len(tail))); err != nil {
		return nil, err
	}
	trailer := tail[len(tail)-trailerBytes:]
	from, length := binary.LittleEndian.Uint64(trailer), binary.LittleEndian.Uint32(trailer[8:])
	if string(trailer[20:]) != trailerMagic || from > math.MaxInt64 || from < headerBytes ||
		int64(from) != size-trailerBytes-int64(length) {
		return nil, fmt.Errorf("%w: no trailer", ErrDamaged)
	}
	if need := int(length) + trailerBytes; need > len(tail) {
		tail = make([]byte, need)
		if err := readAt(file, tail, size-int64(need)); err != nil {
			return nil, err
		}
		trailer = tail[len(tail)-trailerBytes:]
	}
	footer := tail[len(tail)-trailerBytes-int(length) : len(tail)-trailerBytes]
	crc := footerCRC(header, footer, trailer[:16])
	if crc != binary.LittleEndian.Uint32(trailer[16:]) || crc != ref.CRC {
		return nil, fmt.Errorf("%w: footer checksum %08x, want %08x", ErrDamaged, crc, ref.CRC)
	}
	return parseFooter(footer, binary.LittleEndian.Uint32(trailer[12:]), int64(from))
}

func readAt(file File, b []byte, at int64) error {
	if n, err := file.ReadAt(b, at); n < len(b) {
		return fmt.Errorf("read %d bytes at %d: %w", len(b), at, err)
	}
	return nil
}

// parseFooter never trusts a length: sections stand back to back from the header to the footer.
func parseFooter(footer []byte, count uint32, end int64) ([]Section, error) {
	if count > maxSections || int64(count)*footerEntryBytes > int64(len(footer)) {
		return nil, fmt.Errorf("%w: %d sections in a footer of %d bytes", ErrDamaged, count, len(footer))
	}
	sections := make([]Section, 0, count)
	at := int64(headerBytes)
	for range count {
		if len(footer) < footerEntryBytes {
			return nil, fmt.Errorf("%w: the footer ends early", ErrDamaged)
		}
		nameLen := int(binary.LittleEndian.Uint16(footer[28:]))
		length := binary.LittleEndian.Uint64(footer[16:])
		if len(footer)-footerEntryBytes < nameLen || nameLen > maxNameBytes {
			return nil, fmt.Errorf("%w: a section name of %d bytes", ErrDamaged, nameLen)
		}
		if binary.LittleEndian.Uint64(footer[8:]) != uint64(at) || length > uint64(end-at) {
			return nil, fmt.Errorf("%w: section of %d bytes at %d does not fit", ErrDamaged, length, at)
		}
		sections = append(sections, Section{
			Kind:   SectionKind(footer[0]),
			Task:   int(int32(binary.LittleEndian.Uint32(footer[4:]))),
			Group:  functions.KeyGroup(binary.LittleEndian.Uint16(footer[2:])),
			Name:   string(footer[footerEntryBytes : footerEntryBytes+nameLen]),
			Length: int64(length),
			offset: at,
			crc:    binary.LittleEndian.Uint32(footer[24:]),
		})
		at += int64(length)
		footer = footer[footerEntryBytes+nameLen:]
	}
	if len(footer) != 0 || at != end {
		return nil, fmt.Errorf("%w: bytes that belong to no section", ErrDamaged)
	}
	return sections, nil
}

// Sections lists the file's sections in their order; the slice is the snapshot's.
func (s *Snapshot) Sections() []Section { return s.sections }

// Read returns a section's bytes, which are the caller's: ErrDamaged when their checksum is wrong.
func (s *Snapshot) Read(section Section) ([]byte, error) { return s.readInto(nil, section) }

// readInto is Read into memory that it may use, and replaces when there is too little.
func (s *Snapshot) readInto(memory []byte, section Section) ([]byte, error) {
	b := slices.Grow(memory[:0], int(section.Length))[:section.Length]
	if err := readAt(s.file, b, section.offset); err != nil {
		return nil, fmt.Errorf("snapshot %s: %s: %w", s.name, &section, err)
	}
	if crc := crc32.Checksum(b, castagnoli); crc != section.crc {
		return nil, fmt.Errorf("snapshot %s: %s: %w: checksum %08x, want %08x", s.name, &section, ErrDamaged, crc, section.crc)
	}
	return b, nil
}

// Close ends reading.
func (s *Snapshot) Close() error { return s.file.Close() }

// verify reads every section.
func (s *Snapshot) verify() error {
	for _, section := range s.sections {
		if _, err := s.Read(section); err != nil {
			return err
		}
	}
	return nil
}

// readFile reads a whole small file, of at most limit bytes.
func readFile(ctx context.Context, storage Storage, name string, limit int64) ([]byte, error) {
	file, err := storage.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	if file.Size() > limit {
		return nil, errors.Join(fmt.Errorf("%w: %d bytes exceed %d", ErrDamaged, file.Size(), limit), file.Close())
	}
	b := make([]byte, file.Size())
	return b, errors.Join(readAt(file, b, 0), file.Close())
}
