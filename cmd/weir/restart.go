package main

import "github.com/spf13/cobra"

func (s *shell) restart() *cobra.Command {
	return s.change("restart", "Begin a new attempt of a job, running or not",
		"A job that runs takes a final checkpoint first; any other goes on from its last.",
		"restarted")
}
