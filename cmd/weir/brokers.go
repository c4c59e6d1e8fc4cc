package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/runtime/jobmanager"
	"github.com/weir-run/weir/runtime/taskmanager"
)

const (
	// checkLimit is how long a deployment waits for a broker to say which topics it has; one that does not answer is no
	// reason to refuse a job, which waits for it.
	checkLimit = 3 * time.Second
	// lettersLimit bounds the reading of dead-letter topics for one request.
	lettersLimit = 30 * time.Second
)

// check looks for the topics of a job.
func (a *adapters) check(ctx context.Context, job *functions.Job) ([]string, error) {
	var clusters []functions.Cluster
	need := map[string]map[string]bool{} // address -> topics; true: it must exist
	add := func(c functions.Cluster, topic string, create int) error {
		c, _, err := a.cluster(c)
		if err != nil {
			return err
		}
		if need[c.Address] == nil {
			need[c.Address] = map[string]bool{}
			clusters = append(clusters, c)
		}
		if topic != "" {
			need[c.Address][topic] = need[c.Address][topic] || create == 0
		}
		return nil
	}
	for i := range job.Ingresses {
		for _, t := range job.Ingresses[i].Topics {
			if err := add(job.Ingresses[i].Cluster, t.Topic, t.Create); err != nil {
				return nil, err
			}
		}
	}
	for i := range job.Egresses {
		for _, t := range job.Egresses[i].Topics {
			if err := add(job.Egresses[i].Cluster, t, job.Egresses[i].Create); err != nil {
				return nil, err
			}
		}
	}
	var checked []string
	for _, c := range clusters {
		said, err := a.checkCluster(ctx, c, need[c.Address])
		if err != nil {
			return nil, err
		}
		checked = append(checked, said)
	}
	return checked, nil
}

func (a *adapters) checkCluster(ctx context.Context, c functions.Cluster, topics map[string]bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	client, err := kafkaio.OpenClient(c, a.Secrets, a.Log)
	if err != nil {
		return "", &router.Problem{Type: "bad-cluster", Title: "the Kafka cluster cannot be used", Status: http.StatusUnprocessableEntity, Detail: err.Error()}
	}
	defer client.Close()
	if err := a.unfit(c.Address, client.Reach(ctx)); err != nil {
		return "", err
	}
	for topic, must := range topics {
		there, near, err := client.Exists(ctx, topic)
		if err := a.unfit(c.Address, err); err != nil {
			return "", err
		}
		switch {
		case err != nil:
			return fmt.Sprintf("broker %s does not answer: the job waits for it", c.Address), nil
		case !there && must:
			return "", missingTopic(c.Address, topic, near)
		}
	}
	return "topics exist on " + c.Address, nil
}

// unfit is the problem of a broker that is there but refuses the settings it is reached with, or nil.
func (a *adapters) unfit(address string, err error) error {
	place := "look at tls and sasl of the ingress or egress in module.yaml"
	if address == a.Broker.Address {
		place = "look at the settings kafka-... that the server was started with, and at tls and sasl in module.yaml"
	}
	var connection *kafkaio.ConnectionError
	switch {
	case errors.As(err, &connection) && !errors.Is(err, router.ErrAuth):
		return &router.Problem{Type: "kafka-connection", Title: "the broker cannot be used with these settings", Status: http.StatusUnprocessableEntity,
			Detail: connection.Error() + "\n" + place, Docs: "docs/errors.md#kafka-connection"}
	case errors.Is(err, router.ErrAuth):
		return &router.Problem{Type: "kafka-credentials", Title: "the broker refuses the credentials", Status: http.StatusUnprocessableEntity,
			Detail: fmt.Sprintf("%s: %v\n%s", address, err, place), Docs: "docs/errors.md#kafka-credentials"}
	}
	return nil
}

func missingTopic(address, topic string, near []string) error {
	detail := fmt.Sprintf("topic %q does not exist on %s", topic, address)
	if len(near) > 0 {
		detail += fmt.Sprintf("; the broker has %q", near[0])
	}
	return &router.Problem{Type: "unknown-topic", Title: "a topic does not exist", Status: http.StatusUnprocessableEntity,
		Detail: detail + "; create the topic, or set create: 1 beside it in module.yaml", Docs: "docs/errors.md#unknown-topic"}
}

