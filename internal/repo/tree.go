package repo

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is the source files of a repository: all that git tracks or would track, or every file where there is no git.
type Tree struct {
	Root  string
	Files []*File // sorted by path
}

// File is one text file, read once. Binary files are left out of a Tree.
type File struct {
	Path string // relative to the root, with slashes
	Text []byte
	Go   *GoFile // nil when it is not Go, or lies below a testdata directory
}

// GoFile is a parsed Go file.
type GoFile struct {
	*ast.File
	Set       *token.FileSet
	Test      bool // a _test.go file
	Generated bool
}

// Dir is the directory of the file, "." for the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// Line is the line of a position in a Go file.
func (g *GoFile) Line(p token.Pos) int { return g.Set.Position(p).Line }

// ownFaults holds bad trees that would break the rules they test.
const ownFaults = "internal/repo/testdata/"

// Load reads the repository at root.
func Load(root string) (*Tree, error) {
	names, err := list(root)
	if err != nil {
		return nil, err
	}
	tree := &Tree{Root: root}
	for _, name := range names {
		if strings.HasPrefix(name, ownFaults) {
			continue
		}
		f, err := load(root, name)
		if err != nil {
			return nil, err
		}
		if f != nil {
			tree.Files = append(tree.Files, f)
		}
	}
	return tree, nil
}

// list asks git for the files that are tracked or could be, so that a rule also sees what is about to be committed.
func list(root string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(root, ".git")); err != nil {
		return walk(root)
	}
	out, err := exec.Command("git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return nil, fmt.Errorf("list files of %s: %w", root, err)
	}
	names := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	slices.Sort(names)
	return slices.Compact(names), nil
}

func walk(root string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			names = append(names, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list files of %s: %w", root, err)
	}
	slices.Sort(names)
	return names, nil
}

// load returns nil for a file that is binary, not regular, or gone from the work tree.
func load(root, name string) (*File, error) {
	full := filepath.Join(root, filepath.FromSlash(name))
	info, err := os.Lstat(full)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	text, err := os.ReadFile(full)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, nil
	}
	f := &File{Path: name, Text: text}
	if strings.HasSuffix(name, ".go") && !underTestdata(name) {
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
		f.Go = &GoFile{File: parsed, Set: set, Test: strings.HasSuffix(name, "_test.go"), Generated: ast.IsGenerated(parsed)}
	}
	return f, nil
}

func underTestdata(name string) bool {
	return slices.Contains(strings.Split(path.Dir(name), "/"), "testdata")
}

// Lines yields the lines of a file with their numbers, from 1.
func (f *File) Lines(yield func(int, string) bool) {
	n := 0
	for line := range strings.Lines(string(f.Text)) {
		n++
		if !yield(n, strings.TrimRight(line, "\r\n")) {
			return
		}
	}
}
