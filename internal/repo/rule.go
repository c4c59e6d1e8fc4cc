package repo

import "fmt"

// Rule is one habit. Check finds every breach of it.
type Rule struct {
	Name  string // also the name of its bad tree in testdata
	Says  string // what a person reads beside each breach
	Check func(*Tree) []Breach
}

// Breach is one place where a rule is broken.
type Breach struct {
	File string
	Line int
	What string
}

// String gives file:line, the form that editors and CI turn into a link.
func (b Breach) String() string { return fmt.Sprintf("%s:%d: %s", b.File, b.Line, b.What) }

// Rules returns every rule of this repository.
func Rules() []Rule {
	return []Rule{
		{"imports", "imports point down only, as the table in internal/repo/imports.go says", imports},
		{"homes", "a third-party library has one home, listed in internal/repo/homes.go", homes},
		{"comments", "every package has a comment that says what it hides, its invariant, and what it is not", packageComments},
		{"sizes", fmt.Sprintf("a file has at most %d lines, a function %d", maxFileLines, maxFunctionLines), sizes},
		{"names", "packages and files are named after what they hold", names},
		{"habits", "no init but in guests, no skipped test or open TODO without an issue", habits},
		{"format", "Go source is formatted by gofmt", format},
		{"links", "relative links and their anchors resolve", links},
		{"words", "tracked files hold nothing of the machine they were written on, and refer to nothing outside", words},
	}
}
