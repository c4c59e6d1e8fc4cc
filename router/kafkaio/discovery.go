package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

const (
	// goneRounds is how often in a row a topic must be missing before it counts as deleted: a broker that has just
	// started answers from metadata that it is still loading.
	goneRounds = 5
	// goneInterval is the time between those rounds, and between looks for a topic that does not exist yet.
	goneInterval = time.Second
	// failuresSaid is the failure in a row that is logged: one heals within a blink, and is said by the connection if
	// it is one.
	failuresSaid = 5
	// lookInterval is the least time between two looks that something asks for: partitions that fail and brokers that are
	// down ask often, and goneRounds must span the start of a broker.
	lookInterval = 100 * time.Millisecond
	// headlessSteps is how often the wait doubles while a partition has no leader, to 1.6 s: most elections take less than
	// the first wait, and an outage of hours is no reason to ask ten times a second.
	headlessSteps = 4
)

// rules say which topics an ingress reads.
type rules []rule

type rule struct {
	topic   string
	pattern *regexp.Regexp
	create  int
}

func compileRules(topics []functions.IngressTopic) (rules, error) {
	var r rules
	for n, t := range topics {
		one := rule{topic: t.Topic, create: t.Create}
		if t.Pattern != "" {
			re, err := regexp.Compile("^(?:" + t.Pattern + ")$")
			if err != nil {
				return nil, fmt.Errorf("topics[%d].pattern: %w", n, err)
			}
			one.pattern = re
		} else if t.Topic == "" {
			return nil, fmt.Errorf("topics[%d] has neither topic nor pattern", n)
		}
		r = append(r, one)
	}
	if len(r) == 0 {
		return nil, errors.New("it reads no topic")
	}
	return r, nil
}

// match is the index of the rule for a topic, or -1. A name is stronger than a pattern.
func (r rules) match(topic string) int {
	found := -1
	for n, one := range r {
		switch {
		case one.pattern == nil && one.topic == topic:
			return n
		case one.pattern != nil && found < 0 && one.pattern.MatchString(topic):
			found = n
		}
	}
	return found
}

// names are the topics to ask for; nil asks for all, which a pattern needs.
func (r rules) names() []string {
	var names []string
	for _, one := range r {
		if one.pattern != nil {
			return nil
		}
		names = append(names, one.topic)
	}
	return names
}

// finder is what discovery remembers between rounds.
type finder struct {
	started  bool                   // partitions without a position appeared later, and start at the beginning
	ids      map[string][16]byte    // of topics that are read, as the checkpoint or the first round said
	resume   map[partitionKey]bool  // has a position from the checkpoint and is not yet fetched from
	missing  map[string]int         // rounds in a row in which a topic that is read was absent
	warned   map[string]bool        // topics that were said to be missing
	headless int                    // rounds in a row in which a partition had no leader
	offsets  map[partitionKey]int64 // starts resolved in this round
	ends     map[partitionKey]int64 // of a bounded ingress, found in this round
}

// adopt takes the positions of the checkpoint that belong to this task, so that they are known before Kafka answers.
func (f *finder) adopt(i *Ingress, positions []router.Position) {
	f.ids, f.resume = map[string][16]byte{}, map[partitionKey]bool{}
	f.missing, f.warned = map[string]int{}, map[string]bool{}
	for _, p := range positions {
		rule := i.rules.match(p.Topic)
		if p.Ingress != i.cfg.Ingress.ID || rule < 0 {
			continue
		}
		f.ids[p.Topic], i.bounds.topics[p.Topic] = p.TopicID, true
		if i.cfg.Ingress.Bounded == nil {
			p.End = 0 // the ingress had one once
		}
		if key := (partitionKey{p.Topic, p.ID}); i.owns(key) {
			i.sources[key] = &source{start: p, rule: rule, at: mark{p.Offset, p.LeaderEpoch}, leader: -1, epoch: -1}
			f.resume[key] = true
		}
	}
}

// discover looks for topics and partitions until ctx is done.
func (i *Ingress) discover(ctx context.Context) error {
	for failures := 0; ; {
		wait, err := i.round(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, router.ErrTopicGone), errors.Is(err, router.ErrStart):
			return err
		case isAuth(err):
			return authError(err)
		case err != nil:
			if failures++; failures == failuresSaid {
				i.cfg.Log.Warn("topics are not found out, tried again", "err", err)
			}
			wait = backoff(failures + 5) // from 32 ms: nobody waits for a commit here
		default:
			failures = 0
		}
		i.idle(ctx, wait, time.Now())
	}
}

