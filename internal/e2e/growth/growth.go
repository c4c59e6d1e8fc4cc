// Package growth judges whether a server that does the same work for a long time takes more and more for it.
//
// It hides the rule. Its invariant: it compares medians of two stretches of the same run, so that one sample proves nothing
// and a slow machine changes nothing. It takes no samples, and knows nothing of where they come from.
package growth

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// maxRatio is what the median of the last fifth may be of that of the second: medians of steady work differ by less, whatever
// the phase of a collection or a fold, and what leaks in an hour at all is beyond it in a few. The first fifth is warming up.
const maxRatio = 1.2

// least is how many samples can be judged: one in each fifth.
const least = 5

// Sample is what was seen at one moment.
type Sample struct {
	At         time.Duration // since the run began
	Life       int           // of the server's process: another number is another process
	Steady     bool          // the work was the usual one: only such samples are judged
	Memory     int64         // resident, in bytes
	Goroutines int64
	Files      int64 // open, sockets included
	Disk       int64 // of the data directory, in bytes
	Inputs     int64 // read back by then
	Outputs    int64 // likewise
	Backlog    int64 // inputs and requests with effects still to come
}

// figure is one series that is judged.
type figure struct {
	name  string
	unit  int64 // to divide by when it is shown
	whole bool  // over the whole run; else over the last life of the process, which begins anew with each
	floor int64 // what counts as nothing
	value func(*Sample) int64
}

// figures are judged against floors, below which a ratio measures the work of the moment.
var figures = []figure{
	// The Go heap's goal, compiled code and fetch buffers of a process that does anything.
	{"memory, MB", 1 << 20, false, 128 << 20, func(s *Sample) int64 { return s.Memory }},
	// The server, its job at the highest parallelism and a few calls.
	{"goroutines", 1, false, 100, func(s *Sample) int64 { return s.Goroutines }},
	// Listeners, connections to one broker, calls, and the files of an epoch.
	{"open files", 1, false, 64, func(s *Sample) int64 { return s.Files }},
	// Two versions of a module, as they came and compiled, and deltas between two folds.
	{"disk, MB", 1 << 20, true, 32 << 20, func(s *Sample) int64 { return s.Disk }},
}

// Finding is the judgement of one figure.
type Finding struct {
	Figure  string
	Samples int
	Early   float64 // median of the second fifth, in the figure's unit
	Late    float64 // median of the last fifth
	Grew    bool
}

// Judge judges every figure, or says that there are too few samples for one.
func Judge(samples []Sample) ([]Finding, error) {
	var findings []Finding
	for _, f := range figures {
		part := samples
		if !f.whole {
			part = lastLife(samples)
		}
		part = steady(part)
		if len(part) < least {
			return nil, fmt.Errorf("judge %s: %d samples of steady work are too few, %d are needed", f.name, len(part), least)
		}
		n := len(part)
		early, late := f.median(part[n/5:2*n/5]), f.median(part[4*n/5:])
		findings = append(findings, Finding{
			Figure: f.name, Samples: n,
			Early: early / float64(f.unit), Late: late / float64(f.unit),
			Grew: late > maxRatio*max(early, float64(f.floor)),
		})
	}
	return findings, nil
}

// lastLife are the samples of the process that lived last.
func lastLife(samples []Sample) []Sample {
	from := len(samples)
	for from > 0 && samples[from-1].Life == samples[len(samples)-1].Life {
		from--
	}
	return samples[from:]
}

func steady(samples []Sample) (kept []Sample) {
	for _, s := range samples {
		if s.Steady {
			kept = append(kept, s)
		}
	}
	return kept
}

func (f *figure) median(samples []Sample) float64 {
	values := make([]int64, len(samples))
	for i := range samples {
		values[i] = f.value(&samples[i])
	}
	slices.Sort(values)
	n := len(values)
	return float64(values[(n-1)/2]+values[n/2]) / 2
}

// maxRows bounds the table: it is read by people.
const maxRows = 20

// Write writes the findings and some of the samples as two tables in Markdown.
func Write(w io.Writer, findings []Finding, samples []Sample) error {
	text := fmt.Appendf(nil, "| figure | samples | second fifth | last fifth | grew (above %v, beyond its floor) |\n|---|---|---|---|---|\n", maxRatio)
	for _, f := range findings {
		grew := "no"
		if f.Grew {
			grew = "**yes**"
		}
		text = fmt.Appendf(text, "| %s | %d | %.0f | %.0f | %s |\n", f.Figure, f.Samples, f.Early, f.Late, grew)
	}
	text = append(text, "\n| at | process |"...)
	for _, f := range figures {
		text = fmt.Appendf(text, " %s |", f.name)
	}
	text = append(text, " inputs | outputs | backlog | steady |\n|---|---|---|---|---|---|---|---|---|---|\n"...)
	rows := min(maxRows, len(samples))
	for row := range rows {
		s := &samples[row*(len(samples)-1)/max(1, rows-1)]
		text = fmt.Appendf(text, "| %v | %d |", s.At.Round(time.Second), s.Life)
		for _, f := range figures {
			text = fmt.Appendf(text, " %d |", f.value(s)/f.unit)
		}
		text = fmt.Appendf(text, " %d | %d | %d | %v |\n", s.Inputs, s.Outputs, s.Backlog, s.Steady)
	}
	_, err := w.Write(text)
	return err
}
