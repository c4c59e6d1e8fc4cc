package main

import "github.com/spf13/cobra"

func (s *shell) resume() *cobra.Command {
	return s.change("resume", "Run a job again that is at rest",
		"",
		"resumed")
}
