package repo

import (
	"regexp"
	"strings"
)

// rulesOwn is where the patterns themselves are written down.
const rulesOwn = "internal/repo/"

// banned is a pattern that no tracked file may hold, and why.
type banned struct {
	pattern *regexp.Regexp
	why     string
}

var bannedWords = []banned{
	{regexp.MustCompile(`(^|[^\w.~-])/(root|work|home/\w+|Users/\w+)/`), "a path of one machine"},
	{regexp.MustCompile(`\.\./shared/|\bshared/(design|reference|prototypes|peer-bench)\b`), "a path outside of the repository"},
	{regexp.MustCompile(`\b(DESIGN|DECISIONS|TOUR|STYLE)(\.md| section)`), "a document outside of the repository"},
	{regexp.MustCompile(`\b(proxy|sum)\.golang\.org\b|\bregistry\.npmjs\.org\b|\brepo1?\.maven\b|\bindex\.docker\.io\b|\bfiles\.pythonhosted\.org\b`),
		"a registry host: the user's own configuration says where packages come from"},
	{regexp.MustCompile(`\b(10|192\.168|172\.(1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}(\.\d{1,3})?:\d+\b|\b[\w-]+\.(corp|internal|lan)(:\d+)?/`), "a host of one network"},
	{regexp.MustCompile(`(?i)^\s*(//|#|\*)?\s*(co-authored-by|generated with)\b`), "an attribution: history belongs into git"},
}

func words(t *Tree) []Breach {
	var found []Breach
	for _, f := range t.Files {
		if strings.HasPrefix(f.Path, rulesOwn) || f.Path == "LICENSE" || f.Path == "go.sum" {
			continue
		}
		for n, line := range f.Lines {
			for _, b := range bannedWords {
				if m := b.pattern.FindString(line); m != "" {
					found = append(found, Breach{f.Path, n, b.why + ": " + strings.TrimSpace(m)})
				}
			}
		}
	}
	return found
}
