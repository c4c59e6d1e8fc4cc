package taskmanager

import (
	"testing"

	"github.com/weir-run/weir/functions"
)

// TestATaskIsAbreastWhenNothingElseIsQueued holds when the floor of auto epochs does not bind: records that pass the mailbox
// by are queued in Kafka.
func TestATaskIsAbreastWhenNothingElseIsQueued(t *testing.T) {
	task := &task{stats: &taskStats{}}
	for _, step := range []struct {
		lag  int64
		want bool
	}{{0, true}, {pollRecords, true}, {pollRecords + 1, false}, {3, true}} {
		task.stats.lag.Store(step.lag)
		if got := task.abreast(); got != step.want {
			t.Errorf("%d records behind: abreast %v", step.lag, got)
		}
	}
	task.mailbox.append(&functions.Message{Key: []byte("k")})
	if task.abreast() {
		t.Error("abreast with a message in the mailbox")
	}
}
