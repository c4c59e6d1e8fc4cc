package main

import "github.com/spf13/cobra"

func (s *shell) pause() *cobra.Command {
	return s.change("pause", "Stop taking messages from ingresses",
		"The job keeps its state and its slots; weir resume goes on.",
		"paused")
}
