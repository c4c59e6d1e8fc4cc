// Package transcript runs what a document shows: the commands in its fenced blocks, one shell for the whole document, and
// compares what they print with what stands below them.
//
// A block marked sh or console is run. In it a line that begins with "$ " is a command, continued by a trailing backslash
// or to the end of its here-document; the lines below it are what it must print, where … stands for any text, and a line
// of … alone for any lines. A command without lines below may print anything. A block without any "$ " holds one command
// per line. A command must succeed, unless a comment behind it says otherwise: "# exits 1". One that ends in & goes on in
// the background, and must begin with the lines below it. Blocks with any other mark, such as text, never run.
//
// The package owns the shell and everything started from it, and ends both by their process group. It is not a terminal:
// there is no input, and programs see a pipe.
package transcript

import (
	"regexp"
	"strconv"
	"strings"
)

// Step is one command of a document.
type Step struct {
	Line       int // where the command stands
	Command    string
	Want       []string // what it prints; nil is anything
	Exit       int
	Background bool
}

var (
	exits   = regexp.MustCompile(`\s#\s*exits (\d+)\s*$`)
	hereDoc = regexp.MustCompile(`<<-?\s*['"]?(\w+)['"]?`)
)

// Parse returns the steps of a Markdown document in order.
func Parse(document string) []Step {
	var steps []Step
	lines := strings.Split(document, "\n")
	for i := 0; i < len(lines); i++ {
		mark, ok := strings.CutPrefix(lines[i], "```")
		if !ok {
			continue
		}
		from := i + 1
		for i++; i < len(lines) && lines[i] != "```"; i++ {
		}
		if mark == "sh" || mark == "console" {
			steps = append(steps, block(lines[from:min(i, len(lines))], from+1)...)
		}
	}
	return steps
}

// block reads one fenced block whose first line has number first.
func block(lines []string, first int) []Step {
	prompted := false
	for _, line := range lines {
		prompted = prompted || strings.HasPrefix(line, "$ ")
	}
	var steps []Step
	for i := 0; i < len(lines); i++ {
		text, isCommand := strings.CutPrefix(lines[i], "$ ")
		if !prompted {
			isCommand = strings.TrimSpace(text) != "" && !strings.HasPrefix(text, "#")
		}
		switch {
		case isCommand:
			end := commandEnd(lines, i)
			steps = append(steps, newStep(strings.Join(append([]string{text}, lines[i+1:end+1]...), "\n"), first+i))
			i = end
		case prompted && len(steps) > 0:
			s := &steps[len(steps)-1]
			s.Want = append(s.Want, strings.TrimRight(lines[i], " "))
		}
	}
	for i := range steps {
		steps[i].Want = trimBlank(steps[i].Want)
	}
	return steps
}

// commandEnd is the index of the last line of the command that begins at i.
func commandEnd(lines []string, i int) int {
	if m := hereDoc.FindStringSubmatch(lines[i]); m != nil {
		for j := i + 1; j < len(lines); j++ {
			if strings.TrimSpace(lines[j]) == m[1] {
				return j
			}
		}
	}
	for i+1 < len(lines) && strings.HasSuffix(lines[i], `\`) {
		i++
	}
	return i
}

func newStep(command string, line int) Step {
	s := Step{Line: line, Command: command}
	if m := exits.FindStringSubmatch(command); m != nil {
		s.Exit, _ = strconv.Atoi(m[1]) // the pattern holds digits only
		command = strings.TrimSuffix(command, m[0])
	}
	if at := strings.LastIndex(command, " #"); at >= 0 && !strings.Contains(command, "\n") {
		command = command[:at]
	}
	command = strings.TrimSpace(command)
	s.Background = strings.HasSuffix(command, "&") && !strings.HasSuffix(command, "&&")
	return s
}

// trimBlank drops blank lines at the end: they only set commands apart.
func trimBlank(lines []string) []string {
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// any stands for any text within a line, or alone for any lines.
const any = "…"

// Match says whether output is what want shows. With begins, more lines may follow.
func Match(want []string, output string, begins bool) bool {
	if want == nil {
		return true
	}
	got := strings.Split(strings.TrimRight(output, "\n"), "\n")
	for i := range got {
		got[i] = strings.TrimRight(got[i], " \r")
	}
	if begins {
		want = append(want[:len(want):len(want)], any)
	}
	return matchLines(want, got)
}

func matchLines(want, got []string) bool {
	if len(want) == 0 {
		return len(got) == 0
	}
	if strings.TrimSpace(want[0]) == any {
		for skip := 0; skip <= len(got); skip++ {
			if matchLines(want[1:], got[skip:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && matchLine(want[0], got[0]) && matchLines(want[1:], got[1:])
}

func matchLine(want, got string) bool {
	parts := strings.Split(want, any)
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(got)
}
