package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// The exit codes. They are part of the interface: scripts branch on them.
const (
	exitDone        = 0
	exitFailed      = 1 // refused or failed
	exitUsage       = 2
	exitUnreachable = 3 // cannot reach the server
	exitTimeout     = 4
)

// failure is an error as the user sees it: what is wrong, then what to do, and the exit code.
type failure struct {
	code int
	what string
	todo []string
}

func (f *failure) Error() string { return f.what }

// failed is a failure with exitFailed.
func failed(what string, todo ...string) error {
	return &failure{code: exitFailed, what: what, todo: todo}
}

// misused is a failure of the command line itself.
func misused(format string, args ...any) error {
	return &failure{code: exitUsage, what: fmt.Sprintf(format, args...)}
}

// failures turns any error into what is shown.
func failures(err error) []*failure {
	var f *failure
	var p *router.Problem
	var parse *functions.ParseError
	var connection *kafkaio.ConnectionError
	switch {
	case errors.As(err, &f):
		return []*failure{f}
	case errors.As(err, &p):
		return []*failure{problemFailure(p)}
	case errors.As(err, &parse):
		return parseFailures(parse)
	case errors.As(err, &connection):
		return []*failure{{code: exitFailed, what: connection.Error(), todo: []string{remedy(connection.Misfit)}}}
	case errors.Is(err, context.DeadlineExceeded):
		return []*failure{{code: exitTimeout, what: "timed out", todo: []string{"--timeout sets how long a command may take"}}}
	case errors.Is(err, context.Canceled):
		return []*failure{{code: exitFailed, what: "interrupted"}}
	}
	return []*failure{{code: exitFailed, what: err.Error()}}
}

// problemFailure shows a problem of the API: the title, and the detail's first line beside it.
func problemFailure(p *router.Problem) *failure {
	f := &failure{code: exitFailed, what: p.Title}
	if p.Type == "timeout" {
		f.code = exitTimeout
	}
	first, rest, _ := strings.Cut(p.Detail, "\n")
	if first != "" {
		f.what += ": " + first
	}
	for line := range strings.Lines(rest) {
		f.todo = append(f.todo, strings.TrimSpace(line))
	}
	if p.Docs != "" {
		f.todo = append(f.todo, "see "+see(p.Docs))
	}
	return f
}

func parseFailures(e *functions.ParseError) []*failure {
	var all []*failure
	for i := range e.Problems {
		what, fix, _ := strings.Cut(e.Problems[i].Error(), "\n")
		f := &failure{code: exitFailed, what: what}
		if fix != "" {
			f.todo = []string{strings.TrimSpace(fix)}
		}
		all = append(all, f)
	}
	if e.More > 0 {
		all = append(all, &failure{code: exitFailed, what: fmt.Sprintf("and %d more", e.More)})
	}
	return all
}

// report writes failures and returns the exit code.
func report(w io.Writer, colour bool, err error) int {
	label := "error:"
	if colour {
		label = "\x1b[31merror:\x1b[0m"
	}
	code := exitFailed
	for _, f := range failures(err) {
		fmt.Fprintf(w, "%s %s\n", label, f.what)
		for _, line := range f.todo {
			fmt.Fprintf(w, "  %s\n", line)
		}
		code = f.code
	}
	return code
}
