package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
)

// produced is the answer of weir produce.
type produced struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func (s *shell) produce() *cobra.Command {
	var headers []string
	record := kafkaio.ProducedRecord{}
	cmd := &cobra.Command{
		Use:   "produce TOPIC KEY [VALUE]",
		Short: "Write one record to a Kafka topic",
		Long:  "Writes one record and prints where it stands. A VALUE of - is read from standard input; without VALUE it is a tombstone.",
		Example: `  weir produce clicks ann 5
  weir produce clicks ann - --header source=test <click.json`,
		Args:              arguments(2, 3),
		ValidArgsFunction: s.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			record.Topic, record.Key = args[0], []byte(args[1])
			if len(args) == 3 {
				if record.Value, err = s.argument(args[2]); err != nil {
					return err
				}
			}
			for _, h := range headers {
				key, value, ok := strings.Cut(h, "=")
				if !ok {
					return misused("--header %s: want key=value", h)
				}
				record.Headers = append(record.Headers, router.Header{Key: key, Value: []byte(value)})
			}
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			broker, err := s.broker(ctx, cmd.Flags())
			if err != nil {
				return err
			}
			defer broker.Close()
			if err := needTopic(ctx, broker, record.Topic); err != nil {
				return err
			}
			p := produced{Topic: record.Topic}
			if p.Partition, p.Offset, err = broker.Produce(ctx, &record); err != nil {
				return unknownTopic(err, record.Topic)
			}
			return s.show(p, func(t *table) { t.row("produced", fmt.Sprintf("%s[%d]@%d", p.Topic, p.Partition, p.Offset)) })
		},
	}
	cmd.Flags().Int32Var(&record.Partition, "partition", -1, "write to this partition; by default the key chooses")
	cmd.Flags().StringArrayVar(&headers, "header", nil, "add a header, key=value; may be repeated")
	return s.brokerFlags(cmd)
}

// argument is a value of the command line, or what standard input holds for "-".
func (s *shell) argument(text string) ([]byte, error) {
	if text != "-" {
		return []byte(text), nil
	}
	value, err := io.ReadAll(io.LimitReader(s.in, functions.MaxMessageBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if len(value) > functions.MaxMessageBytes {
		return nil, failed(fmt.Sprintf("standard input holds more than %s", size(functions.MaxMessageBytes)))
	}
	return value, nil
}
