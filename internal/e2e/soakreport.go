package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/weir-run/weir/internal/e2e/growth"
)

var errGrew = errors.New("the server takes more and more for the same work: see the report")

// soakAndReport runs a soak and writes its report, also of one that failed after it had begun.
func (w *world) soakAndReport(ctx context.Context) error {
	s, err := w.endure(ctx)
	tell(&s.verdict)
	findings, judged := growth.Judge(s.samples)
	if err == nil {
		err = judged
	}
	if err == nil && slices.ContainsFunc(findings, func(f growth.Finding) bool { return f.Grew }) {
		err = errGrew
	}
	if err == nil {
		err = s.enough()
	}
	text, writing := w.soakText(s, findings, err)
	if writing == nil {
		writing = os.WriteFile(w.report, text, 0o600)
	}
	if writing != nil {
		return errors.Join(err, fmt.Errorf("write the report: %w", writing))
	}
	for _, f := range findings {
		say("%s: %.0f, then %.0f, of %d samples", f.Figure, f.Early, f.Late, f.Samples)
	}
	fmt.Println("soak: " + lastLine(&s.tally, &s.verdict))
	return err
}

// enough reports a soak that was too easy to prove anything.
func (s *soaked) enough() error {
	for _, kind := range slices.Concat(killers, mild) {
		if s.blows[kind] == 0 {
			return fmt.Errorf("there was no blow of the kind: %s", kind)
		}
	}
	return nil
}

// soakText is the report.
func (w *world) soakText(s *soaked, findings []growth.Finding, failure error) ([]byte, error) {
	var b bytes.Buffer
	outcome := "It passed."
	if failure != nil {
		outcome = "It **failed**: " + failure.Error() + "."
	}
	fmt.Fprintf(&b, `# Soak

Written by `+"`make soak DURATION=%v`"+`, with seed %d, %d inputs a second and Apache Kafka %s. [Reliability](../docs/reliability.md#soak) says what a
soak is. %s

    soak: %s

| blow | times |
|---|---|
`, w.soak, w.seed, w.rate, w.kafka, outcome, lastLine(&s.tally, &s.verdict))
	for _, kind := range slices.Concat(killers, mild) {
		fmt.Fprintf(&b, "| %s | %d |\n", kind, s.blows[kind])
	}
	b.WriteString("\nEach figure is the median of a stretch: of the last process for memory, goroutines and files, of the whole run for disk.\n\n")
	err := growth.Write(&b, findings, s.samples)
	return b.Bytes(), err
}
