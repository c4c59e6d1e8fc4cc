package functions

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Lookup brings the value behind a reference: scheme "env" with the name of a variable for ${env:NAME}, scheme "file"
// with a path for ${file:PATH}. An error says why there is none; it is shown to the user, so it never holds the value.
type Lookup func(scheme, name string) (string, error)

// maxReferencedBytes bounds a referenced file: a secret or an address is small, and a wrong path must not fill the memory.
const maxReferencedBytes = 64 << 10

// FromHost looks references up in the environment and the files of this machine. Relative paths start at dir. One line
// end is cut from the end of a file, because editors put it there.
func FromHost(dir string) Lookup {
	return func(scheme, name string) (string, error) {
		switch scheme {
		case "env":
			value, ok := os.LookupEnv(name)
			if !ok {
				return "", fmt.Errorf("environment variable %s is not set", name)
			}
			return value, nil
		case "file":
			return readReferenced(dir, name)
		}
		return "", fmt.Errorf("no such kind of reference: %s", scheme)
	}
}

func readReferenced(dir, name string) (string, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxReferencedBytes+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxReferencedBytes {
		return "", fmt.Errorf("file %s is larger than %d bytes", name, maxReferencedBytes)
	}
	text := strings.TrimSuffix(string(b), "\n")
	return strings.TrimSuffix(text, "\r"), nil
}

// ResolveSecret replaces the references in a value that a Job keeps unresolved, such as SASL.Password. The result is
// for the connection being made: it is never stored, logged or put into an error. $${ stands for a literal ${.
func ResolveSecret(ref string, lookup Lookup) (string, error) { return expand(ref, lookup) }

// errNoLookup reports a reference where there is nothing to look it up in.
var errNoLookup = errors.New("references are not resolved here; write the value itself")

// expand replaces ${env:NAME} and ${file:PATH} in text.
func expand(text string, lookup Lookup) (string, error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			b.WriteString(text)
			return b.String(), nil
		}
		if escaped, ok := strings.CutSuffix(before, "$"); ok {
			b.WriteString(escaped + "${")
			text = rest
			continue
		}
		b.WriteString(before)
		inside, after, closed := strings.Cut(rest, "}")
		scheme, name, named := strings.Cut(inside, ":")
		if !closed || !named || name == "" || scheme != "env" && scheme != "file" {
			return "", errors.New("malformed reference; write ${env:NAME} or ${file:PATH}, or $${ for a literal ${")
		}
		if lookup == nil {
			return "", fmt.Errorf("${%s:%s}: %w", scheme, name, errNoLookup)
		}
		value, err := lookup(scheme, name)
		if err != nil {
			return "", fmt.Errorf("${%s:%s}: %w", scheme, name, err)
		}
		b.WriteString(value)
		text = after
	}
}

// literal reports whether text holds no reference at all, so that it stands in the source in clear.
func literal(text string) bool {
	return text != "" && !strings.Contains(strings.ReplaceAll(text, "$${", ""), "${")
}
