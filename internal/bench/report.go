package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// result is one figure. Target is a comparison, such as "<= 60", or empty.
type result struct {
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target string  `json:"target"`
}

func (b *bench) add(metric string, value float64, unit, target string) {
	r := result{metric, value, unit, target}
	b.results = append(b.results, r)
	fmt.Printf("%-90s %14s %-12s %-12s %s\n", r.Metric, r.figure(), r.Unit, r.Target, r.verdict())
}

// figure shows three significant digits, and whole numbers from a hundred on.
func (r result) figure() string {
	if r.Value >= 100 {
		return strconv.FormatFloat(r.Value, 'f', 0, 64)
	}
	return strconv.FormatFloat(r.Value, 'g', 3, 64)
}

// verdict compares the figure with its target.
func (r result) verdict() string {
	comparison, text, ok := strings.Cut(r.Target, " ")
	target, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil {
		return ""
	}
	if comparison == "<=" && r.Value <= target || comparison == ">=" && r.Value >= target {
		return "met"
	}
	return "missed"
}

// Of a run with large state there are documents beside those of the usual run, whose figures are not to be mixed.
const (
	resultsFile       = "bench/results.json"
	documentFile      = "docs/benchmarks.md"
	largeResultsFile  = "bench/large.json"
	largeDocumentFile = "docs/benchmarks-large.md"
)

// write keeps the figures, for programs and for people.
func (b *bench) write(kafkaVersion string) error {
	resultsFile, documentFile := resultsFile, documentFile
	if b.large {
		resultsFile, documentFile = largeResultsFile, largeDocumentFile
	}
	document := b.document(kafkaVersion) // ahead of any change to a file, which would make the version a dirty one
	text, err := json.MarshalIndent(b.results, "", "  ")
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(resultsFile), 0o755); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.WriteFile(resultsFile, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.WriteFile(documentFile, []byte(document), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", documentFile, err)
	}
	return nil
}

// othersTook names the time of the processors that this machine did not get: figures of runs in which it differs much do not
// compare, least of all the slowest hundredth.
const othersTook = "CPU taken by other machines meanwhile"

func (b *bench) document(kafkaVersion string) string {
	var d strings.Builder
	d.WriteString("# Benchmarks\n\nWritten by `make bench`; do not edit. Every run's output is checked record by record: a run that loses or doubles one has no figure.\n" +
		"Broker and load run on the same machine as weir. A CPU-second counts user and system time of the weir process alone.\n\n")
	fmt.Fprintf(&d, "- date: %s\n- machine: %d x %s, %s/%s\n- versions: weir %s, %s, Apache Kafka %s\n- load: %d records of %d bytes, %d keys; latency %d s behind a warm-up of %v, the generator lingers %v\n\n",
		time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH,
		commit(), runtime.Version(), kafkaVersion, b.records, valueBytes, b.keys, b.seconds, warmUp, linger)
	d.WriteString("| metric | value | unit | target | |\n|---|---:|---|---|---|\n")
	for _, r := range b.results {
		fmt.Fprintf(&d, "| %s | %s | %s | %s | %s |\n", r.Metric, r.figure(), r.Unit, r.Target, r.verdict())
	}
	d.WriteString("\nExactly-once latency is the time from the scheduled sending of a record to its arrival at a `read_committed` consumer, in an open\nloop: a stall counts for every record that should have been sent in it.\n")
	return d.String()
}

// commit is the version of the source, or empty outside of git.
func commit() string {
	out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "of unknown commit"
	}
	return strings.TrimSpace(string(out))
}
