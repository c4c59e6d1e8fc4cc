package jobmanager

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

// foldRetry is the pause after a fold or a join that failed: it reads all files again, and epochs come a hundred a second.
const foldRetry = 10 * time.Second

// compaction is a fold of bases and deltas, or a join of deltas, that a TaskManager makes beside the epochs.
type compaction struct {
	deltas  []checkpoint.FileRef // that it takes the place of
	merge   bool                 // it is a delta, and takes the place of these only; otherwise a base
	started uint64               // number of the manifest that it began at; part of its file's name
	file    *checkpoint.FileRef  // what came of it, for the next manifest; nil while it runs
}

// replace puts the result in place. Deltas that came since the beginning stay behind it.
func (c *compaction) replace(bases, deltas []checkpoint.FileRef) (newBases, newDeltas []checkpoint.FileRef) {
	gone := map[string]bool{}
	for _, d := range c.deltas {
		gone[d.Name] = true
	}
	placed := !c.merge
	for _, d := range deltas {
		switch {
		case !gone[d.Name] && planted.Is(planted.FoldRacesDelta):
		case !gone[d.Name]:
			newDeltas = append(newDeltas, d)
		case !placed:
			placed = true
			newDeltas = append(newDeltas, *c.file)
		}
	}
	if c.merge {
		return bases, newDeltas
	}
	return []checkpoint.FileRef{*c.file}, newDeltas
}

// compact asks for a fold when the manifest names too many bytes of changes, and for a join when it names too many files or
// holds too many bytes of them itself. One of each runs at a time. A join may begin beside a fold, which can take many
// seconds, with deltas that are not the fold's; a fold takes all deltas, and waits for a join to end.
func (j *master) compact() {
	if time.Now().Before(j.foldAfter) {
		return
	}
	if j.fold == nil && j.join == nil && checkpoint.FoldNeeded(j.manifest) {
		j.fold = j.ask(j.manifest.Deltas, false)
	}
	folding := 0 // deltas at the front of the manifest's, which no join touches
	if j.fold != nil {
		folding = len(j.fold.deltas)
	}
	if joined := checkpoint.MergeNeeded(j.manifest, folding); joined != nil && j.join == nil {
		j.join = j.ask(joined, true)
	}
}

func (j *master) ask(deltas []checkpoint.FileRef, merge bool) *compaction {
	c := &compaction{deltas: slices.Clone(deltas), merge: merge, started: j.manifest.Number}
	kind := "fold"
	if merge {
		kind = "join"
	}
	for _, w := range slices.Sorted(maps.Keys(j.workers))[:1] {
		j.manager.endpoint.Send(w, &wire.Fold{
			Attempt: j.attempt, Name: fmt.Sprintf("%sbase/%d-%d-%d-%s", filesPrefix(j.record.UID), j.term, j.attempt.Attempt, c.started, kind),
			Bases: j.manifest.Bases, Deltas: c.deltas, Groups: j.manifest.KeyGroups, Merge: merge, Inline: j.manifest.InlineOf(c.deltas),
		})
	}
	return c
}

// compacted keeps a result for the next manifest. What failed is tried again after a while.
func (j *master) compacted(f *wire.Folded) {
	c := &j.fold
	if f.Merge {
		c = &j.join
	}
	if *c == nil {
		return
	}
	if f.Error != "" {
		j.log.Warn("fold failed", "err", f.Error)
		*c, j.foldAfter = nil, time.Now().Add(foldRetry)
		return
	}
	(*c).file = &f.File
}

// takeCompacted gives the results that are there to the manifest that comes: a fold's before a join's, whose deltas are later.
func (j *master) takeCompacted() (done []*compaction) {
	for _, c := range []**compaction{&j.fold, &j.join} {
		if *c != nil && (*c).file != nil {
			done = append(done, *c)
			*c = nil
		}
	}
	return done
}
