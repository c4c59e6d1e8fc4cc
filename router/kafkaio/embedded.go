package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-run/weir/functions"
)

const (
	// embeddedCleaner is how often the embedded broker applies retention and compaction; its own default is an hour.
	embeddedCleaner = "30000"
	// embeddedRetentionBytes bounds a partition of the embedded broker on disk; it is for development.
	embeddedRetentionBytes = "1073741824"
	// embeddedRetention is Kafka's own default of seven days, in ms.
	embeddedRetention = "604800000"
	// embeddedSegmentBytes lets retention free what is old: only whole segments go.
	embeddedSegmentBytes = "67108864"
	// embeddedPartitions is what a topic gets that a client creates by using it.
	embeddedPartitions = 4
	// embeddedStart bounds what follows the opening of the data, which takes milliseconds.
	embeddedStart = 30 * time.Second
)

// EmbeddedConfig describes the broker of weir dev.
type EmbeddedConfig struct {
	Dir     string // its data; made when absent
	Address string // loopback host:port that clients use; port 0 takes a free one
	Log     *slog.Logger
}

// Embedded is a Kafka broker within this process, for development: docs/embedded-broker.md says what it does not promise.
type Embedded struct {
	cluster *kfake.Cluster
	guard   *guard
}

// StartEmbedded opens the data and listens. It is closed with Close; a process that dies instead loses no acknowledged
// record, but can leave a transaction committed in some partitions only, which EgressConfig.Embedded mends.
func StartEmbedded(ctx context.Context, cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e, err := startEmbedded(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start embedded kafka on %s: %w", cfg.Address, err)
	}
	return e, nil
}

func startEmbedded(ctx context.Context, cfg EmbeddedConfig) (*Embedded, error) {
	addr, err := net.ResolveTCPAddr("tcp", cfg.Address)
	if err != nil {
		return nil, err
	}
	if !addr.IP.IsLoopback() {
		return nil, errors.New("it has no authentication and takes a loopback address only")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := repair(cfg.Dir, cfg.Log); err != nil {
		return nil, err
	}
	e := &Embedded{}
	e.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1), kfake.DataDir(cfg.Dir), kfake.ClusterID("weir-dev"),
		// As Kafka's own default: a client that asks for it gets its topic. Weir's clients never ask.
		kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(embeddedPartitions),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": embeddedCleaner, "log.retention.bytes": embeddedRetentionBytes,
			"log.retention.ms": embeddedRetention, "log.segment.bytes": embeddedSegmentBytes,
		}),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) {
			l, err := net.Listen(network, addr.String())
			if err != nil {
				return nil, err
			}
			e.guard = newGuard(l, cfg.Log)
			return e.guard, nil
		}),
	)
	if err != nil {
		if e.guard != nil {
			err = errors.Join(err, e.guard.Listener.Close())
		}
		return nil, err
	}
	// Retention runs only once some topic has one of its own: the markers' topic is that one.
	ctx, cancel := context.WithTimeout(ctx, embeddedStart)
	defer cancel()
	egress, err := OpenEgress(EgressConfig{Cluster: functions.Cluster{Address: e.Address()}, Embedded: true, Log: cfg.Log})
	if err == nil {
		err = errors.Join(egress.ensureMarkers(ctx), egress.Close())
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Address is what clients connect to.
func (e *Embedded) Address() string { return e.guard.Addr().String() }

// Close ends the broker in order: what clients were told is on disk.
func (e *Embedded) Close() {
	e.cluster.Close()
	e.guard.closeAll()
}
