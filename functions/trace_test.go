package functions_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestATraceparentIsReadAsTheStandardSays(t *testing.T) {
	for _, c := range []struct {
		name, header string
		sampled, ok  bool
	}{
		{"sampled", traceparent, true, true},
		{"not sampled", traceparent[:53] + "00", false, true},
		{"other flags", traceparent[:53] + "03", true, true},
		{"a later version", "cc" + traceparent[2:], true, true},
		{"a later version with more", "cc" + traceparent[2:] + "-what-comes", true, true},
		{"a later version with more but no dash", "cc" + traceparent[2:] + ".what", false, false},
		{"version 00 with more", traceparent + "-x", false, false},
		{"version ff", "ff" + traceparent[2:], false, false},
		{"upper case", strings.ToUpper(traceparent), false, false},
		{"not hexadecimal", strings.Replace(traceparent, "4b", "4g", 1), false, false},
		{"no trace id", "00-" + strings.Repeat("0", 32) + traceparent[35:], false, false},
		{"no span id", traceparent[:36] + strings.Repeat("0", 16) + "-01", false, false},
		{"short", traceparent[:54], false, false},
		{"empty", "", false, false},
		{"without dashes", strings.ReplaceAll(traceparent, "-", "0"), false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			trace, sampled, ok := functions.ParseTraceparent([]byte(c.header))
			if sampled != c.sampled || ok != c.ok {
				t.Fatalf("sampled %v, ok %v; want %v, %v", sampled, ok, c.sampled, c.ok)
			}
			if want := "00" + traceparent[2:53] + "01"; ok && string(trace.Traceparent()) != want {
				t.Errorf("written as %s, want %s", trace.Traceparent(), want)
			}
		})
	}
}

func TestATraceTravelsBeforeAllOtherExtensions(t *testing.T) {
	trace, _, _ := functions.ParseTraceparent([]byte(traceparent))
	trace = trace.WithState("vendor=1").WithState(strings.Repeat("x", 513))
	others := functions.AppendHeader(nil, []byte("k"), []byte("v"))
	ext := append(functions.AppendTrace(nil, &trace, 1234), others...)
	if !functions.Traced(ext) || functions.Traced(others) || functions.Traced(nil) {
		t.Error("a traced message is not told by its first byte")
	}
	got, since, rest, ok := functions.TraceOf(ext)
	if got != trace || since != 1234 || !bytes.Equal(rest, others) || !ok {
		t.Errorf("read %+v since %d, rest %q, ok %v", got, since, rest, ok)
	}
	if _, _, rest, ok := functions.TraceOf(others); ok || !bytes.Equal(rest, others) {
		t.Errorf("read a trace that is not there, rest %q", rest)
	}
}

func TestTraceHeadersReplaceThoseOfTheGuest(t *testing.T) {
	trace, _, _ := functions.ParseTraceparent([]byte(traceparent))
	trace = trace.WithState("vendor=1")
	ext := functions.AppendHeader(nil, []byte("traceparent"), []byte("stale"))
	ext = functions.AppendHeader(ext, []byte("kept"), []byte("v"))
	ext = functions.AppendHeader(ext, []byte("tracestate"), []byte("stale"))
	want := functions.AppendHeader(nil, []byte("kept"), []byte("v"))
	want = functions.AppendHeader(want, []byte("traceparent"), []byte(traceparent))
	want = functions.AppendHeader(want, []byte("tracestate"), []byte("vendor=1"))
	if got := functions.TraceHeaders(ext, &trace); !bytes.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func FuzzTraceExtension(f *testing.F) {
	trace, _, _ := functions.ParseTraceparent([]byte(traceparent))
	f.Add(functions.AppendTrace(nil, &trace, 7))
	f.Add(functions.AppendTrace(nil, &trace, 7)[:20])
	f.Add([]byte{7})
	f.Fuzz(func(t *testing.T, ext []byte) {
		trace, since, rest, ok := functions.TraceOf(ext)
		if len(rest) > len(ext) {
			t.Fatalf("%d bytes are left of %d", len(rest), len(ext))
		}
		if !ok {
			return
		}
		again := append(functions.AppendTrace(nil, &trace, since), rest...)
		same, at, left, ok := functions.TraceOf(again)
		if same != trace || at != since || !ok || !bytes.Equal(left, rest) {
			t.Fatalf("%x reads as %+v, written and read again as %+v", ext, trace, same)
		}
	})
}

func FuzzTraceparent(f *testing.F) {
	f.Add([]byte(traceparent))
	f.Add([]byte("cc" + traceparent[2:] + "-x"))
	f.Fuzz(func(t *testing.T, header []byte) {
		trace, _, ok := functions.ParseTraceparent(header)
		if !ok {
			return
		}
		again, sampled, ok := functions.ParseTraceparent(trace.Traceparent())
		if again != trace || !sampled || !ok {
			t.Fatalf("%q reads as %+v, written and read again as %+v", header, trace, again)
		}
	})
}
