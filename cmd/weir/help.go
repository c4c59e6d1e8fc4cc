package main

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/docs"
)

// help shows a command, or a page of the documentation: errors name pages, and whoever has the binary alone has no file.
func (s *shell) help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND... | PAGE [HEADING]]",
		Short: "Show a command, or a page of the documentation",
		Long: `Shows a command, or a page of the documentation as it was when this binary was built: the whole page, or one heading
of it. What an error names can be given as it stands, such as docs/errors.md#job-at-rest.

Pages: ` + strings.Join(pages(), ", "),
		Example: `  weir help errors job-at-rest
  weir help docs/operations.md#backups
  weir help deploy`,
		ValidArgsFunction: completeHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			// Only words that all name commands are a command: state is a page too.
			if shown, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				shown.InitDefaultHelpFlag()
				return shown.Help()
			}
			text, err := section(args)
			if err != nil {
				return err
			}
			_, err = io.WriteString(s.out, text)
			return err
		},
	}
}

// pages are the names that weir help knows.
func pages() []string {
	files, err := fs.Glob(docs.Pages, "*.md")
	if err != nil {
		panic(fmt.Sprintf("weir: list pages: %v", err)) // the pattern is a constant
	}
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], ".md")
	}
	return files
}

// section is a page, or what stands below one of its headings.
func section(args []string) (string, error) {
	name, heading, _ := strings.Cut(args[0], "#")
	if len(args) > 1 {
		heading = strings.Join(args[1:], " ")
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "docs/"), ".md")
	page, err := fs.ReadFile(docs.Pages, name+".md")
	if err != nil {
		return "", &failure{
			code: exitUsage, what: fmt.Sprintf("there is no command and no page %q", args[0]),
			todo: []string{"weir --help lists the commands, weir help --help the pages"},
		}
	}
	if heading == "" {
		return string(page), nil
	}
	found := below(string(page), anchor(heading))
	if found == "" {
		return "", &failure{
			code: exitUsage, what: fmt.Sprintf("page %s has no heading %q", name, heading),
			todo: []string{"weir help " + name + " prints all of it"},
		}
	}
	return found, nil
}

// below cuts out the part of a page that begins with a heading and ends before the next one of its rank.
func below(page, want string) string {
	var part strings.Builder
	rank, fenced := 0, false
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if title := strings.TrimLeft(line, "#"); !fenced && title != line {
			switch level := len(line) - len(title); {
			case rank == 0 && anchor(title) == want:
				rank = level
			case rank > 0 && level <= rank:
				return strings.TrimRight(part.String(), "\n") + "\n"
			}
		}
		if rank > 0 {
			part.WriteString(line)
		}
	}
	return part.String()
}

// anchor is what links call a heading: lower case, spaces as hyphens, punctuation dropped.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}

// see is the line that sends to a page: where it stands, and how who has the binary alone reads it.
func see(link string) string {
	name, heading, _ := strings.Cut(strings.TrimPrefix(link, "docs/"), "#")
	name, isPage := strings.CutSuffix(name, ".md")
	if !isPage || heading == "" {
		return link
	}
	return link + ": weir help " + name + " " + heading
}

func completeHelp(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := pages()
	for _, c := range cmd.Root().Commands() {
		names = append(names, c.Name())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
