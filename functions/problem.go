package functions

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing that is wrong with a job: where, what, and what to do about it.
type Problem struct {
	File   string `json:"file,omitempty"`   // as it was given to ParseJob; empty for a job that came as JSON
	Line   int    `json:"line,omitempty"`   // from 1; 0 when the job has no source text
	Column int    `json:"column,omitempty"` // from 1
	Path   string `json:"path,omitempty"`   // in the Job, such as ingresses[0].topics[1].targets[0]; empty for the text itself
	What   string `json:"what"`
	Fix    string `json:"fix,omitempty"`
}

// Error is the problem on one line, and what to do on a second, indented one.
func (p *Problem) Error() string {
	var b strings.Builder
	switch {
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	case p.File != "":
		b.WriteString(p.File + ": ")
	case p.Path != "":
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.What)
	if p.Fix != "" {
		b.WriteString("\n  " + p.Fix)
	}
	return b.String()
}

// maxProblems bounds what one ParseError holds: more than a screen of them helps nobody.
const maxProblems = 20

// ParseError is all that is wrong with a job, in the order of its source. ParseJob, Bind and Validate return it.
type ParseError struct {
	Problems []Problem // at least one, at most maxProblems
	More     int       // problems left off
}

func (e *ParseError) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	for i := range e.Problems {
		lines = append(lines, e.Problems[i].Error())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(lines, "\n")
}

// place is a position in the source text; the zero value is none.
type place struct{ line, column int }

// source is the text a job was read from: where each of its parts stands, by path.
type source struct {
	file   string
	places map[string]place
}

// at finds the place of a path, or of the nearest part around it.
func (s *source) at(path string) place {
	if s == nil {
		return place{}
	}
	for {
		if where, ok := s.places[path]; ok {
			return where
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return s.places[""]
		}
		path = path[:cut]
	}
}

// Place is where the part of the job with this path stands in its source, as file:line:column; empty for a job that has no
// source. Paths are those of Problem.
func (j *Job) Place(path string) string {
	if j.source == nil {
		return ""
	}
	where := j.source.at(path)
	return fmt.Sprintf("%s:%d:%d", j.source.file, where.line, where.column)
}

// findings collects problems up to a bound.
type findings struct {
	source   *source
	problems []Problem
	more     int
}

// add records a problem of the part with this path.
func (f *findings) add(path, fix, format string, args ...any) {
	f.addAt(f.source.at(path), path, fix, format, args...)
}

func (f *findings) addAt(where place, path, fix, format string, args ...any) {
	if len(f.problems) == maxProblems {
		f.more++
		return
	}
	problem := Problem{Line: where.line, Column: where.column, Path: path, What: fmt.Sprintf(format, args...), Fix: fix}
	if f.source != nil {
		problem.File = f.source.file
	}
	f.problems = append(f.problems, problem)
}

// err is nil, or a *ParseError with the problems in the order of the source.
func (f *findings) err() error {
	if len(f.problems) == 0 {
		return nil
	}
	sort.SliceStable(f.problems, func(i, j int) bool {
		a, b := &f.problems[i], &f.problems[j]
		return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
	})
	return &ParseError{Problems: f.problems, More: f.more}
}

// didYouMean is a sentence that offers the candidate closest to name, or lists the candidates when none is close.
func didYouMean(name string, candidates []string) string {
	best, distance := "", len(name)/3+2
	for _, candidate := range candidates {
		if d := editDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(candidates) == 0 {
		return ""
	}
	sorted := append([]string(nil), candidates...)
	sort.Strings(sorted)
	const listed = 8 // as many as fit one line of a terminal
	if len(sorted) > listed {
		sorted = append(sorted[:listed], "…")
	}
	return "known: " + strings.Join(sorted, ", ")
}

// editDistance is Levenshtein's, in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