// idle waits between two looks at the cluster: for as long as wait, or until something asks for a look.
func (i *Ingress) idle(ctx context.Context, wait time.Duration, last time.Time) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return
	case <-ctx.Done():
		return
	case <-i.look:
	}
	t.Reset(min(wait, lookInterval) - time.Since(last))
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// round is one look at the cluster. It returns when to look next.
func (i *Ingress) round(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	topics, err := metadata(ctx, i.cl, i.rules.names())
	if err != nil {
		return 0, err
	}
	wait, err := i.absent(ctx, topics)
	if err != nil {
		return 0, err
	}
	var found []partitionKey
	for name, t := range topics {
		rule := i.rules.match(name)
		if rule < 0 || t.err != nil || t.internal || len(t.leaders) == 0 {
			continue
		}
		id := t.id
		if was, ok := i.finder.ids[name]; ok && was != id && was != [16]byte{} && id != [16]byte{} {
			return 0, fmt.Errorf("%w: topic %s has id %s, the checkpoint's position is of %s", router.ErrTopicGone, name, kadm.TopicID(id), kadm.TopicID(was))
		}
		i.finder.ids[name] = id
		for p := range t.leaders {
			if key := (partitionKey{name, int32(p)}); i.owns(key) && (i.sources[key] == nil && !i.closed(name) || i.finder.resume[key]) {
				found = append(found, key)
			}
		}
	}
	if err := i.resolve(ctx, found); err != nil {
		return 0, err
	}
	if err := i.ends(ctx, found); err != nil {
		return 0, err
	}
	i.begin(found, topics)
	if i.lead(topics) {
		i.finder.headless = 0
	} else {
		wait = min(wait, lookInterval<<min(i.finder.headless, headlessSteps))
		i.finder.headless++
	}
	return wait, nil
}

// absent handles topics that are read, or wanted by name, and are not there. A short wait says that some are missing.
func (i *Ingress) absent(ctx context.Context, topics map[string]seen) (time.Duration, error) {
	wait := router.DiscoveryInterval
	there := func(name string) bool {
		s, ok := topics[name]
		return ok && s.err == nil
	}
	for name := range i.finder.ids {
		if there(name) {
			delete(i.finder.missing, name)
			continue
		}
		if err := topics[name].err; isAuth(err) {
			return 0, fmt.Errorf("read topic %s: %w", name, authError(err))
		}
		wait = goneInterval
		if s, ok := topics[name]; ok && !errors.Is(s.err, kerr.UnknownTopicOrPartition) {
			continue // the answer heals by itself
		}
		if i.finder.missing[name]++; i.finder.missing[name] >= goneRounds {
			return 0, fmt.Errorf("%w: topic %s does not exist", router.ErrTopicGone, name)
		}
	}
	for _, r := range i.rules {
		if r.pattern != nil || there(r.topic) {
			continue
		}
		if _, read := i.finder.ids[r.topic]; read {
			continue
		}
		wait = goneInterval
		if err := topics[r.topic].err; isAuth(err) {
			return 0, fmt.Errorf("read topic %s: %w", r.topic, authError(err))
		}
		if r.create > 0 {
			if err := createTopic(ctx, i.adm, r.topic, r.create, nil); err != nil {
				return 0, err
			}
			wait = backoff(6) // its metadata spreads within milliseconds
			continue
		}
		if !i.finder.warned[r.topic] {
			i.finder.warned[r.topic] = true
			i.cfg.Log.Warn("topic does not exist, waiting for it", "topic", r.topic)
		}
	}
	return wait, nil
}

// createTopic creates a topic with the broker's own replication factor; one that exists is no error.
func createTopic(ctx context.Context, adm *kadm.Client, topic string, partitions int, configs map[string]*string) error {
	_, err := adm.CreateTopic(ctx, int32(partitions), -1, configs, topic)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return nil
}

// begin fetches from the partitions found, after Positions tells where from.
func (i *Ingress) begin(found []partitionKey, topics map[string]seen) {
	i.mu.Lock()
	for _, key := range found {
		if i.sources[key] == nil {
			start := router.Position{
				Partition: router.Partition{Ingress: i.cfg.Ingress.ID, Topic: key.topic, ID: key.id},
				TopicID:   i.finder.ids[key.topic], Offset: i.finder.offsets[key], LeaderEpoch: -1,
			}
			i.sources[key] = &source{start: start, rule: i.rules.match(key.topic), at: mark{start.Offset, -1}, leader: -1, epoch: -1}
		}
		delete(i.finder.resume, key)
		i.bind(i.sources[key])
	}
	i.know(topics)
	// A topic that is wanted by name and does not exist yet has no start to be resolved: it will begin at 0.
	i.settled, i.finder.started, i.finder.offsets = true, true, nil
	i.mu.Unlock()
	if len(found) > 0 {
		token(i.ready) // the task takes the starts into a checkpoint
		slices.SortFunc(found, comparePartitions)
		i.cfg.Log.Info("reads partitions", "partitions", len(found), "first", fmt.Sprintf("%s[%d]", found[0].topic, found[0].id))
	}
}
