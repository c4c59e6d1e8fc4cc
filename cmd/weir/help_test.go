package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-run/weir/docs"
)

// pageLink is a heading of a page as errors name it.
var pageLink = regexp.MustCompile(`docs/[a-z-]+\.md#[a-z0-9-]+`)

func TestEveryHeadingThatTheCodeNamesCanBeReadWithTheBinaryAlone(t *testing.T) {
	named := map[string]bool{}
	root := filepath.Join("..", "..")
	for _, dir := range []string{"cmd", "deploy", "functions", "router", "runtime"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, link := range pageLink.FindAllString(string(source), -1) {
				named[link] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	errorsPage, err := fs.ReadFile(docs.Pages, "errors.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (\S+)$`).FindAllStringSubmatch(string(errorsPage), -1) {
		named["docs/errors.md#"+heading[1]] = true
	}
	if len(named) < 50 {
		t.Fatalf("found only %d links", len(named))
	}
	s := newStage(t)
	for link := range named {
		_, heading, _ := strings.Cut(link, "#")
		code, out, stderr := s.run(t.Context(), []string{"weir", "help", link})
		first, _, _ := strings.Cut(out, "\n")
		if code != exitDone || anchor(strings.TrimLeft(first, "#")) != heading || strings.Count(out, "\n") < 2 {
			t.Errorf("weir help %s: exit %d, %q, %s", link, code, out, stderr)
		}
	}
}
