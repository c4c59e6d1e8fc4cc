package main

import "github.com/spf13/cobra"

func (s *shell) stop() *cobra.Command {
	return s.change("stop", "End a job after a final checkpoint",
		"Everything it has taken is finished and its output published before it ends; weir restart goes on from there.",
		"stopped")
}
