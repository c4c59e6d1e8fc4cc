package weir

import (
	"fmt"
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

// panicText is "panic: cause (main.go:41)", and below it the stack from the panic to the handler.
func panicText(cause any) string {
	var first string
	var stack strings.Builder
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	shown, inPanic := 0, true
	for {
		f, more := frames.Next()
		if strings.HasPrefix(f.Function, "github.com/weir-run/weir/sdk/go.(*Call).handle") && !inPanic {
			break
		}
		inPanic = inPanic && f.Function != "runtime.gopanic"
		if !inPanic && !strings.HasPrefix(f.Function, "runtime.") && f.Function != "" && shown < maxFrames {
			place := path.Base(f.File) + ":" + strconv.Itoa(f.Line)
			if first == "" {
				first = " (" + place + ")"
			}
			stack.WriteString("\n  " + f.Function + " " + place)
			shown++
		}
		if !more {
			break
		}
	}
	return "panic: " + fmt.Sprint(cause) + first + stack.String()
}
