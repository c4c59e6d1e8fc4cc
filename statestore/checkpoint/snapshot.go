package checkpoint

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/weir-run/weir/functions"
)

// A snapshot file is sections of bytes and a footer that says where each is and what its checksum is; see
// docs/formats.md for every byte. It is written front to back and read back to front.
const (
	// SnapshotVersion is what this package writes, and the only version so far.
	SnapshotVersion = 1

	snapshotMagic    = "WSNP"
	trailerMagic     = "WEND"
	headerBytes      = 8
	trailerBytes     = 24
	footerEntryBytes = 32 // and the name

	// maxNameBytes bounds a section's name, so that its length fits two bytes and the footer stays small.
	maxNameBytes = 1 << 10
	// maxSections bounds the footer's memory: the key groups of the largest job, many times over.
	maxSections = 1 << 20
)

// castagnoli is CRC32C, which processors compute.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SectionKind says what a section's bytes are.
type SectionKind uint8

const (
	KindDelta      SectionKind = iota + 1 // changes of one key group, a statestore block
	KindBase                              // all of one key group, a statestore block
	KindPositions                         // where an ingress, its name, resumes in one task
	KindMailbox                           // messages of one task not yet processed
	KindRecorded                          // messages that came in on one task's channels before their barriers
	KindQueued                            // output of one task not yet sent
	KindOutbox                            // egress records of one lane, its name
	KindMeta                              // whatever else a worker needs again
	KindSegment                           // messages that a queue has moved out of memory; see Segment
	KindReferences                        // which segments stand here in a queue of one task, its name
)

var kindNames = [...]string{KindDelta: "delta", KindBase: "base", KindPositions: "positions", KindMailbox: "mailbox",
	KindRecorded: "recorded", KindQueued: "queued", KindOutbox: "outbox", KindMeta: "meta",
	KindSegment: "segment", KindReferences: "references"}

func (k SectionKind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// Section is one part of a snapshot file. Group counts for blocks only, Task for all but bases, Name where its kind says.
type Section struct {
	Kind   SectionKind
	Task   int
	Group  functions.KeyGroup
	Name   string
	Length int64

	offset int64
	crc    uint32
}

func (s *Section) String() string {
	return fmt.Sprintf("%s section of task %d, key group %d, name %q", s.Kind, s.Task, s.Group, s.Name)
}

// Writer writes a snapshot file, front to back. It keeps 32 bytes and the name of each section. After an error the file
// is void.
type Writer struct {
	w      io.Writer
	at     int64
	rest   int64 // bytes of sections that are no blocks
	footer []byte
	count  int
	begun  bool
}

// NewWriter starts a file; nothing is written before the first section or Close.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

func (w *Writer) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := w.w.Write(b)
	w.at += int64(n)
	return err
}

func (w *Writer) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	return w.write(snapshotHeader())
}

func snapshotHeader() []byte {
	header := make([]byte, headerBytes)
	copy(header, snapshotMagic)
	binary.LittleEndian.PutUint16(header[4:], SnapshotVersion)
	return header
}

// Section appends a section of all chunks.
func (w *Writer) Section(kind SectionKind, task int, group functions.KeyGroup, name string, chunks ...[]byte) error {
	if len(name) > maxNameBytes {
		return fmt.Errorf("snapshot section name of %d bytes exceeds %d", len(name), maxNameBytes)
	}
	if w.count == maxSections {
		return fmt.Errorf("snapshot has more than %d sections", maxSections)
	}
	if err := w.begin(); err != nil {
		return err
	}
	entry := make([]byte, 0, 64)
	entry = append(entry, byte(kind), 0)
	entry = binary.LittleEndian.AppendUint16(entry, uint16(group))
	entry = binary.LittleEndian.AppendUint32(entry, uint32(int32(task)))
	entry = binary.LittleEndian.AppendUint64(entry, uint64(w.at))
	from, crc := w.at, uint32(0)
	for _, chunk := range chunks {
		crc = crc32.Update(crc, castagnoli, chunk)
		if err := w.write(chunk); err != nil {
			return err
		}
	}
	if kind != KindBase && kind != KindDelta {
		w.rest += w.at - from
	}
	entry = binary.LittleEndian.AppendUint64(entry, uint64(w.at-from))
	entry = binary.LittleEndian.AppendUint32(entry, crc)
	entry = binary.LittleEndian.AppendUint16(entry, uint16(len(name)))
	entry = append(entry, 0, 0)
	w.footer = append(append(w.footer, entry...), name...)
	w.count++
	return nil
}

// Close completes the file, and notes in ref what it says of it: all but name and number. It does not close what it writes to.
func (w *Writer) Close(ref *FileRef) error {
	if err := w.begin(); err != nil {
		return err
	}
	trailer := make([]byte, 0, trailerBytes)
	trailer = binary.LittleEndian.AppendUint64(trailer, uint64(w.at))
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(len(w.footer)))
	trailer = binary.LittleEndian.AppendUint32(trailer, uint32(w.count))
	crc := footerCRC(snapshotHeader(), w.footer, trailer)
	trailer = append(binary.LittleEndian.AppendUint32(trailer, crc), trailerMagic...)
	if err := w.write(w.footer); err != nil {
		return err
	}
	if err := w.write(trailer); err != nil {
		return err
	}
	ref.Length, ref.CRC, ref.Rest = w.at, crc, w.rest
	return nil
}

// footerCRC covers everything but the sections, whose checksums are in the footer.
func footerCRC(header, footer, trailer []byte) uint32 {
	crc := crc32.Checksum(header, castagnoli)
	crc = crc32.Update(crc, castagnoli, footer)
	return crc32.Update(crc, castagnoli, trailer)
}
