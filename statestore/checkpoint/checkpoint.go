// Package checkpoint keeps what a job needs to go on after a crash: snapshot files, and the manifest log that says which
// of them count.
//
// It hides formats, checksums, storage and retention. Its invariant: a manifest that can be read is complete, every file
// it names exists with that length and checksum, and numbers are dense and never reused. The write of a manifest, by
// create-if-absent, is the commit point of an epoch. It decides nothing: the coordinator (runtime/jobmanager) does.
package checkpoint

import (
	"context"
	"errors"
	"io"
	"time"
)

// Storage is where files live. Names are flat or use '/', as in "jobs/ab12/manifest-0000000000000007". Calls are safe from several
// goroutines. An extension point: storages are in this package (directory, memory); checkpointtest is their suite.
type Storage interface {
	// Create makes name durable with what write writes, or does nothing: after a nil return the file survives a power
	// loss, and it is never seen half written. ErrExists when the name is taken. Any other error leaves unclear
	// whether the file exists.
	Create(ctx context.Context, name string, write func(io.Writer) error) error
	// Open reads; ErrNotExist when there is no such file.
	Open(ctx context.Context, name string) (File, error)
	// List returns all names with the prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)
	// Delete removes a file; a missing one is no error.
	Delete(ctx context.Context, name string) error
}

// File is an open file of a Storage.
type File interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

var (
	ErrExists   = errors.New("file exists already")
	ErrNotExist = errors.New("file does not exist")
	// ErrDamaged comes wrapped with the file's name and what is wrong with it. Nothing is guessed.
	ErrDamaged = errors.New("damaged")
	// ErrNewer reports a format written by a later version of Weir.
	ErrNewer = errors.New("written by a newer version of weir")
)

// Manifest is one entry of a job's manifest log. JSON and a checksum line, with small files between them; version in Format.
type Manifest struct {
	Format      int       `json:"format"`
	Number      uint64    `json:"number"`  // dense, from 1; never reused. Also the number of the epoch it commits
	Term        uint64    `json:"term"`    // the coordinator's reign
	Attempt     uint64    `json:"attempt"` // of the tasks whose snapshot this is, or that start from it
	UID         string    `json:"uid"`     // the job's
	Job         string    `json:"job"`
	Version     int       `json:"version"` // of the job, as deployed
	KeyGroups   int       `json:"keyGroups"`
	Parallelism int       `json:"parallelism"`
	Time        time.Time `json:"time"`
	Epoch       bool      `json:"epoch"`              // false: a term or attempt entry that repeats its predecessor
	Final       bool      `json:"final,omitempty"`    // of a job that stopped: nothing runs after it
	Bases       []FileRef `json:"bases"`              // folded state
	Deltas      []FileRef `json:"deltas"`             // in the order to be applied, after the bases
	Snapshots   []FileRef `json:"snapshots"`          // of this epoch: positions, mailboxes, in-flight messages
	Segments    []FileRef `json:"segments,omitempty"` // that the snapshots refer to: messages out of memory
	Lanes       []Lane    `json:"lanes"`
	// Inline holds snapshot files that are small, by the name by which the others refer to them; see InlineBytes. They follow
	// the JSON as they are.
	Inline map[string][]byte `json:"-"`
}

// Lane is one ordered publisher of exactly-once output.
type Lane struct {
	ID        string   `json:"id"`      // transactional id and marker key; holds the job's uid
	Cluster   string   `json:"cluster"` // key of the egress cluster in the job's version (functions.Cluster, hashed)
	Task      int      `json:"task"`
	Published uint64   `json:"published"`        // the last epoch known to be out
	Cookie    []byte   `json:"cookie,omitempty"` // the egress's own, as of the seal of the last outbox
	Outboxes  []Outbox `json:"outboxes,omitempty"`
}

// Outbox is the output of one epoch in one lane, committed but not yet known to be published.
type Outbox struct {
	Number uint64  `json:"number"`
	File   FileRef `json:"file"` // sections KindOutbox with this lane's id, in order
}

// FileRef names a snapshot file, what it must be, and the epoch that wrote it.
type FileRef struct {
	Name   string `json:"name"`
	Length int64  `json:"length"`
	CRC    uint32 `json:"crc"`            // CRC32C of the footer, which holds the CRC32C of every section
	Rest   int64  `json:"rest,omitempty"` // bytes of sections that are no blocks of state: output, positions, messages
	Number uint64 `json:"number,omitempty"`
}
