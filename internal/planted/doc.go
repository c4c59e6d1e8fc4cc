// Package planted compiles deliberate bugs and tight limits into the platform, for the simulation of a build with the tag
// "planted": a checker that never met a bug proves nothing. In every other build a bug is never there and a limit is the
// normal one; both are constants to the compiler and cost nothing.
//
// It hides which bug is planted. Its invariant: at most one is, and only a test plants it. It is not fault injection:
// disks, brokers and networks fail in runtime/internal/sim, not in the platform's code.
package planted

// Bug is one deliberate bug.
type Bug uint8

// The bugs, each where the code that it breaks says planted.Is.
const (
	None Bug = iota
	FenceOff
	AcknowledgeBeforeSync
	ManifestBeforeAllAcknowledgements
	MarkerOutsideTheTransaction
	MarkerReadBeforeFencing
	VanishedLaneForgotten
	EpochNumberReused
	BarrierBehindQueuedOutput
	ReplyBeforeCommit
	DeltaDroppedAfterFailedCheckpoint
	InFlightNotRecorded
	OlderOutboxSkipped
	IdempotencyOutsideTheEpoch
	OldFrameAccepted
	FoldRacesDelta
	PublishedBeforeCommit
	UnacknowledgedForgotten
	CancelAwaitsOneLane
	// Bugs that were there: seeds that found them are kept in runtime/internal/sim/testdata.
	SweptNumberTaken
	AnothersManifestTaken
	BarrierAheadOfItsTrigger
)

// Names says in words what each bug is, in the order of the constants.
var Names = []string{
	"none", "fence off", "acknowledge before sync", "manifest before all acknowledgements", "marker outside the transaction",
	"marker read before fencing", "outbox of a vanished lane forgotten", "epoch number reused after a restore",
	"barrier behind queued output", "reply before commit", "delta dropped after a failed checkpoint",
	"in-flight messages not recorded", "outbox of n skipped when n+1 exists", "idempotency record not in the epoch",
	"old attempt's frame accepted", "fold racing a delta", "outbox published before its epoch is committed",
	"at-least-once output not in the epoch", "a cancel waits for one lane only",
	"a number that was swept is taken again", "another's manifest is taken for one's own", "an epoch is written ahead of its trigger",
}

func (b Bug) String() string { return Names[b] }
