package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-run/weir/router/kafkaio"
)

func (s *shell) topics() *cobra.Command {
	var partitions int
	cmd := &cobra.Command{
		Use:   "topics [TOPIC]",
		Short: "List Kafka topics, describe one, or create one",
		Long: `Lists the topics of a broker, describes one, or creates one. OFFSETS is how many offsets a topic's log spans: those of its
records, and of a mark for every transaction. weir consume TOPIC --to-end prints the records alone.`,
		Example: `  weir topics
  weir topics clicks
  weir topics clicks --create 3`,
		Args:              arguments(0, 1),
		ValidArgsFunction: s.completeTopics,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("create") && (len(args) == 0 || partitions < 1) {
				return misused("--create wants the name of a topic and a number of partitions above 0")
			}
			ctx, cancel := s.bounded(cmd)
			defer cancel()
			broker, err := s.broker(ctx, cmd.Flags())
			if err != nil {
				return err
			}
			defer broker.Close()
			if len(args) == 0 {
				return s.listTopics(ctx, broker)
			}
			if partitions > 0 {
				if err := createTopic(ctx, broker, args[0], partitions); err != nil {
					return err
				}
			}
			return s.describeTopic(ctx, broker, args[0])
		},
	}
	cmd.Flags().IntVar(&partitions, "create", 0, "create TOPIC with so many partitions")
	return s.brokerFlags(cmd)
}

func createTopic(ctx context.Context, broker *kafkaio.Client, topic string, partitions int) error {
	there, _, err := broker.Exists(ctx, topic)
	if err != nil {
		return err
	}
	if there {
		return failed(fmt.Sprintf("topic %q exists already; nothing was changed", topic), "weir topics "+topic+" describes it")
	}
	return broker.Create(ctx, topic, partitions, nil)
}

func (s *shell) listTopics(ctx context.Context, broker *kafkaio.Client) error {
	all, err := broker.Topics(ctx)
	if err != nil {
		return err
	}
	if all == nil {
		all = []kafkaio.TopicDescription{}
	}
	return s.show(all, func(t *table) {
		t.row("TOPIC", "PARTITIONS", "REPLICAS", "OFFSETS")
		for i := range all {
			t.row(all[i].Name, len(all[i].Partitions), all[i].Replicas, count(offsets(&all[i])))
		}
	})
}

// offsets is the number of offsets in a topic's log: its records, and the marks of transactions.
func offsets(d *kafkaio.TopicDescription) (n int64) {
	for _, p := range d.Partitions {
		n += p.End - p.Start
	}
	return n
}

func (s *shell) describeTopic(ctx context.Context, broker *kafkaio.Client, topic string) error {
	if err := needTopic(ctx, broker, topic); err != nil {
		return err
	}
	d, err := broker.Describe(ctx, topic)
	if err != nil {
		return unknownTopic(err, topic)
	}
	return s.show(d, func(t *table) {
		t.row("PARTITION", "LEADER", "START", "END")
		for _, p := range d.Partitions {
			t.row(p.ID, p.Leader, p.Start, p.End)
		}
		for key, value := range d.Configs {
			t.row(key, value)
		}
	})
}
