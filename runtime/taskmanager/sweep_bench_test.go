package taskmanager

import (
	"strconv"
	"testing"
)

const (
	// sweepKeys is what a sweep has where it does not sweep keys: so few that misses of the cache do not hide what is swept.
	sweepKeys = 10_000
	// sweepValueKeys bounds the state of a sweep of values: with the largest it is 64 MiB.
	sweepValueKeys = 1_000
	// sweepFetchBytes bounds the values of a fetch, so that an epoch's output stays below outputLimit.
	sweepFetchBytes = 256 << 10
)

// BenchmarkSweep is BenchmarkEngine with one thing changed from line to line, which the line's name tells. Scenario sweep of the
// system benchmarks runs it.
func BenchmarkSweep(b *testing.B) {
	sweep := func(name string, guest func(*testing.B) []byte, of func(int) shape, values ...int) {
		b.Run(name, func(b *testing.B) {
			module := loadGuest(b, guest(b))
			for _, v := range values {
				b.Run(strconv.Itoa(v), func(b *testing.B) { benchEngine(b, module, of(v)) })
			}
		})
	}
	sweep("keys", guestInC, func(keys int) shape {
		return shape{keys: keys, value: benchValue, fetch: pollRecords}
	}, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
	sweep("batch", guestInC, func(fetch int) shape {
		return shape{keys: sweepKeys, value: benchValue, fetch: fetch}
	}, 1, 4, 16, 64, 128, 512)
	guest := func(b *testing.B) []byte { return buildGuest(b, benchGuest+"/sweep") }
	sweep("value", guest, func(value int) shape {
		return shape{keys: sweepValueKeys, value: value, fetch: min(pollRecords, sweepFetchBytes/value)}
	}, 8, 64, 512, 4<<10, 16<<10, 64<<10)
}
