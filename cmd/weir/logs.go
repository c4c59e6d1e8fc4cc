package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/runtime/jobmanager"
)

// maxLineBytes bounds one log line of the stream: a guest's line is cut at less.
const maxLineBytes = 1 << 20

func (s *shell) logs() *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs JOB",
		Short: "Print what functions wrote",
		Example: `  weir logs counter
  weir logs counter --follow -o json`,
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := s.bounded(cmd)
			if follow && !cmd.Flags().Changed("timeout") {
				ctx, cancel = context.WithCancel(cmd.Context())
			}
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			path := route("v1", "jobs", args[0], "logs")
			if follow {
				path += "?follow=true"
			}
			response, err := api.open(ctx, http.MethodGet, path, "", nil)
			if err != nil {
				return err
			}
			defer response.Body.Close() // it was only read
			err = s.printLines(response.Body)
			if follow && errors.Is(err, context.Canceled) {
				return nil // interrupting is how following ends
			}
			return err
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with lines as they are written")
	return cmd
}

// printLines copies the stream: with -o json as it is, one object per line.
func (s *shell) printLines(stream io.Reader) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxLineBytes)
	for lines.Scan() {
		var line jobmanager.LogLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("read log line: %w", err)
		}
		text := string(lines.Bytes())
		switch s.output {
		case "table":
			text = logText(&line)
		case "yaml":
			if err := s.show([]jobmanager.LogLine{line}, nil); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintln(s.out, text); err != nil {
			return fmt.Errorf("write answer: %w", err)
		}
	}
	return lines.Err()
}

func logText(line *jobmanager.LogLine) string {
	address := ""
	if line.Function != "" {
		address = fmt.Sprintf("%s %q  ", line.Function, line.Key)
	}
	return fmt.Sprintf("%s  %-5s  %s%s", clock(line.Time), line.Level, address, printable(line.Text))
}
