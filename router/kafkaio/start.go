package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weir-run/weir/router"
)

// commitInterval is how often offsets are told to the consumer group at most: lag tools look every few seconds.
const commitInterval = time.Second

// resolve finds where the partitions without a position start, into finder.offsets.
func (i *Ingress) resolve(ctx context.Context, found []partitionKey) error {
	i.finder.offsets = map[partitionKey]int64{}
	fresh := map[string]bool{}
	for _, key := range found {
		if i.sources[key] == nil {
			fresh[key.topic] = true
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	var topics []string
	for t := range maps.Keys(fresh) {
		topics = append(topics, t)
	}
	starts, err := i.adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return fmt.Errorf("ask for start offsets: %w", err)
	}
	chosen, err := i.chosen(ctx, topics, starts)
	if err != nil {
		return err
	}
	for _, key := range found {
		if i.sources[key] != nil {
			continue
		}
		at, ok := chosen[key]
		if !ok {
			first, ok := starts.Lookup(key.topic, key.id)
			if !ok || first.Err != nil {
				return fmt.Errorf("start offset of %s[%d]: %w", key.topic, key.id, first.Err)
			}
			at = first.Offset
			if i.finder.started && at > 0 {
				i.cfg.Log.Warn("partition lost records to retention before it was found", "topic", key.topic, "partition", key.id, "records", at)
			}
		}
		i.finder.offsets[key] = at
	}
	return nil
}

// chosen are the starts that the job's own setting gives; a partition not in it starts at the beginning of its log.
func (i *Ingress) chosen(ctx context.Context, topics []string, starts kadm.ListedOffsets) (map[partitionKey]int64, error) {
	start := i.cfg.Ingress.Start
	if i.finder.started {
		return nil, nil
	}
	switch start.Type {
	case "", "earliest":
		return nil, nil
	case "latest":
		return listed(i.adm.ListEndOffsets(ctx, topics...))
	case "timestamp":
		return listed(i.adm.ListOffsetsAfterMilli(ctx, start.Time.UnixMilli(), topics...))
	case "group-offsets":
		return i.groupOffsets(ctx, topics, starts)
	case "specific-offsets":
		chosen, err := i.groupOffsets(ctx, topics, starts)
		if err != nil {
			return nil, err
		}
		starts.Each(func(o kadm.ListedOffset) {
			if at, ok := start.Offsets[fmt.Sprintf("%s/%d", o.Topic, o.Partition)]; ok {
				chosen[partitionKey{o.Topic, o.Partition}] = at
			}
		})
		return chosen, nil
	}
	return nil, fmt.Errorf("%w: type %q", router.ErrStart, start.Type)
}

// listed makes a map of a list of offsets; an error of one partition is that of all.
func listed(l kadm.ListedOffsets, err error) (map[partitionKey]int64, error) {
	if err == nil {
		err = l.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for offsets: %w", err)
	}
	m := map[partitionKey]int64{}
	l.Each(func(o kadm.ListedOffset) { m[partitionKey{o.Topic, o.Partition}] = o.Offset })
	return m, nil
}

// groupOffsets are the offsets committed by the consumer group, and the reset position where there is none.
func (i *Ingress) groupOffsets(ctx context.Context, topics []string, starts kadm.ListedOffsets) (map[partitionKey]int64, error) {
	chosen := map[partitionKey]int64{}
	if i.cfg.Ingress.Start.Reset == "latest" {
		var err error
		if chosen, err = listed(i.adm.ListEndOffsets(ctx, topics...)); err != nil {
			return nil, err
		}
	}
	if i.cfg.Ingress.Group == "" {
		return chosen, nil
	}
	offsets, err := i.adm.FetchOffsets(ctx, i.cfg.Ingress.Group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return chosen, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for offsets of group %s: %w", i.cfg.Ingress.Group, err)
	}
	for key := range listedKeys(starts) {
		o, ok := offsets.Lookup(key.topic, key.id)
		switch {
		case !ok || o.At < 0 && o.Err == nil:
		case o.Err != nil:
			return nil, fmt.Errorf("offset of group %s in %s[%d]: %w", i.cfg.Ingress.Group, key.topic, key.id, o.Err)
		default:
			chosen[key] = o.At
		}
	}
	return chosen, nil
}

func listedKeys(l kadm.ListedOffsets) map[partitionKey]bool {
	m := map[partitionKey]bool{}
	l.Each(func(o kadm.ListedOffset) { m[partitionKey{o.Topic, o.Partition}] = true })
	return m
}

// Committed implements router.Ingress.
func (i *Ingress) Committed(positions []router.Position) {
	if i.cfg.Ingress.Group == "" {
		return
	}
	i.mu.Lock()
	for _, p := range positions {
		if p.Ingress == i.cfg.Ingress.ID {
			i.offsets[partitionKey{p.Topic, p.ID}] = p
		}
	}
	i.mu.Unlock()
	token(i.dirty)
}

// commitOffsets tells the consumer group what is committed, for the eyes of lag tools: a failure is said once and costs
// nothing else. What came last before the end is told too.
func (i *Ingress) commitOffsets(ctx context.Context) error {
	failing := false
	for ending := false; ; {
		select {
		case <-i.dirty:
		case <-ctx.Done():
			ending = true
		}
		err := i.tellGroup(ctx)
		if (err != nil) != failing {
			if failing = err != nil; failing {
				i.cfg.Log.Warn("offsets are not shown in the consumer group", "group", i.cfg.Ingress.Group, "err", err)
			}
		}
		if ending {
			return nil
		}
		t := time.NewTimer(commitInterval)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// tellGroup commits the offsets that wait, also after ctx has ended, within the grace of one short request.
func (i *Ingress) tellGroup(ctx context.Context) error {
	offsets := kadm.Offsets{}
	i.mu.Lock()
	for key, p := range i.offsets {
		offsets.Add(kadm.Offset{Topic: key.topic, Partition: key.id, At: p.Offset, LeaderEpoch: p.LeaderEpoch})
	}
	clear(i.offsets)
	i.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*commitInterval)
	defer cancel()
	answer, err := i.adm.CommitOffsets(ctx, i.cfg.Ingress.Group, offsets)
	if err != nil {
		return err
	}
	return answer.Error()
}
