package checkpoint

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// SealText appends to text, which ends in a line feed, a line by which OpenText finds every flipped bit: the word, the format,
// the length of the text, and the CRC32C, in eight hexadecimal digits, of the text and of that line up to there.
func SealText(word string, format int, text []byte) []byte {
	return append(text, trailer(word, format, text)...)
}

func trailer(word string, format int, text []byte) string {
	line := fmt.Sprintf("%s %d %d ", word, format, len(text))
	crc := crc32.Update(crc32.Checksum(text, castagnoli), castagnoli, []byte(line))
	return fmt.Sprintf("%s%08x\n", line, crc)
}

// lastLine is the last line of sealed text, line feed included.
func lastLine(b []byte) []byte {
	return b[bytes.LastIndexByte(bytes.TrimSuffix(b, []byte("\n")), '\n')+1:]
}

// OpenText returns what SealText was given: ErrDamaged for anything else, ErrNewer for a format later than latest.
func OpenText(word string, latest int, b []byte) (text []byte, format int, err error) {
	text = b[:len(b)-len(lastLine(b))]
	last := string(b[len(text):])
	fields := strings.Fields(last)
	if len(fields) != 4 || fields[0] != word {
		return nil, 0, fmt.Errorf("%w: no trailer", ErrDamaged)
	}
	if format, err = strconv.Atoi(fields[1]); err != nil || format < 1 {
		return nil, 0, fmt.Errorf("%w: format %q", ErrDamaged, fields[1])
	}
	if last != trailer(word, format, text) {
		return nil, 0, fmt.Errorf("%w: its length or checksum is not what its trailer says", ErrDamaged)
	}
	if format > latest {
		return nil, 0, fmt.Errorf("format %d, this weir reads up to %d: %w", format, latest, ErrNewer)
	}
	return text, format, nil
}
