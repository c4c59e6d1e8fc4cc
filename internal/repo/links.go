package repo

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
)

var (
	// link is an inline Markdown link or image: [text](target "title").
	link = regexp.MustCompile(`\]\(([^)\s]+)(?:\s+"[^"]*")?\)`)
	// codeSpan hides what only looks like a link.
	codeSpan = regexp.MustCompile("`[^`]*`")
	scheme   = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

func links(t *Tree) []Breach {
	var found []Breach
	for _, f := range t.Files {
		if !strings.HasSuffix(f.Path, ".md") {
			continue
		}
		for n, line := range prose(f) {
			for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
				if what := t.checkLink(f, m[1]); what != "" {
					found = append(found, Breach{f.Path, n, what})
				}
			}
		}
	}
	return found
}

// prose yields the lines of a Markdown file outside of fenced code.
func prose(f *File) func(func(int, string) bool) {
	return func(yield func(int, string) bool) {
		fenced := false
		for n, line := range f.Lines {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
				continue
			}
			if !fenced && !yield(n, line) {
				return
			}
		}
	}
}

// checkLink follows a link of this repository; what has a scheme is not ours to prove.
func (t *Tree) checkLink(f *File, target string) string {
	if scheme.MatchString(target) {
		return ""
	}
	name, anchor, _ := strings.Cut(target, "#")
	to := f.Path
	if name != "" {
		to = path.Join(f.Dir(), name)
		if strings.HasPrefix(to, "../") || path.IsAbs(name) {
			return fmt.Sprintf("link %s leaves the repository", target)
		}
		if _, err := os.Stat(filepath.Join(t.Root, filepath.FromSlash(to))); err != nil {
			return fmt.Sprintf("link %s: there is no %s", target, to)
		}
	}
	if anchor == "" || !strings.HasSuffix(to, ".md") {
		return ""
	}
	for _, g := range t.Files {
		if g.Path == to && !hasAnchor(g, anchor) {
			return fmt.Sprintf("link %s: %s has no such heading", target, to)
		}
	}
	return ""
}

func hasAnchor(f *File, anchor string) bool {
	for _, line := range prose(f) {
		if heading, ok := strings.CutPrefix(line, "#"); ok && slug(strings.TrimLeft(heading, "#")) == anchor {
			return true
		}
		if strings.Contains(line, `<a id="`+anchor+`"`) {
			return true
		}
	}
	return false
}

// slug is the anchor that code hosts make of a heading: lower case, spaces to hyphens, punctuation dropped.
func slug(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(heading)) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}
