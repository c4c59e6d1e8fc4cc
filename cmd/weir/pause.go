package main

import "github.com/spf13/cobra"

func (s *shell) pause() *cobra.Command {
	return s.change("pause", "Bring a job to rest behind a final checkpoint",
		"Its tasks end, its slots are given back, and its state stays; weir resume goes on from there.",
		"paused")
}
