package main

import "github.com/spf13/cobra"

func (s *shell) cancel() *cobra.Command {
	return s.change("cancel", "End a job without a final checkpoint",
		"What it did since its last checkpoint is done again after weir restart; committed output is still published.",
		"cancelled")
}
