package main

import "github.com/spf13/cobra"

func (s *shell) restart() *cobra.Command {
	return s.change("restart", "Run a job that ended again, from its last checkpoint",
		"",
		"restarted")
}
