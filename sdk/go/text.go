package weir

import "unicode/utf8"

// Text for people and for the description, without packages fmt and strconv's quoting, whose tables a small module would
// carry for nothing else.

const hexDigits = "0123456789abcdef"

// quoted is s in quotes on one line, as Go writes it; what is no UTF-8 and no printable ASCII shows as its bytes.
func quoted[T ~string | ~[]byte](s T) string {
	b := []byte{'"'}
	for rest := string(s); len(rest) > 0; {
		r, size := utf8.DecodeRuneInString(rest)
		c := rest[0]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ' || c == 0x7f || r == utf8.RuneError && size == 1:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, rest[:size]...)
		}
		rest = rest[size:]
	}
	return string(append(b, '"'))
}

// appendQuoted appends s as a JSON string.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s { // what is no UTF-8 is replaced
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hexDigits[r>>4], hexDigits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
