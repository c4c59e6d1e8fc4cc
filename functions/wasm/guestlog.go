package wasm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/weir-run/weir/sdk/abi"
)

var le = binary.LittleEndian

const (
	// maxLogLine is where a line is cut: long enough for any message, short enough for any collector.
	maxLogLine = 8 << 10
	// logLineCost is what a line takes of the budget beyond its text, so that empty lines do not come for free.
	logLineCost = 64
	// maxStderr is how much of what a guest wrote before it failed stays with the failure.
	maxStderr = 4 << 10
	// maxWrite is what one fd_write takes at most, because a host function is not interrupted; the rest is for the next.
	maxWrite = 64 << 10
)

// logBook is what a guest may write: a bucket of bytes that refills by the wall clock. Lines above it are dropped and
// counted, and the next line that fits is preceded by one that says how many.
type logBook struct {
	write   func(level int, text []byte)
	limit   int64 // bytes per second, and the size of the bucket
	left    int64
	filled  time.Time
	dropped int64 // lines, in all
	untold  int64 // lines dropped since the last line written
	out     []byte
	err     []byte
	first   []byte // the first of standard error since the call began
}

// begin refills the bucket at the start of a call.
func (l *logBook) begin(now time.Time) {
	if l.left < l.limit {
		refill := int64(now.Sub(l.filled).Seconds() * float64(l.limit))
		l.left = min(l.limit, l.left+refill)
	}
	l.filled = now
	l.first = l.first[:0]
}

// end writes what is left of lines that the call did not finish.
func (l *logBook) end() {
	if len(l.out) > 0 {
		l.line(abi.LogInfo, l.out)
		l.out = l.out[:0]
	}
	if len(l.err) > 0 {
		l.line(abi.LogWarn, l.err)
		l.err = l.err[:0]
	}
}

func (l *logBook) line(level int, text []byte) {
	if l.write == nil {
		return
	}
	text = text[:min(len(text), maxLogLine)]
	cost := int64(len(text)) + logLineCost
	if cost > l.left {
		l.dropped++
		l.untold++
		return
	}
	l.left -= cost
	if l.untold > 0 {
		l.write(abi.LogWarn, fmt.Appendf(nil, "%d log lines dropped: the limit is %d bytes per second", l.untold, l.limit))
		l.untold = 0
	}
	l.write(level, text)
}

// stream takes a piece of standard output or error, and writes the lines that it completes.
func (l *logBook) stream(stderr bool, b []byte) {
	pending, level := &l.out, abi.LogInfo
	if stderr {
		pending, level = &l.err, abi.LogWarn
		l.keepFirst(b)
	}
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		b = rest
		*pending = append(*pending, line[:min(len(line), maxLogLine-min(len(*pending), maxLogLine))]...)
		if ended {
			l.line(level, *pending)
			*pending = (*pending)[:0]
		}
	}
}

// keepFirst keeps the first bytes of standard error: a Go guest prints the panic first and its stack after it.
func (l *logBook) keepFirst(b []byte) {
	l.first = append(l.first, b[:min(len(b), maxStderr-len(l.first))]...)
}

// guestLog is the import weir.log.
func (i *Instance) guestLog(stack []uint64) {
	n := uint32(stack[2])
	i.charge(int64(n >> bulkShift))
	if b, ok := i.memory.Read(uint32(stack[1]), n); ok {
		i.log.line(int(int32(stack[0])), b)
	}
}

// maxVectors bounds the parts of one fd_write; Go's runtime and libc write one or two.
const maxVectors = 1024

// vectorCost is what one part costs beyond its bytes, so that empty ones do not come for free.
const vectorCost = 32

// fdWrite is WASI's fd_write for standard output and error.
func (i *Instance) fdWrite(stack []uint64) {
	fd, vectors, n, written := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	if fd != 1 && fd != 2 {
		stack[0] = errnoBadF
		return
	}
	if n > maxVectors {
		stack[0] = errnoInval
		return
	}
	i.charge(int64(n) * vectorCost)
	v, ok := i.memory.Read(vectors, n*8)
	total := uint32(0)
	for ; ok && len(v) > 0 && total < maxWrite; v = v[8:] {
		var b []byte
		if b, ok = i.memory.Read(le.Uint32(v), min(le.Uint32(v[4:]), maxWrite-total)); ok {
			total += uint32(len(b))
			i.charge(int64(len(b) >> bulkShift))
			i.log.stream(fd == 2, b)
		}
	}
	answer(stack, ok && i.memory.WriteUint32Le(written, total))
}
