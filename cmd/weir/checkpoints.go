package main

import (
	"github.com/spf13/cobra"

	"github.com/weir-run/weir/runtime/jobmanager"
)

func (s *shell) checkpoints() *cobra.Command {
	return &cobra.Command{
		Use:               "checkpoints JOB",
		Short:             "List the checkpoints that are kept",
		Example:           "  weir checkpoints ad-billing",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			var kept []jobmanager.CheckpointView
			if err := api.get(ctx, &kept, "v1", "jobs", args[0], "checkpoints"); err != nil {
				return err
			}
			return s.show(kept, func(t *table) {
				t.row("CHECKPOINT", "TIME", "VER", "ATTEMPT", "TERM", "KIND", "FILES", "SIZE", "UNPUBLISHED")
				for _, c := range kept {
					kind := "epoch"
					if !c.Epoch {
						kind = "takeover"
					}
					t.row(count(c.Number), clock(c.Time), c.Version, c.Attempt, c.Term, kind, c.Files, size(c.Bytes), c.Pending)
				}
			})
		},
	}
}
