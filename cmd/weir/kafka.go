package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// brokerFlag adds --kafka to a command that speaks to a broker.
func (s *shell) brokerFlag(cmd *cobra.Command, address *string) *cobra.Command {
	fallback, _ := s.lookup("WEIR_KAFKA")
	cmd.Flags().StringVar(address, "kafka", fallback, "broker, host:port; the server's by default (environment: WEIR_KAFKA)")
	return cmd
}

// broker connects to a Kafka cluster: the one that was named, or the server's own.
func (s *shell) broker(ctx context.Context, address string) (*kafkaio.Client, error) {
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
	if err := dialAny(ctx, address); err != nil {
		return nil, err
	}
	return kafkaio.OpenClient(functions.Cluster{Address: address}, nil, nil)
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
