package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/router/kafkaio"
)

// consumed is one record as weir consume shows it.
type consumed struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Time      time.Time         `json:"time"`
	Key       *content          `json:"key"`   // null: no key
	Value     *content          `json:"value"` // null: a tombstone
	Headers   map[string]string `json:"headers,omitempty"`
}

// content is text as a JSON string, and other bytes as {"base64": …}.
type content []byte

// MarshalJSON never loses a byte.
func (c content) MarshalJSON() ([]byte, error) {
	if utf8.Valid(c) {
		return json.Marshal(string(c))
	}
	return json.Marshal(map[string][]byte{"base64": c})
}

func (s *shell) consume() *cobra.Command {
	var from string
	var toEnd bool
	what := kafkaio.Consumption{}
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print the records of a Kafka topic as they are committed",
		Long: `Prints the records of a topic from its start, and goes on with those that come: until it is interrupted, until -n
records were printed, or until --timeout is over if that is set. Records of open and aborted transactions are left out.`,
		Example: `  weir consume counts -n 3
  weir consume counts --from end -o json`,
		Args:              arguments(1, 1),
		ValidArgsFunction: s.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			offset, err := offsetOf(from)
			if err != nil {
				return err
			}
			what.Topic, what.Offset, what.Follow = args[0], offset, !toEnd
			endless := what.Follow && what.Count == 0 && !cmd.Flags().Changed("timeout")
			ctx, cancel := s.bounded(cmd)
			if endless {
				ctx, cancel = context.WithCancel(cmd.Context())
			}
			defer cancel()
			broker, err := s.broker(ctx, cmd.Flags())
			if err != nil {
				return err
			}
			defer broker.Close()
			if err := needTopic(ctx, broker, what.Topic); err != nil {
				return err
			}
			err = broker.Consume(ctx, what, s.printRecord)
			if endless && errors.Is(err, context.Canceled) {
				return nil // interrupting is how it ends
			}
			return unknownTopic(err, what.Topic)
		},
	}
	cmd.Flags().IntVarP(&what.Count, "number", "n", 0, "end after so many records")
	cmd.Flags().StringVar(&from, "from", "start", "start, end, or an offset")
	cmd.Flags().Int32Var(&what.Partition, "partition", -1, "read this partition only")
	cmd.Flags().BoolVar(&toEnd, "to-end", false, "end where the topic ends now")
	cmd.Flags().BoolVar(&what.Uncommitted, "uncommitted", false, "also records of open and aborted transactions")
	return s.brokerFlags(cmd)
}

func offsetOf(from string) (int64, error) {
	switch from {
	case "start":
		return kafkaio.FromStart, nil
	case "end":
		return kafkaio.FromEnd, nil
	}
	offset, err := strconv.ParseInt(from, 10, 64)
	if err != nil || offset < 0 {
		return 0, misused("--from %s: want start, end, or an offset", from)
	}
	return offset, nil
}

// printRecord writes one record on one line; as YAML, as one element of a list.
func (s *shell) printRecord(r *kafkaio.ConsumedRecord) error {
	if s.output == "table" {
		_, err := fmt.Fprintf(s.out, "%s  %s\n", bytesText(r.Key), bytesText(r.Value))
		return err
	}
	c := consumed{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Time}
	if r.Key != nil {
		c.Key = (*content)(&r.Key)
	}
	if r.Value != nil {
		c.Value = (*content)(&r.Value)
	}
	for _, h := range r.Headers {
		if c.Headers == nil {
			c.Headers = map[string]string{}
		}
		c.Headers[h.Key] = string(h.Value)
	}
	if s.output == "yaml" {
		return s.show([]consumed{c}, nil)
	}
	return json.NewEncoder(s.out).Encode(c)
}

// bytesText is text for a terminal: absent bytes are (none).
func bytesText(b []byte) string {
	if b == nil {
		return "(none)"
	}
	return printable(string(b))
}
