package main

import "github.com/spf13/cobra"

func (s *shell) cancel() *cobra.Command {
	cmd := s.change("cancel", "End a job without a final checkpoint",
		"What it did since its last checkpoint is done again after weir restart; committed output is still published, unless\n"+
			"--discard-output says to drop what is not: for a broker that does not come back. weir jobs JOB then names it.",
		"canceled")
	discard := cmd.Flags().Bool("discard-output", false, "drop committed output that is not published")
	cancel, drop := cmd.RunE, s.change("discard-output", "", "", "canceled").RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *discard {
			return drop(cmd, args)
		}
		return cancel(cmd, args)
	}
	return cmd
}
