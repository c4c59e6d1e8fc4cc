package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	resultsFile  = "bench/peers.json"
	documentFile = "docs/peers.md"
	// The part of the document between these lines is written by a run, the rest by people.
	figuresBegin = "<!-- figures: begin -->\n"
	figuresEnd   = "<!-- figures: end -->\n"
)

// report is one run with all that it takes to read its figures.
type report struct {
	Date     string `json:"date"`
	Machine  string `json:"machine"`
	Versions string `json:"versions"`
	Records  int64  `json:"records"` // of a pass of the throughput runs
	Seconds  int    `json:"seconds"` // of a pass of the latency runs, and of calls
	Keys     int64  `json:"keys"`
	Tasks    int    `json:"tasks"`
	Rows     []row  `json:"rows"`

	Calls []callRow `json:"calls"`
}

func (c *contest) report(now time.Time) report {
	return report{
		Date:     now.UTC().Format(time.DateOnly),
		Machine:  fmt.Sprintf("%d x %s, %s/%s", runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH),
		Versions: fmt.Sprintf("weir %s, %s, Apache Kafka %s", c.versions[weirName], runtime.Version(), c.brokerIs),
		Records:  c.records, Seconds: c.seconds, Keys: c.keys, Tasks: c.tasks, Rows: c.rows, Calls: c.callRows,
	}
}

// write keeps the figures, for programs and for people.
func (c *contest) write() error {
	r := c.report(time.Now())
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.WriteFile(resultsFile, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	page, err := os.ReadFile(documentFile)
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	whole, err := replace(string(page), r.figures())
	if err != nil {
		return fmt.Errorf("write figures into %s: %w", documentFile, err)
	}
	if err := os.WriteFile(documentFile, []byte(whole), 0o644); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}

// replace puts figures between the two lines that mark their place.
func replace(page, figures string) (string, error) {
	before, behind, begun := strings.Cut(page, figuresBegin)
	_, after, ended := strings.Cut(behind, figuresEnd)
	if !begun || !ended {
		return "", errors.New("the lines that mark their place are not there")
	}
	return before + figuresBegin + figures + figuresEnd + after, nil
}

// figures is the run as Markdown.
func (r report) figures() string {
	var d strings.Builder
	fmt.Fprintf(&d, "- date: %s\n- machine: %s\n- versions: %s\n", r.Date, r.Machine, r.Versions)
	fmt.Fprintf(&d, "- load: %d keys, values of %d bytes, %d partitions; %d tasks of each system\n", r.Keys, valueBytes, partitions, r.Tasks)
	if r.Records > 0 {
		fmt.Fprintf(&d, "\nThroughput, second of two passes of %d records (of %d where a system is slow). *x* is the mean of Weir's with the same guarantee over the row's.\n\n", r.Records, max(1, r.Records/slowPart))
		d.WriteString("| system | delivery | interval | records per CPU-second | x | records/s | x | cores | others | stolen | MB | commits | checked | lost, doubled |\n" +
			"|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
		for _, row := range r.Rows {
			d.WriteString(row.throughputLine(r.baseline(row.Delivery)))
		}
	}
	if r.Seconds > 0 {
		fmt.Fprintf(&d, "\nLatency at %d records/s, second of two passes of %d s, in ms. *x* is the row's over the mean of Weir's.\n\n", rate, r.Seconds)
		d.WriteString("| system | delivery | interval | p50 | x | p99 | x | p99.9 | max | cores | others | checked | lost, doubled |\n" +
			"|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
		for _, row := range r.Rows {
			d.WriteString(row.latencyLine(r.baseline(row.Delivery)))
		}
	}
	for _, row := range r.Rows {
		d.WriteString(failure(row.title(), row.Failed))
	}
	d.WriteString(r.callFigures())
	return d.String()
}

// baseline is what Weir's rows of one guarantee in the same run have in the mean; zero where they have nothing.
type baseline struct{ perCPU, perSecond, p50, p99 float64 }

func (r report) baseline(delivery string) baseline {
	var b baseline
	drained, timed := 0.0, 0.0
	for _, row := range r.Rows {
		if row.System != weirName || row.Delivery != delivery {
			continue
		}
		if t := row.Throughput; t != nil {
			b.perCPU, b.perSecond, drained = b.perCPU+t.PerCPUSecond, b.perSecond+t.PerSecond, drained+1
		}
		if l := row.Latency; l != nil {
			b.p50, b.p99, timed = b.p50+l.P50, b.p99+l.P99, timed+1
		}
	}
	drained, timed = max(1, drained), max(1, timed)
	return baseline{b.perCPU / drained, b.perSecond / drained, b.p50 / timed, b.p99 / timed}
}

func (r row) throughputLine(weir baseline) string {
	t := r.Throughput
	if t == nil {
		return fmt.Sprintf("| %s | failed | | | | | | | | | | |\n", r.name())
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %d | %d | 0, 0 |\n", r.name(),
		figure(t.PerCPUSecond), ratio(weir.perCPU, t.PerCPUSecond), figure(t.PerSecond), ratio(weir.perSecond, t.PerSecond),
		figure(t.Cores), figure(t.OtherCores), figure(t.StolenCores), figure(t.ResidentMB), t.Commits, t.Checked)
}

func (r row) latencyLine(weir baseline) string {
	l := r.Latency
	if !r.Timed {
		return ""
	}
	if l == nil {
		return fmt.Sprintf("| %s | failed | | | | | | | | | |\n", r.name())
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %d | 0, 0 |\n", r.name(),
		figure(l.P50), ratio(l.P50, weir.p50), figure(l.P99), ratio(l.P99, weir.p99),
		figure(l.P999), figure(l.Max), figure(l.Cores), figure(l.OtherCores), l.Checked)
}

// name is the first three cells of a row.
func (r row) name() string {
	interval := r.Interval
	if interval != auto {
		interval += " ms"
	}
	return strings.TrimSpace(r.System+" "+r.Version) + " | " + r.Delivery + " | " + interval
}

// title is the same in a sentence.
func (r row) title() string { return strings.ReplaceAll(r.name(), " | ", ", ") }

// line tells a run as soon as it is over.
func (r row) line() string {
	text := r.title()
	if t := r.Throughput; t != nil {
		text += fmt.Sprintf(": %s records per CPU-second, %s records/s, %s cores, %s MB, %d commits seen, %d checked, lost 0, doubled 0",
			figure(t.PerCPUSecond), figure(t.PerSecond), figure(t.Cores), figure(t.ResidentMB), t.Commits, t.Checked)
	}
	if l := r.Latency; l != nil {
		text += fmt.Sprintf(": p50 %s ms, p99 %s ms, p99.9 %s ms, %s cores, %d checked, lost 0, doubled 0",
			figure(l.P50), figure(l.P99), figure(l.P999), figure(l.Cores), l.Checked)
	}
	if r.Failed != "" {
		text += ": failed: " + oneLine(r.Failed)
	}
	return text
}

// maxFailure bounds what a row says of its failure; the log has the rest.
const maxFailure = 300

// failure is the paragraph below a table about a row without figures; nothing for the others.
func failure(title, why string) string {
	if why == "" {
		return ""
	}
	return fmt.Sprintf("\n%s: %s\n", title, oneLine(why))
}

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxFailure {
		text = text[:maxFailure] + " …"
	}
	return text
}

// ratio is empty where one of the two was not measured.
func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return ""
	}
	return strconv.FormatFloat(a/b, 'f', 2, 64)
}

// figure shows three significant digits, and whole numbers from a hundred on.
func figure(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// processor is the name of the CPU.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
		}
	}
	return runtime.GOARCH
}
