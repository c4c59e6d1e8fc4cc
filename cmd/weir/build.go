package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// buildTimeout ends a compiler that hangs; a first build on a slow machine compiles the standard library.
const buildTimeout = 10 * time.Minute

// built is the answer of weir build.
type built struct {
	File   string  `json:"file"`
	Bytes  int64   `json:"bytes"`
	Millis float64 `json:"millis"`
}

func (s *shell) build() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "build [FOLDER]",
		Short: "Compile the function in a folder to a WASM module",
		Long:  "Compiles the Go package in FOLDER (the current one by default) with the installed Go compiler.",
		Example: `  weir build
  weir build ./counter --file /tmp/counter.wasm`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			folder := s.dir
			if len(args) == 1 {
				folder = s.path(args[0])
			}
			if file == "" {
				file = filepath.Join(folder, filepath.Base(folder)+".wasm")
			}
			var b built
			err := s.during("compiling "+filepath.Base(folder), func() (err error) {
				b, err = s.compile(cmd.Context(), folder, s.path(file), "")
				return err
			})
			if err != nil {
				return err
			}
			return s.show(b, func(t *table) { t.row("built", b.summary()) })
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "where to write the module; FOLDER/FOLDER.wasm by default")
	return cmd
}

func (b *built) summary() string {
	return fmt.Sprintf("%s  %s in %s", filepath.Base(b.File), size(b.Bytes), span(time.Duration(b.Millis*float64(time.Millisecond))))
}

// path is a path of the command line, seen from the working directory.
func (s *shell) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(s.dir, p)
}

// compile makes the module file from the source in folder: by the command, or by the Go compiler when it is empty. The
// same source gives the same bytes wherever it lies, so that a deployment which changes nothing is seen as such.
func (s *shell) compile(ctx context.Context, folder, file, command string) (built, error) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	started := time.Now()
	var compiler *exec.Cmd
	environment := s.environ
	if command != "" {
		compiler = exec.CommandContext(ctx, "sh", "-c", command)
	} else {
		if _, err := os.Stat(filepath.Join(folder, "main.go")); errors.Is(err, fs.ErrNotExist) {
			return built{}, failed("there is no main.go in "+folder, "name the folder of a function: weir build FOLDER")
		}
		compiler = exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-o", file, ".")
		environment = append(environment[:len(environment):len(environment)], "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	}
	compiler.Dir, compiler.Env = folder, environment
	compiler.WaitDelay = time.Second // a grandchild that keeps the pipes open must not hold us
	output, err := compiler.CombinedOutput()
	if err != nil {
		if err := writable(filepath.Dir(file)); err != nil && command == "" {
			return built{}, failed(fmt.Sprintf("cannot write %s: %v", file, err),
				"make the folder one that this user may write to, or name another file: weir build --file FILE")
		}
		return built{}, compileFailure(ctx, folder, err, string(output))
	}
	stat, err := os.Stat(file)
	if err != nil {
		return built{}, failed("the build made no "+file, "its command must write the file that module.yaml names")
	}
	return built{File: file, Bytes: stat.Size(), Millis: float64(time.Since(started)) / float64(time.Millisecond)}, nil
}

// writable makes a file in a folder and removes it. It is hidden: those are not watched.
func writable(folder string) error {
	f, err := os.CreateTemp(folder, ".weir-*")
	if err != nil {
		var cause *fs.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// maxCompilerLines of a compiler's output are shown: the first ones say what is wrong.
const maxCompilerLines = 30

func compileFailure(ctx context.Context, folder string, err error, output string) error {
	if errors.Is(err, exec.ErrNotFound) {
		return failed("the go command is not installed", "install Go 1.26 or later from https://go.dev/dl, or deploy a module that is built")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := &failure{code: exitFailed, what: filepath.Base(folder) + " does not compile"}
	for line := range strings.Lines(output) {
		if len(f.todo) == maxCompilerLines {
			f.todo = append(f.todo, "…")
			break
		}
		f.todo = append(f.todo, strings.TrimRight(line, "\n"))
	}
	if len(f.todo) == 0 {
		f.todo = append(f.todo, err.Error())
	}
	return f
}
