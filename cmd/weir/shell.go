package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// shell is the world in which a command runs: commands read and write nothing else of the process. One command runs in
// it at a time.
type shell struct {
	in       io.Reader
	out, err io.Writer
	environ  []string // KEY=value
	dir      string   // working directory
	terminal bool     // err is a terminal
	wire     func(wiring) (*node, error)

	server  string // --server
	output  string // --output
	timeout time.Duration
}

const (
	defaultServer = "http://127.0.0.1:8088"
	// defaultTimeout is longer than the API's own limit for a call, whose message says more than ours.
	defaultTimeout = 130 * time.Second
)

// run executes one command line and returns the exit code.
func (s *shell) run(ctx context.Context, args []string) int {
	root := s.root()
	root.SetArgs(keepNumbers(args))
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	if err := root.ExecuteContext(ctx); err != nil {
		return report(s.err, s.colour(), err)
	}
	return exitDone
}

func (s *shell) root() *cobra.Command {
	root := s.group("weir", "Run stateful functions with exactly-once results", `Weir runs stateful functions: WASM modules that get messages from Kafka, HTTP and each other, keep state per
key, and whose effects happen exactly once.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 cannot reach the server, 4 timed out.
Errors name pages such as docs/errors.md#job-at-rest: weir help docs/errors.md#job-at-rest prints what stands there.`,
		`  weir new counter && cd counter && weir dev
  weir invoke example/counter ann 3`,
		s.newCommand(), s.dev(), s.build(), s.deploy(), s.serverCommand(),
		s.jobs(), s.rollback(), s.pause(), s.resume(), s.stop(), s.cancel(), s.restart(), s.delete(),
		s.invoke(), s.state(), s.logs(), s.checkpoints(), s.dlq(), s.outbox(),
		s.topics(), s.produce(), s.consume(), s.version(), s.completion(),
	)
	root.SetHelpCommand(s.help())
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	server, ok := s.lookup("WEIR_SERVER")
	if !ok {
		server = defaultServer
	}
	flags := root.PersistentFlags()
	flags.StringVar(&s.server, "server", server, "address of the server (environment: WEIR_SERVER)")
	flags.StringVarP(&s.output, "output", "o", "table", "table, json or yaml")
	formats := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return completed(outputs(), nil)
	}
	if err := root.RegisterFlagCompletionFunc("output", formats); err != nil {
		panic(fmt.Sprintf("weir: completion of --output: %v", err))
	}
	flags.DurationVar(&s.timeout, "timeout", defaultTimeout, "how long the command may take")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		f := &failure{code: exitUsage, what: err.Error(), todo: []string{cmd.CommandPath() + " --help lists the flags"}}
		if strings.HasPrefix(f.what, "unknown shorthand") {
			f.todo = append(f.todo, "put -- before an argument that begins with -")
		}
		return f
	})
	root.PersistentPreRunE = func(_ *cobra.Command, args []string) error {
		for i := range args {
			args[i] = strings.TrimPrefix(args[i], numberMark)
		}
		if !slices.Contains(outputs(), s.output) {
			return misused("-o %s: want table, json or yaml", s.output)
		}
		return nil
	}
	return root
}

// outputs are the formats that -o takes.
func outputs() []string { return []string{"table", "json", "yaml"} }

// numberMark stands before a negative number while flags are parsed: no argument of a process holds a NUL byte.
const numberMark = "\x00"

// number is what negative numbers begin with, and no flag does.
var number = regexp.MustCompile(`^-\.?[0-9]`)

// keepNumbers has negative numbers taken as arguments, which they are, and not as flags. What follows a flag may be its
// value and stays as it is.
func keepNumbers(args []string) []string {
	kept := slices.Clone(args)
	for i := 1; i < len(args) && args[i-1] != "--"; i++ {
		if number.MatchString(args[i]) && (!strings.HasPrefix(args[i-1], "-") || number.MatchString(args[i-1])) {
			kept[i] = numberMark + args[i]
		}
	}
	return kept
}

// group is a command that only holds others.
func (s *shell) group(use, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			f := &failure{code: exitUsage, what: fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())}
			for _, name := range cmd.SuggestionsFor(args[0]) {
				f.todo = append(f.todo, "did you mean "+cmd.CommandPath()+" "+name+"?")
			}
			f.todo = append(f.todo, cmd.CommandPath()+" --help lists the commands")
			return f
		},
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(commands...)
	return cmd
}

// arguments checks how many arguments a command got.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		what := "too many arguments"
		if len(args) < least {
			what = "an argument is missing"
		}
		return &failure{
			code: exitUsage,
			what: cmd.CommandPath() + ": " + what,
			todo: []string{"usage: " + cmd.UseLine()},
		}
	}
}

// lookup reads the environment.
func (s *shell) lookup(name string) (string, bool) {
	for _, entry := range s.environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// colour says whether standard error may be coloured (https://no-color.org).
func (s *shell) colour() bool {
	off, _ := s.lookup("NO_COLOR")
	return s.terminal && off == ""
}

// bounded gives a command its time limit.
func (s *shell) bounded(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), s.timeout)
}

// silence is how long work may take before the user is told what it is.
const silence = time.Second

// during runs work and names it on standard error when it takes longer than a moment.
func (s *shell) during(what string, work func() error) error {
	done, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		timer := time.NewTimer(silence)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			fmt.Fprintf(s.err, "%s …\n", what)
		}
	}()
	err := work()
	close(done)
	<-told
	return err
}
