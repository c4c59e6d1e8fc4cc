package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/sdk"
)

//go:embed scaffold
var scaffold embed.FS

// sdkFolder holds the SDK's source inside of a scaffold.
const sdkFolder = "weir-sdk"

// guestGo is the language version of a scaffold, that of the SDK in it.
const guestGo = "1.26.0"

// projectName is a name that fits a folder, a Go module and a function type alike.
var projectName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// project is what the templates are filled with, and the answer of weir new.
type project struct {
	Name      string `json:"name"`
	Function  string `json:"function"`
	Folder    string `json:"folder"`
	GoVersion string `json:"-"`
}

func (s *shell) newCommand() *cobra.Command {
	var language string
	cmd := &cobra.Command{
		Use:     "new NAME",
		Short:   "Make a folder with a function, its test, and the SDK",
		Long:    "Makes the folder NAME with a function that counts, its test, and the source of the SDK, so that it builds offline.",
		Example: "  weir new counter && cd counter && weir dev",
		Args:    arguments(1, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			if language != "go" {
				return misused("--lang %s: want go", language)
			}
			if !projectName.MatchString(args[0]) {
				return misused("name %q: use lower-case letters, digits and '-', beginning with a letter", args[0])
			}
			p := project{Name: args[0], Function: "example/" + args[0], Folder: s.path(args[0]), GoVersion: guestGo}
			if err := p.make(); err != nil {
				return err
			}
			return s.show(p, func(t *table) {
				t.row("made", s.shown(p.Folder))
				t.row("next", "cd "+s.shown(p.Folder)+" && weir dev")
			})
		},
	}
	cmd.Flags().StringVar(&language, "lang", "go", "language of the function")
	return cmd
}

// make writes the project into a folder beside its place and moves it there, so that it is whole or absent.
func (p *project) make() error {
	if _, err := os.Lstat(p.Folder); !errors.Is(err, fs.ErrNotExist) {
		return failed(p.Folder+" exists already", "choose another name, or remove it")
	}
	temp, err := os.MkdirTemp(filepath.Dir(p.Folder), ".weir-new-*")
	if err != nil {
		return fmt.Errorf("make project: %w", err)
	}
	defer os.RemoveAll(temp) // it has been moved away when all went well
	if err := p.fill(temp); err != nil {
		return fmt.Errorf("make project: %w", err)
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return fmt.Errorf("make project: %w", err)
	}
	if err := os.Rename(temp, p.Folder); err != nil {
		return fmt.Errorf("make project: %w", err)
	}
	return nil
}

func (p *project) fill(folder string) error {
	templates, err := fs.Sub(scaffold, "scaffold/go")
	if err != nil {
		return err
	}
	all, err := template.ParseFS(templates, "*.tmpl")
	if err != nil {
		return err
	}
	for _, t := range all.Templates() {
		name := strings.TrimSuffix(t.Name(), ".tmpl")
		if name == "gitignore" {
			name = ".gitignore"
		}
		var text strings.Builder
		if err := t.Execute(&text, p); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	if err := os.CopyFS(filepath.Join(folder, sdkFolder, "sdk"), sdk.Source()); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, sdkFolder, "go.mod"), []byte(sdk.GoMod), 0o644)
}
