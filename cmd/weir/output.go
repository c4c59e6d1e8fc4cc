package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
)

// show writes an answer: the value itself as JSON or YAML, or the table that draw makes of it.
func (s *shell) show(value any, draw func(t *table)) error {
	if s.output == "table" {
		t := &table{w: tabwriter.NewWriter(s.out, 0, 0, 2, ' ', tabwriter.DiscardEmptyColumns)}
		draw(t)
		if err := t.w.Flush(); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
		return nil
	}
	document, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	document = append(document, '\n')
	if s.output == "yaml" {
		if document, err = yaml.JSONToYAML(document); err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
	}
	if _, err := s.out.Write(document); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

// table aligns cells in columns. Errors surface when it is flushed.
type table struct{ w *tabwriter.Writer }

// row adds one line. Cells that hold control characters are quoted: keys and log lines come from outside, and a terminal
// obeys them.
func (t *table) row(cells ...any) {
	for len(cells) > 0 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1] // no spaces at the end of a line
	}
	for i, cell := range cells {
		if i > 0 {
			_, _ = io.WriteString(t.w, "\t")
		}
		_, _ = io.WriteString(t.w, printable(fmt.Sprint(cell)))
	}
	_, _ = io.WriteString(t.w, "\n")
}

// printable is text as it is, or quoted when it holds what a terminal would obey.
func printable(text string) string {
	if !utf8.ValidString(text) {
		return strconv.Quote(text)
	}
	for _, r := range text {
		if !strconv.IsPrint(r) {
			return strconv.Quote(text)
		}
	}
	return text
}

// count groups the digits of a number in threes: 20 113.
func count[N int | int64 | uint64](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(' ')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// size is a number of bytes for people: 1.9 MB.
func size(bytes int64) string {
	v := float64(bytes)
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if v < 1000 || unit == "GB" {
			if unit == "B" {
				return fmt.Sprintf("%d B", bytes)
			}
			return fmt.Sprintf("%.1f %s", v, unit)
		}
		v /= 1000
	}
	return ""
}

// span is a duration for people: 0.14 s, 38 ms, 2 min.
func span(d time.Duration) string {
	switch {
	case d < 100*time.Millisecond:
		return millis(float64(d) / float64(time.Millisecond))
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return fmt.Sprintf("%.0f h", d.Hours())
}

// millis is a number of milliseconds for people; 0 is unknown.
func millis(ms float64) string {
	if ms == 0 {
		return "-"
	}
	if ms < 10 {
		return strconv.FormatFloat(math.Round(ms*10)/10, 'f', -1, 64) + " ms"
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// clock is a time for tables.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// plural is "1 key" or "2 keys".
func plural[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}
