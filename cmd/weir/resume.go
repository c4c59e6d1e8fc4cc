package main

import "github.com/spf13/cobra"

func (s *shell) resume() *cobra.Command {
	return s.change("resume", "Take messages from ingresses again",
		"",
		"resumed")
}
