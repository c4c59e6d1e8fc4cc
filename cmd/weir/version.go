package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/deploy"
)

// version is set by the linker for a release: -X main.version=0.1.0.
var version string

// releaseVersion is what this binary calls itself; "dev" when nobody gave it a number.
func releaseVersion() string {
	if version != "" {
		return version
	}
	build, ok := debug.ReadBuildInfo()
	if ok && build.Main.Version != "" && build.Main.Version != "(devel)" {
		return build.Main.Version
	}
	return "dev"
}

// releaseCommit is the commit that this binary was built from, or empty.
func releaseCommit() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, setting := range build.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return ""
}

// versions is the answer of weir version.
type versions struct {
	Client deploy.Release  `json:"client"`
	Server *deploy.Release `json:"server,omitempty"`
}

func (s *shell) version() *cobra.Command {
	var server bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary, and of the server",
		Example: `  weir version
  weir version --of-server -o json`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Client: deploy.Release{Version: releaseVersion(), Commit: releaseCommit(), Go: runtime.Version()}}
			if server {
				ctx, cancel := s.bounded(cmd)
				defer cancel()
				api, err := s.api()
				if err != nil {
					return err
				}
				if err := api.get(ctx, &v.Server, "v1", "version"); err != nil {
					return err
				}
			}
			return s.show(v, func(t *table) {
				t.row("weir", v.Client.Version, v.Client.Commit, v.Client.Go, runtime.GOOS+"/"+runtime.GOARCH)
				if v.Server != nil {
					t.row("server", v.Server.Version, v.Server.Commit, v.Server.Go)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&server, "of-server", false, "ask the server as well")
	return cmd
}
