package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

const (
	// ManifestVersion is the latest Format. holdsManifest is written when a manifest holds small files itself, segmentsManifest
	// when it names segments: a reader that does not know them would lose their messages. Otherwise the format is
	// plainManifest. So an earlier release reads what it can.
	ManifestVersion  = holdsManifest
	holdsManifest    = 3
	segmentsManifest = 2
	plainManifest    = 1

	// maxManifestBytes bounds what is read for a manifest: 1000 tasks with 100 files each, many times over.
	maxManifestBytes = 64 << 20

	manifestWord   = "weir-manifest" // of SealText
	manifestPrefix = "manifest-"
	// manifestDigits makes names sort as numbers; at 100 epochs a second they last three million years.
	manifestDigits = 16
)

// EncodeManifest is the bytes of a manifest file: its JSON in one line, the files it holds, and a line that says format,
// length of all before it, and CRC32C.
func EncodeManifest(m *Manifest) ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest %d: %w", m.Number, err)
	}
	text = append(text, '\n')
	if m.Format >= holdsManifest {
		text = append(AppendFiles(text, m.Inline), '\n')
	}
	return SealText(manifestWord, m.Format, text), nil
}

// DecodeManifest reads what EncodeManifest writes: ErrDamaged for anything else, ErrNewer for a later format.
func DecodeManifest(b []byte) (*Manifest, error) {
	text, format, err := OpenText(manifestWord, ManifestVersion, b)
	if err != nil {
		return nil, err
	}
	m := &Manifest{}
	if format >= holdsManifest {
		line := bytes.IndexByte(text, '\n') + 1
		if m.Inline, err = ReadFiles(bytes.TrimSuffix(text[line:], []byte("\n"))); err != nil {
			return nil, err
		}
		if m.Inline == nil {
			return nil, fmt.Errorf("%w: format %d, and it holds no file", ErrDamaged, format)
		}
		text = text[:line]
	}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("%w: format %d, its trailer says %d", ErrDamaged, m.Format, format)
	}
	return m, nil
}

// Files lists every file of the storage that m names, each once.
func (m *Manifest) Files() []FileRef {
	var files []FileRef
	for ref := range m.refs {
		if _, inline := m.Inline[ref.Name]; !inline {
			files = append(files, ref)
		}
	}
	return files
}

// refs yields everything that m names, each once.
func (m *Manifest) refs(yield func(FileRef) bool) {
	seen := map[string]bool{}
	all := [][]FileRef{m.Bases, m.Deltas, m.Snapshots, m.Segments}
	for _, lane := range m.Lanes {
		for _, outbox := range lane.Outboxes {
			all = append(all, []FileRef{outbox.File})
		}
	}
	for _, refs := range all {
		for _, ref := range refs {
			if !seen[ref.Name] && !yield(ref) {
				return
			}
			seen[ref.Name] = true
		}
	}
}

// format is the version that holds what m says.
func (m *Manifest) format() int {
	switch {
	case len(m.Inline) > 0:
		return holdsManifest
	case len(m.Segments) > 0:
		return segmentsManifest
	}
	return plainManifest
}

func manifestName(prefix string, number uint64) string {
	return fmt.Sprintf("%s%s%0*d", prefix, manifestPrefix, manifestDigits, number)
}

// manifestNumber reads the number out of a name as manifestName makes it.
func manifestNumber(prefix, name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, prefix+manifestPrefix)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, err == nil && manifestName(prefix, number) == name
}
