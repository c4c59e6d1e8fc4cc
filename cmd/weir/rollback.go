package main

import "github.com/spf13/cobra"

func (s *shell) rollback() *cobra.Command {
	return s.change("rollback", "Go back to the version before, at the next barrier",
		"Code goes back; state stays as it is.",
		"rolled back")
}
