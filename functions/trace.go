package functions

import (
	"encoding/binary"
	"encoding/hex"
)

// Trace is the W3C trace context that a message carries: that of the span which made it. Only sampled contexts travel. The
// zero value is that of a message which begins a trace.
type Trace struct {
	ID    [16]byte
	Span  [8]byte
	State string // the tracestate header, not looked into
}

// Headers that carry a trace context outside of Weir (W3C Trace Context, level 1).
const (
	HeaderTraceparent = "traceparent"
	HeaderTracestate  = "tracestate"
)

// traceparentBytes is the length of a traceparent of version 00: 00-<32 hex digits>-<16 hex digits>-<2 hex digits>.
const traceparentBytes = 55

// maxTracestateBytes is what the standard asks to be propagated; a longer one is dropped.
const maxTracestateBytes = 512

// sampledFlag is the bit of a traceparent's flags that says that its caller records.
const sampledFlag = 1

// ParseTraceparent reads a traceparent header. ok is false when it is not one, and nothing of it counts then. Versions
// above 00 are read as far as they are like it, as the standard says.
func ParseTraceparent(header []byte) (t Trace, sampled, ok bool) {
	if len(header) < traceparentBytes || header[2] != '-' || header[35] != '-' || header[52] != '-' {
		return t, false, false
	}
	var version, flags [1]byte
	for _, part := range []struct{ into, from []byte }{
		{version[:], header[:2]}, {t.ID[:], header[3:35]}, {t.Span[:], header[36:52]}, {flags[:], header[53:55]},
	} {
		for _, c := range part.from {
			if c >= 'A' && c <= 'F' { // which hex.Decode takes, and the standard does not
				return Trace{}, false, false
			}
		}
		if _, err := hex.Decode(part.into, part.from); err != nil {
			return Trace{}, false, false
		}
	}
	longer := len(header) > traceparentBytes
	if version[0] == 0xff || version[0] == 0 && longer || longer && header[traceparentBytes] != '-' || t.ID == [16]byte{} || t.Span == [8]byte{} {
		return Trace{}, false, false
	}
	return t, flags[0]&sampledFlag != 0, true
}

// Traceparent writes the header of a sampled context.
func (t *Trace) Traceparent() []byte {
	b := append(make([]byte, 0, traceparentBytes), "00-"...)
	b = append(hex.AppendEncode(b, t.ID[:]), '-')
	return append(hex.AppendEncode(b, t.Span[:]), "-01"...)
}

// WithState adds a tracestate header to a context.
func (t Trace) WithState(header string) Trace {
	if len(header) <= maxTracestateBytes {
		t.State = header
	}
	return t
}

// traceBytes is the length of a TagTrace extension's value, without the tracestate.
const traceBytes = 32

// AppendTrace appends a TagTrace extension. It stands before all others, so that a message without one is told by its
// first byte. since, in unix microseconds, is when the message began to wait for its function.
func AppendTrace(b []byte, t *Trace, since int64) []byte {
	b = append(b, byte(TagTrace), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(traceBytes+len(t.State)))
	b = append(append(b, t.ID[:]...), t.Span[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(since))
	return append(b, t.State...)
}

// Traced says whether extensions begin with a trace context.
func Traced(ext []byte) bool { return len(ext) > 0 && ext[0] == byte(TagTrace) }

// TraceOf reads what AppendTrace wrote, and returns the extensions behind it. ok is false, and rest is ext, when they do not
// begin with a trace context; a damaged one is left out.
func TraceOf(ext []byte) (t Trace, since int64, rest []byte, ok bool) {
	if !Traced(ext) {
		return t, 0, ext, false
	}
	if len(ext) < 8 {
		return t, 0, nil, false
	}
	n := uint64(binary.LittleEndian.Uint32(ext[4:]))
	if n > uint64(len(ext)-8) {
		return t, 0, nil, false
	}
	v, rest := ext[8:8+n], ext[8+n:]
	if n < traceBytes {
		return t, 0, rest, false
	}
	copy(t.ID[:], v)
	copy(t.Span[:], v[16:])
	t.State = string(v[traceBytes:])
	return t, int64(binary.LittleEndian.Uint64(v[24:])), rest, true
}

// TraceHeaders appends a context as headers, in place of those that ext has: what a record takes along to its reader.
func TraceHeaders(ext []byte, t *Trace) []byte {
	var b []byte
	for tag, v := range Exts(ext) {
		key, _, ok := SplitHeader(v)
		if tag == TagHeader && ok && (string(key) == HeaderTraceparent || string(key) == HeaderTracestate) {
			continue
		}
		b = AppendExt(b, tag, v)
	}
	b = AppendHeader(b, []byte(HeaderTraceparent), t.Traceparent())
	if t.State != "" {
		b = AppendHeader(b, []byte(HeaderTracestate), []byte(t.State))
	}
	return b
}