// letters reads the newest dead letters of a job.
func (a *adapters) letters(ctx context.Context, job *functions.Job, limit int) ([]jobmanager.Letter, error) {
	ctx, cancel := context.WithTimeout(ctx, lettersLimit)
	defer cancel()
	var all []jobmanager.Letter
	for _, in := range letterTopics(job) {
		resolved, _, err := a.cluster(in.cluster)
		if err != nil {
			return nil, err
		}
		client, err := kafkaio.OpenClient(resolved, a.Secrets, a.Log)
		if err != nil {
			return nil, err
		}
		for topic := range in.topics {
			if there, _, err := client.Exists(ctx, topic); err == nil && !there {
				continue
			}
			err = client.Consume(ctx, kafkaio.Consumption{Topic: topic, Partition: -1, Offset: kafkaio.FromStart}, func(r *kafkaio.ConsumedRecord) error {
				if l := letterOf(r); l.job == job.Name {
					all = append(all, l.Letter)
				}
				return nil
			})
			if err != nil {
				client.Close()
				return nil, err
			}
		}
		client.Close()
	}
	slices.SortStableFunc(all, func(x, y jobmanager.Letter) int { return cmp.Compare(x.Time.UnixNano(), y.Time.UnixNano()) })
	return all[max(0, len(all)-limit):], nil
}

// letterPlace is the dead-letter topics of a job in one cluster.
type letterPlace struct {
	cluster functions.Cluster
	topics  map[string]bool
}

// letterTopics are the dead-letter topics of a job, by broker address: functions' letters go to the first cluster that the
// job writes to or reads from, those of records to the cluster they came from.
func letterTopics(job *functions.Job) map[string]*letterPlace {
	places := map[string]*letterPlace{}
	add := func(c functions.Cluster, topic string) {
		if places[c.Address] == nil {
			places[c.Address] = &letterPlace{cluster: c, topics: map[string]bool{}}
		}
		places[c.Address].topics[topic] = true
	}
	for i := range job.Modules {
		switch {
		case len(job.Egresses) > 0:
			add(job.Egresses[0].Cluster, job.Modules[i].DeadLetter)
		case len(job.Ingresses) > 0:
			add(job.Ingresses[0].Cluster, job.Modules[i].DeadLetter)
		}
	}
	for i := range job.Ingresses {
		add(job.Ingresses[i].Cluster, job.Ingresses[i].Invalid.DeadLetter)
	}
	return places
}

// place finds where a guest's failure comes from, in the stack that it gave.
var place = regexp.MustCompile(`[\w./-]+\.go:\d+`)

type jobLetter struct {
	jobmanager.Letter
	job string
}

func letterOf(r *kafkaio.ConsumedRecord) jobLetter {
	l := jobLetter{}
	l.ID = fmt.Sprintf("%s[%d]@%d", r.Topic, r.Partition, r.Offset)
	l.Time, l.Key, l.Value = r.Time, string(r.Key), append([]byte(nil), r.Value...)
	for _, h := range r.Headers {
		value := string(h.Value)
		switch h.Key {
		case taskmanager.LetterCause:
			l.Cause, _, _ = strings.Cut(value, "\n")
			l.Where = place.FindString(value)
		case taskmanager.LetterFunction:
			l.Function = value
		case taskmanager.LetterKey:
			l.Key = value
		case taskmanager.LetterWhere:
			l.Source = value
		case taskmanager.LetterAttempts:
			l.Attempts, _ = strconv.Atoi(value) // written by weir
		case taskmanager.LetterJob:
			l.job = value
		case taskmanager.LetterIdempotency:
			l.Idempotency = value
		case taskmanager.LetterType:
			l.Ext = functions.AppendExt(l.Ext, functions.TagType, h.Value)
		case taskmanager.LetterTime:
		default:
			l.Ext = functions.AppendHeader(l.Ext, []byte(h.Key), h.Value)
		}
	}
	return l
}
