package main

import (
	"github.com/spf13/cobra"

	"github.com/weir-run/weir/runtime/jobmanager"
)

func (s *shell) outbox() *cobra.Command {
	return s.group("outbox", "Look at exactly-once output on its way to Kafka",
		"Each lane publishes the output of committed epochs in order. A record that a broker refuses for good stops its lane.",
		"  weir outbox list ad-billing", s.outboxList(), s.outboxDivert())
}

func (s *shell) outboxList() *cobra.Command {
	return &cobra.Command{
		Use:               "list JOB",
		Short:             "List the lanes of a job",
		Example:           "  weir outbox list ad-billing",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			var lanes []jobmanager.LaneView
			if err := api.get(ctx, &lanes, "v1", "jobs", args[0], "outbox"); err != nil {
				return err
			}
			return s.show(lanes, func(t *table) { laneRows(t, lanes...) })
		},
	}
}

func (s *shell) outboxDivert() *cobra.Command {
	return &cobra.Command{
		Use:               "divert JOB LANE",
		Short:             "Move the refused record of a lane to the dead-letter topic",
		Example:           "  weir outbox divert ad-billing lane-0",
		Args:              arguments(2, 2),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			var lane jobmanager.LaneView
			if err := api.post(ctx, verbRoute(args[0], "divert"), map[string]string{"lane": args[1]}, &lane); err != nil {
				return err
			}
			return s.show(lane, func(t *table) { laneRows(t, lane) })
		},
	}
}

func laneRows(t *table, lanes ...jobmanager.LaneView) {
	t.row("LANE", "TASK", "CLUSTER", "PUBLISHED", "PENDING", "SIZE", "ERROR")
	for _, l := range lanes {
		pending := "-"
		if l.Pending > 0 {
			pending = count(l.Pending)
		}
		t.row(l.ID, l.Task, l.Cluster, count(l.Published), pending, size(l.Bytes), l.Error)
	}
}
