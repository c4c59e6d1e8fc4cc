package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/jobmanager"
)

func (s *shell) state() *cobra.Command {
	var job string
	get := &cobra.Command{
		Use:               "get NAMESPACE/FUNCTION KEY",
		Short:             "Print the committed state of one key",
		Example:           "  weir state get example/counter ann",
		Args:              arguments(2, 2),
		ValidArgsFunction: s.completeFunctions,
		RunE: func(cmd *cobra.Command, args []string) error {
			function, err := functions.ParseTypeName(args[0])
			if err != nil {
				return misused("%v", err)
			}
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			api, err := s.api()
			if err != nil {
				return err
			}
			owner, err := jobOf(ctx, api, job, function)
			if err != nil {
				return err
			}
			var state jobmanager.StateView
			if err := api.get(ctx, &state, "v1", "jobs", owner, "state", function.Namespace, function.Name, args[1]); err != nil {
				return err
			}
			return s.show(state, func(t *table) { stateRows(t, &state) })
		},
	}
	get.Flags().StringVar(&job, "job", "", "job to ask; without it, the one that runs the function type")
	return s.group("state", "Look at the state of functions", "", "  weir state get example/counter ann", get)
}

func stateRows(t *table, state *jobmanager.StateView) {
	when := fmt.Sprintf("committed in checkpoint %s, %s ago", count(state.Checkpoint),
		span(time.Duration(state.Age*float64(time.Millisecond))))
	for _, v := range state.States {
		text := "(absent)"
		if v.Present {
			text = stateText(v.Value)
		}
		t.row(v.Name, v.Type, text, when)
	}
}

// stateText is a state's value on one line: text as it is, all else as JSON.
func stateText(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	document, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(document)
}
