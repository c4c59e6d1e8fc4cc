package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router/kafkaio"
)

// serverCommand runs Weir for production: one process, jobs and state in its data directory, Kafka elsewhere.
func (s *shell) serverCommand() *cobra.Command {
	var file string
	var printConfig bool
	flags := configFlags("weir-data", "", "broker of jobs and commands that name none, host:port")
	flags.AddFlagSet(accessFlags())
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the server",
		Long: `Runs the server: jobs read from and write to Kafka, state and checkpoints are in the data directory.

Every flag is also a key of the configuration file (YAML), and an environment variable: --data-plane is WEIR_DATA_PLANE.
Flags win over the environment, and that over the file. ${env:NAME} and ${file:PATH} in values are replaced.
SIGTERM drains: requests end, jobs take a final checkpoint, and the exit code is 0.`,
		Example: `  weir server --data /var/lib/weir --kafka broker:9092
  weir server --config weir.yaml --print-config`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			set, err := s.loadConfig(s.configFile(file), flags)
			if err != nil {
				return err
			}
			if printConfig {
				for _, name := range set.ignored {
					fmt.Fprintf(s.err, "warning: environment variable %s is not known\n", name)
				}
				return s.printConfig(set)
			}
			return s.serve(cmd.Context(), set)
		},
	}
	cmd.Flags().AddFlagSet(flags)
	cmd.Flags().StringVar(&file, "config", "", "configuration file (environment: WEIR_CONFIG)")
	cmd.Flags().BoolVar(&printConfig, "print-config", false, "print the configuration that is in effect, and end")
	return cmd
}

// configFile is the file of --config, or of the environment.
func (s *shell) configFile(flag string) string {
	if flag != "" {
		return flag
	}
	file, _ := s.lookup("WEIR_CONFIG")
	return file
}

// printConfig prints values as they were written: what a reference stands for may be a secret.
func (s *shell) printConfig(set *settings) error {
	values := set.values()
	if s.output != "table" {
		return s.show(values, nil)
	}
	text, err := yaml.Marshal(values)
	if err != nil {
		return fmt.Errorf("encode configuration: %w", err)
	}
	if _, err := s.out.Write(text); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

// ownBroker is the cluster that the configuration names. Certificates that cannot be used are found before anything runs.
func (s *shell) ownBroker(set *settings) (functions.Cluster, error) {
	if set.Kafka == "" {
		return functions.Cluster{}, nil
	}
	broker, err := s.cluster(set.Kafka, set.access)
	if err != nil {
		return broker, err
	}
	client, err := kafkaio.OpenClient(broker, s.secret, nil)
	if err != nil {
		return broker, fmt.Errorf("configuration: %w", err)
	}
	client.Close()
	return broker, nil
}

func (s *shell) serve(ctx context.Context, set *settings) (err error) {
	if err := s.resolve(set); err != nil {
		return err
	}
	log := set.logger(s.err)
	held, err := lock(set.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	for _, name := range set.ignored {
		log.Warn("environment variable is not known", "name", name)
	}
	broker, err := s.ownBroker(set)
	if err != nil {
		return err
	}
	p, err := s.openProcess(ctx, set, log, wiring{Config: set.Config, Log: log, Broker: broker, Secrets: s.secret})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	log.Info("server is listening", "control", p.control.Addr(), "data_plane", p.dataPlane.Addr().String(), "data", set.Data)
	if err := p.run(ctx); err != nil {
		return err
	}
	log.Info("server has drained")
	return nil
}
