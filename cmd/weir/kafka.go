package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// brokerFlags adds --kafka, and how it is reached, to a command that speaks to a broker.
func (s *shell) brokerFlags(cmd *cobra.Command) *cobra.Command {
	fallback, _ := s.lookup("WEIR_KAFKA")
	cmd.Flags().String("kafka", fallback, "broker, host:port; the server's by default (environment: WEIR_KAFKA)")
	cmd.Flags().AddFlagSet(accessFlags())
	return cmd
}

// access is what flags say of reaching a broker, and the environment where they do not.
func (s *shell) access(flags *pflag.FlagSet) (access, error) {
	return accessOf(func(key string) string {
		flag := flags.Lookup(key)
		if value, ok := s.lookup(variable(key)); ok && !flag.Changed {
			return fromEnvironment(key, value)
		}
		return flag.Value.String()
	})
}

// broker connects to a Kafka cluster: the one that was named, or the server's own.
func (s *shell) broker(ctx context.Context, flags *pflag.FlagSet) (*kafkaio.Client, error) {
	address := flags.Lookup("kafka").Value.String()
	how, err := s.access(flags)
	if err != nil {
		return nil, err
	}
	if address == "" {
		api, err := s.api()
		if err != nil {
			return nil, err
		}
		var release deploy.Release
		if err := api.get(ctx, &release, "v1", "version"); err != nil {
			return nil, err
		}
		if address = release.Kafka; address == "" {
			return nil, failed("the server has no broker of its own", "name one with --kafka host:port")
		}
	}
	cluster, err := s.cluster(address, how)
	if err != nil {
		return nil, err
	}
	client, err := kafkaio.OpenClient(cluster, s.secret, nil)
	if err != nil {
		return nil, err
	}
	if err := reach(ctx, client, address); err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// reach makes sure of a broker that answers.
func reach(ctx context.Context, client *kafkaio.Client, address string) error {
	if err := dialAny(ctx, address); err != nil {
		return err
	}
	return client.Reach(ctx)
}

// dialAny tells at once that no broker is there: a Kafka client would try until its time is over.
func dialAny(ctx context.Context, addresses string) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	var reason error
	for address := range strings.SplitSeq(addresses, ",") {
		connection, err := dialer.DialContext(ctx, "tcp", strings.TrimSpace(address))
		if err == nil {
			return connection.Close()
		}
		reason = err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &failure{
		code: exitUnreachable, what: fmt.Sprintf("cannot reach the broker at %s: %v", addresses, reason),
		todo: []string{"name another with --kafka host:port"},
	}
}

// needTopic fails with what the user may have meant when a topic does not exist.
func needTopic(ctx context.Context, broker *kafkaio.Client, topic string) error {
	there, near, err := broker.Exists(ctx, topic)
	if err != nil || there {
		return err
	}
	f := &failure{code: exitFailed, what: fmt.Sprintf("topic %q does not exist", topic)}
	if len(near) > 0 {
		f.todo = append(f.todo, "the broker has "+strings.Join(near, ", "))
	}
	f.todo = append(f.todo, "weir topics "+topic+" --create 1 makes it")
	return f
}

// unknownTopic is needTopic for a topic that went away meanwhile.
func unknownTopic(err error, topic string) error {
	if errors.Is(err, router.ErrUnknownTopic) {
		return failed(fmt.Sprintf("topic %q does not exist", topic), "weir topics lists those that do")
	}
	return err
}
