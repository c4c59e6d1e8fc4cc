package repo

import (
	"bytes"
	"fmt"
	"go/ast"
	goformat "go/format"
	"path"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxFileLines is what one can keep in mind; a longer file holds two ideas.
	maxFileLines = 500
	// maxFunctionLines is about a screen.
	maxFunctionLines = 70
)

func sizes(t *Tree) []Breach {
	var found []Breach
	for _, f := range t.Files {
		if f.Go == nil || f.Go.Generated {
			continue
		}
		if n := bytes.Count(f.Text, []byte("\n")); n > maxFileLines {
			found = append(found, Breach{f.Path, maxFileLines + 1, fmt.Sprintf("the file has %d lines", n)})
		}
		for _, d := range f.Go.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			from, to := f.Go.Line(fn.Pos()), f.Go.Line(fn.End())
			if n := to - from + 1; n > maxFunctionLines {
				found = append(found, Breach{f.Path, from, fmt.Sprintf("%s has %d lines", fn.Name.Name, n)})
			}
		}
	}
	return found
}

// packageComments asks for one comment per package, in a file that is not a test where there is one.
func packageComments(t *Tree) []Breach {
	type pkg struct {
		first     *File
		commented bool
	}
	packages := map[string]*pkg{}
	var order []string
	for _, f := range t.Files {
		if f.Go == nil || f.Go.Test {
			continue
		}
		key := f.Dir()
		if packages[key] == nil {
			packages[key] = &pkg{first: f}
			order = append(order, key)
		}
		packages[key].commented = packages[key].commented || f.Go.Doc != nil && goodComment(f.Go)
	}
	var found []Breach
	for _, key := range order {
		if p := packages[key]; !p.commented {
			found = append(found, Breach{p.first.Path, p.first.Go.Line(p.first.Go.Package), fmt.Sprintf("package %s has no package comment", p.first.Go.Name.Name)})
		}
	}
	return found
}

func goodComment(g *GoFile) bool {
	text := g.Doc.Text()
	if g.Name.Name == "main" {
		return text != ""
	}
	return strings.HasPrefix(text, "Package "+g.Name.Name+" ")
}

var (
	bannedPackages = []string{"base", "common", "helper", "helpers", "lib", "misc", "shared", "type", "types", "util", "utils"}
	bannedFiles    = []string{"common.go", "constants.go", "consts.go", "errors.go", "helpers.go", "interfaces.go", "misc.go", "types.go", "util.go", "utils.go"}
)

func names(t *Tree) []Breach {
	var found []Breach
	for _, f := range t.Files {
		if f.Go == nil {
			continue
		}
		name := f.Go.Name.Name
		if slices.Contains(bannedPackages, strings.TrimSuffix(name, "_test")) {
			found = append(found, Breach{f.Path, f.Go.Line(f.Go.Name.Pos()), fmt.Sprintf("package %s says nothing of what it holds", name)})
		}
		if base := path.Base(f.Path); slices.Contains(bannedFiles, strings.Replace(base, "_test.go", ".go", 1)) {
			found = append(found, Breach{f.Path, 1, fmt.Sprintf("%s says nothing of what it holds", base)})
		}
	}
	return found
}

func format(t *Tree) []Breach {
	var found []Breach
	for _, f := range t.Files {
		if f.Go == nil {
			continue
		}
		want, err := goformat.Source(f.Text)
		if err != nil || bytes.Equal(want, f.Text) {
			continue // what does not parse is found by Load
		}
		found = append(found, Breach{f.Path, firstDifference(f.Text, want), "not formatted: run gofmt -w"})
	}
	return found
}

func firstDifference(a, b []byte) int {
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	return 1 + bytes.Count(a[:at], []byte("\n"))
}

// guests register their functions in init, because nothing else runs in them; and so do the tests of the SDK.
var guests = []string{"examples/...", "internal/e2e/guest/...", "internal/bench/guest/..."}

// open is a note to come back later that names no issue; TODO(#12) does.
var open = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b(\(#\d+\))?`)

func habits(t *Tree) []Breach {
	var found []Breach
	for _, f := range t.Files {
		if !strings.HasPrefix(f.Path, rulesOwn) {
			for n, line := range f.Lines {
				if m := open.FindStringSubmatch(line); m != nil && m[2] == "" {
					found = append(found, Breach{f.Path, n, m[1] + " without an issue: write " + m[1] + "(#number)"})
				}
			}
		}
		if f.Go != nil {
			found = append(found, goHabits(f)...)
		}
	}
	return found
}

func isGuest(f *File) bool {
	return matchAny(guests, f.Dir()) || f.Go.Test && match("sdk/go/...", f.Dir())
}

func goHabits(f *File) []Breach {
	var found []Breach
	for _, d := range f.Go.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && !isGuest(f) {
			found = append(found, Breach{f.Path, f.Go.Line(fn.Pos()), "init runs behind the reader's back: call a constructor"})
		}
	}
	ast.Inspect(f.Go.File, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || !f.Go.Test {
			return true
		}
		if name := sel.Sel.Name; name == "Skip" || name == "Skipf" || name == "SkipNow" {
			found = append(found, Breach{f.Path, f.Go.Line(sel.Pos()), "a skipped test proves nothing: make it run, or remove it"})
		}
		return true
	})
	return found
}
