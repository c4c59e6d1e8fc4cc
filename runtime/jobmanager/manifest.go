package jobmanager

import (
	"slices"
	"time"

	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// manifestFormat is the version of the manifest's fields that this coordinator writes.
const manifestFormat = 1

// repeat is the entry after m with the same content: of a new term or attempt, or to record that everything is published.
func repeat(m *checkpoint.Manifest, now time.Time) *checkpoint.Manifest {
	next := *m
	next.Format, next.Number, next.Time, next.Epoch = manifestFormat, m.Number+1, now, false
	return &next
}

// nextManifest is the manifest that commits an epoch. What a lane still owed when it acknowledged the epoch stays named.
func nextManifest(m *checkpoint.Manifest, e *openEpoch, compacted []*compaction, now time.Time) *checkpoint.Manifest {
	next := repeat(m, now)
	next.Epoch = true
	if e.ask.version != 0 {
		next.Version = e.ask.version
	}
	next.Bases, next.Deltas = slices.Clone(m.Bases), slices.Clone(m.Deltas)
	for _, c := range compacted {
		next.Bases, next.Deltas = c.replace(next.Bases, next.Deltas)
	}
	next.Snapshots, next.Segments, next.Lanes = nil, nil, nil
	owed := map[string][]checkpoint.Outbox{}
	for i := range m.Lanes {
		owed[m.Lanes[i].ID] = m.Lanes[i].Outboxes
	}
	inline := []map[string][]byte{m.Inline}
	for _, worker := range sortedWorkers(e) {
		ack := e.acks[worker]
		inline = append(inline, ack.Inline)
		file, delta := ack.File, ack.Delta
		file.Number, delta.Number = next.Number, next.Number
		if delta.Name != "" {
			next.Deltas = append(next.Deltas, delta)
		}
		next.Snapshots = append(next.Snapshots, file)
		next.Segments = append(next.Segments, ack.Segments...)
		for i := range ack.Lanes {
			next.Lanes = append(next.Lanes, laneOf(&ack.Lanes[i], file, owed[ack.Lanes[i].ID]))
		}
	}
	next.KeepInline(inline...)
	return next
}

func laneOf(output *wire.LaneOutput, file checkpoint.FileRef, owed []checkpoint.Outbox) checkpoint.Lane {
	lane := checkpoint.Lane{ID: output.ID, Cluster: output.Cluster, Task: output.Task, Cookie: output.Cookie, Published: output.Published}
	for _, outbox := range owed {
		if outbox.Number > output.Published {
			lane.Outboxes = append(lane.Outboxes, outbox)
		}
	}
	if output.Output {
		lane.Outboxes = append(lane.Outboxes, checkpoint.Outbox{Number: file.Number, File: file})
	}
	return lane
}

// settledManifest is the entry that records that every lane has published what it owed.
func settledManifest(m *checkpoint.Manifest, now time.Time) *checkpoint.Manifest {
	next := repeat(m, now)
	next.Lanes = slices.Clone(m.Lanes)
	for i := range next.Lanes {
		next.Lanes[i].Published, next.Lanes[i].Outboxes = m.Number, nil
	}
	next.KeepInline(m.Inline)
	return next
}

// orphans are the lanes of a manifest whose tasks do not exist in an attempt of this parallelism, or whose cluster its
// version no longer names: they are fenced and completed all the same.
func orphans(m *checkpoint.Manifest, parallelism int, clusters map[string]bool) []checkpoint.Lane {
	var lanes []checkpoint.Lane
	for _, lane := range m.Lanes {
		if planted.Is(planted.VanishedLaneForgotten) {
			continue
		}
		if lane.Task >= parallelism || !clusters[lane.Cluster] {
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

func sortedWorkers(e *openEpoch) []string {
	workers := make([]string, 0, len(e.acks))
	for w := range e.acks {
		workers = append(workers, w)
	}
	slices.Sort(workers)
	return workers
}
