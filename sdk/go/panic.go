package weir

import (
	"path"
	"runtime"
	"strconv"
	"strings"
)

const (
	// maxFailureText bounds what is kept of a failure: a dead letter carries it as a header.
	maxFailureText = 4 << 10
	// maxFrames bounds the stack in it: the last calls tell the most.
	maxFrames = 16
)

// ownFrames is the prefix of this package's functions, which a stack leaves out: the fault is in who calls them.
const ownFrames = "github.com/weir-run/weir/sdk/go."

// panicText is "panic: cause (main.go:41)", and below it the stack from the panic to the handler.
func panicText(cause any) string {
	var first string
	var stack strings.Builder
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	inPanic := true
	for shown := 0; shown < maxFrames; {
		f, more := frames.Next()
		if !inPanic && f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") && !strings.HasPrefix(f.Function, ownFrames) {
			place := path.Base(f.File) + ":" + strconv.Itoa(f.Line)
			if first == "" {
				first = " (" + place + ")"
			}
			stack.WriteString("\n  " + f.Function + " " + place)
			shown++
		}
		inPanic = inPanic && f.Function != "runtime.gopanic"
		if !more || strings.HasSuffix(f.Function, "(*Call).run") {
			break
		}
	}
	return "panic: " + causeText(cause) + first + stack.String()
}

// causeText is fmt.Sprint for what panics are mostly called with. Package fmt itself would be half of a small module.
func causeText(cause any) string {
	switch cause := cause.(type) {
	case error:
		return cause.Error()
	case interface{ String() string }:
		return cause.String()
	case string:
		return cause
	case int:
		return strconv.Itoa(cause)
	case int64:
		return strconv.FormatInt(cause, 10)
	case bool:
		return strconv.FormatBool(cause)
	}
	return "a value that is no error and no text"
}
