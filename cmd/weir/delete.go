package main

import (
	"net/http"

	"github.com/spf13/cobra"
)

func (s *shell) delete() *cobra.Command {
	return &cobra.Command{
		Use:               "delete JOB",
		Short:             "Delete a job that does not run, with its versions, state and checkpoints",
		Example:           "  weir stop ad-billing && weir delete ad-billing",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			if err := api.call(ctx, http.MethodDelete, route("v1", "jobs", args[0]), "", nil, nil); err != nil {
				return err
			}
			return s.show(map[string]string{"deleted": args[0]}, func(t *table) { t.row("deleted", args[0]) })
		},
	}
}
