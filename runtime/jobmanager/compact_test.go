package jobmanager

import (
	"strings"
	"testing"

	"github.com/weir-run/weir/statestore/checkpoint"
)

func refs(names string) (refs []checkpoint.FileRef) {
	for _, name := range strings.Fields(names) {
		refs = append(refs, checkpoint.FileRef{Name: name})
	}
	return refs
}

func names(refs []checkpoint.FileRef) string {
	var names []string
	for _, ref := range refs {
		names = append(names, ref.Name)
	}
	return strings.Join(names, " ")
}

func TestAFoldAndAJoinBesideItTakeThePlaceOfWhatTheyAreMadeOf(t *testing.T) {
	fold := &compaction{deltas: refs("1 2 3"), file: &checkpoint.FileRef{Name: "base"}}
	join := &compaction{deltas: refs("4 5"), merge: true, file: &checkpoint.FileRef{Name: "4-5"}}
	for what, test := range map[string]struct {
		done          []*compaction
		bases, deltas string
	}{
		"nothing":        {nil, "old", "1 2 3 4 5 6"},
		"the fold":       {[]*compaction{fold}, "base", "4 5 6"},
		"the join":       {[]*compaction{join}, "old", "1 2 3 4-5 6"},
		"both":           {[]*compaction{fold, join}, "base", "4-5 6"},
		"the join first": {[]*compaction{join, fold}, "base", "4-5 6"},
	} {
		m := &checkpoint.Manifest{Number: 7, Bases: refs("old"), Deltas: refs("1 2 3 4 5 6")}
		next := nextManifest(m, &openEpoch{}, test.done, m.Time)
		if names(next.Bases) != test.bases || names(next.Deltas) != test.deltas {
			t.Errorf("%s: bases %s, deltas %s", what, names(next.Bases), names(next.Deltas))
		}
	}
}
