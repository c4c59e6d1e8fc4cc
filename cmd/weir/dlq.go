package main

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/runtime/jobmanager"
)

func (s *shell) dlq() *cobra.Command {
	return s.group("dlq", "Look at messages that failed for good, and send them again",
		"A message that failed as often as its retry policy allows goes to the job's dead-letter topic.",
		"  weir dlq list ad-billing", s.dlqList(), s.dlqRedrive())
}

// shownLetter is a dead letter whose value is text where it can be, as weir consume shows it.
type shownLetter struct {
	jobmanager.DeadLetterView
	Value content `json:"value,omitempty"`
}

func (s *shell) dlqList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:               "list JOB",
		Short:             "List dead letters with their cause",
		Example:           "  weir dlq list ad-billing",
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			var letters []jobmanager.DeadLetterView
			path := route("v1", "jobs", args[0], "dead-letters") + "?limit=" + strconv.Itoa(limit)
			if err := api.call(ctx, http.MethodGet, path, "", nil, &letters); err != nil {
				return err
			}
			shown := make([]shownLetter, len(letters))
			for i := range letters {
				shown[i] = shownLetter{DeadLetterView: letters[i], Value: content(letters[i].Value)}
			}
			return s.show(shown, func(t *table) {
				t.row("TIME", "ID", "FUNCTION AND KEY", "RECORD", "ATTEMPTS", "CAUSE", "WHERE")
				for i := range letters {
					l := &letters[i]
					function := l.Function
					if function == "" {
						function = "(none)" // it is not redriven
					}
					t.row(clock(l.Time), l.ID, fmt.Sprintf("%s %q", function, l.Key), l.Source,
						l.Attempts, l.Cause, l.Where)
				}
			})
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 100, "the latest so many, at most 1000")
	return cmd
}

func (s *shell) dlqRedrive() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "redrive JOB [ID...]",
		Short: "Send dead letters again to where they failed",
		Example: `  weir dlq redrive ad-billing 'billing-dead[0]@17'
  weir dlq redrive ad-billing --all`,
		Args:              arguments(1, -1),
		ValidArgsFunction: s.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 1) {
				return misused("name the dead letters to redrive, or say --all")
			}
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			var done jobmanager.RedriveView
			request := map[string][]string{"ids": args[1:]}
			err = s.during("redriving", func() error { return api.post(ctx, verbRoute(args[0], "redrive"), request, &done) })
			if err != nil {
				return err
			}
			return s.show(done, func(t *table) {
				t.row("redriven", fmt.Sprintf("%s, %d had been before", plural(done.Redriven, "message"), done.Skipped))
				if done.Unfit > 0 {
					t.row("left", plural(done.Unfit, "letter")+" without a function: look at the record with weir consume, and produce what is right")
				}
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "redrive every dead letter of the job")
	return cmd
}
