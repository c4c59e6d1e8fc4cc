package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (s *shell) completion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:       "completion SHELL",
		Short:     "Print the completion script for bash, zsh, fish or powershell",
		Example:   "  source <(weir completion bash)",
		Args:      arguments(1, 1),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(s.out, true)
			case "zsh":
				return root.GenZshCompletion(s.out)
			case "fish":
				return root.GenFishCompletion(s.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(s.out)
			}
			return misused("completion for %q: want one of %v", args[0], shells)
		},
	}
}

// completed are the words that a shell offers: none of them are files.
func completed(words []string, err error) ([]string, cobra.ShellCompDirective) {
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeFunctions offers the function types that jobs run.
func (s *shell) completeFunctions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return completed(nil, nil)
	}
	return completed(s.deployedFunctions(cmd.Context()))
}

func (s *shell) deployedFunctions(ctx context.Context) ([]string, error) {
	api, err := s.api()
	if err != nil {
		return nil, err
	}
	var names []string
	err = eachJob(ctx, api, func(_ string, types []string) bool {
		names = append(names, types...)
		return true
	})
	return names, err
}

// completeTopics offers the topics of the broker.
func (s *shell) completeTopics(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return completed(nil, nil)
	}
	broker, err := s.broker(cmd.Context(), cmd.Flags())
	if err != nil {
		return completed(nil, err)
	}
	defer broker.Close()
	topics, err := broker.Topics(cmd.Context())
	names := make([]string, 0, len(topics))
	for i := range topics {
		names = append(names, topics[i].Name)
	}
	return completed(names, err)
}
