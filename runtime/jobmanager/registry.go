package jobmanager

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/runtime/internal/wire"
	"github.com/weir-run/weir/statestore/checkpoint"
)

const (
	// registryPrefix holds the records of all jobs: registry/<job>/<sequence>.
	registryPrefix = "registry/"
	// keptVersions bounds a record: how far a rollback can go.
	keptVersions = 20
	// keptRecords of a job are left behind the newest, for who looks into a damaged directory.
	keptRecords = 2
	// maxRecordBytes bounds what is read back: keptVersions descriptions of large jobs.
	maxRecordBytes = 64 << 20
)

// desired is what the user wants of a job; it survives every crash.
type desired string

const (
	wantRunning   desired = "running"
	wantSuspended desired = "suspended"
	wantFinished  desired = "finished"
	wantCanceled  desired = "canceled"
)

// record is everything the JobManager remembers of a job but its manifests. Every change is a new file under the next
// sequence number, by create-if-absent, so that a crash leaves the old record or the new one.
type record struct {
	Format    int               `json:"format"`
	Sequence  uint64            `json:"sequence"`
	UID       string            `json:"uid"`
	Name      string            `json:"name"`
	Desired   desired           `json:"desired"`
	Current   int               `json:"current"` // version
	Versions  []deployedVersion `json:"versions"`
	CreatedAt time.Time         `json:"createdAt"`
	Deleted   bool              `json:"deleted,omitempty"`   // a tombstone: its files are being removed
	Refused   *wire.Refused     `json:"refused,omitempty"`   // the record that suspended the job
	Diverting []wire.Refused    `json:"diverting,omitempty"` // records that the next attempt sends to the dead-letter topic
	Discard   bool              `json:"discard,omitempty"`   // what the canceled job owes is dropped
	Discarded []Event           `json:"discarded,omitempty"` // what was dropped so far
}

type deployedVersion struct {
	wire.Version
	CreatedAt time.Time `json:"createdAt"`
}

const (
	recordFormat = 1
	recordWord   = "weir-job" // of checkpoint.SealText
)

// encode is the bytes of a record's file: JSON in one line, and one that says format, length and CRC32C.
func (r *record) encode() ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record of job %s: %w", r.Name, err)
	}
	return checkpoint.SealText(recordWord, recordFormat, append(text, '\n')), nil
}

// decodeRecord reads what encode writes: checkpoint.ErrDamaged for anything else, checkpoint.ErrNewer for a later format.
func decodeRecord(b []byte) (*record, error) {
	text, _, err := checkpoint.OpenText(recordWord, recordFormat, b)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%w: %w", checkpoint.ErrDamaged, err)
	}
	return r, nil
}

// version finds a version by number.
func (r *record) version(number int) *deployedVersion {
	for i := range r.Versions {
		if r.Versions[i].Number == number {
			return &r.Versions[i]
		}
	}
	return nil
}

// latest is the highest version number given out.
func (r *record) latest() int {
	number := 0
	for i := range r.Versions {
		number = max(number, r.Versions[i].Number)
	}
	return number
}

// registry keeps records in the checkpoint storage.
type registry struct {
	storage checkpoint.Storage

	mu      sync.Mutex                            // guards unclear; a leaf
	unclear map[string]map[[sha256.Size]byte]bool // what this process wrote in doubt, by file name
}

func recordName(job string, sequence uint64) string {
	return fmt.Sprintf("%s%s/%016d", registryPrefix, job, sequence)
}

// save writes r as the next record of its job, above records of this process that were written in doubt.
// checkpoint.ErrExists says that another JobManager was faster.
func (g *registry) save(ctx context.Context, r *record) error {
	next := *r
	next.Format = recordFormat
	if len(next.Versions) > keptVersions {
		next.Versions = next.Versions[len(next.Versions)-keptVersions:]
	}
	err := error(checkpoint.ErrExists)
	for errors.Is(err, checkpoint.ErrExists) {
		next.Sequence++
		var body []byte
		if body, err = next.encode(); err != nil {
			return err
		}
		err = g.write(ctx, recordName(r.Name, next.Sequence), body)
		if !errors.Is(err, checkpoint.ErrExists) {
			break
		}
		mine := g.own(ctx, recordName(r.Name, next.Sequence))
		if mine == nil {
			break
		}
		// Whoever has read the unclear record runs its job. This one has to be the same, or it would take its state away.
		if r.Sequence == 0 && !mine.Deleted {
			next.UID = mine.UID
		}
	}
	if err != nil {
		return fmt.Errorf("save record %d of job %s: %w", next.Sequence, r.Name, err)
	}
	*r = next
	if next.Sequence > keptRecords {
		// A record that stays is only ever skipped over.
		_ = g.storage.Delete(ctx, recordName(r.Name, next.Sequence-keptRecords))
	}
	return nil
}

// write creates a record's file, and remembers it when it is unclear whether it is there.
func (g *registry) write(ctx context.Context, name string, body []byte) error {
	err := g.storage.Create(ctx, name, func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
	if err != nil && !errors.Is(err, checkpoint.ErrExists) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.unclear == nil {
			g.unclear = map[string]map[[sha256.Size]byte]bool{}
		}
		if g.unclear[name] == nil {
			g.unclear[name] = map[[sha256.Size]byte]bool{}
		}
		g.unclear[name][sha256.Sum256(body)] = true
	}
	return err
}

// own is the record in a file that this process wrote in doubt, nil in any other.
func (g *registry) own(ctx context.Context, name string) *record {
	g.mu.Lock()
	written := len(g.unclear[name])
	g.mu.Unlock()
	if written == 0 {
		return nil
	}
	body, err := g.bytes(ctx, name)
	g.mu.Lock()
	mine := err == nil && g.unclear[name][sha256.Sum256(body)]
	g.mu.Unlock()
	if !mine {
		return nil
	}
	r, _ := decodeRecord(body) // nil, if it could not be read after all
	return r
}

// vacate makes way for a job of a name that this JobManager has none of: it ends the removal of one that was deleted, or its
// tombstone would take the new one with it at the next start. checkpoint.ErrExists says that somebody else has made one.
func (g *registry) vacate(ctx context.Context, job string) error {
	names, err := g.storage.List(ctx, registryPrefix+job+"/")
	if err != nil {
		return fmt.Errorf("list records of job %s: %w", job, err)
	}
	if len(names) == 0 {
		return nil
	}
	newest := names[len(names)-1]
	r, err := g.read(ctx, newest)
	switch {
	case err != nil:
		return err
	case r.Deleted:
		return g.remove(ctx, r)
	case g.own(ctx, newest) == nil:
		return fmt.Errorf("record %s of job %s: %w", newest, job, checkpoint.ErrExists)
	}
	return nil
}

// load returns the newest record of every job.
func (g *registry) load(ctx context.Context) ([]*record, error) {
	names, err := g.storage.List(ctx, registryPrefix)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	newest := map[string]uint64{}
	for _, name := range names {
		job, sequence, ok := strings.Cut(strings.TrimPrefix(name, registryPrefix), "/")
		n, err := strconv.ParseUint(sequence, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("file %s is not a job record: %w", name, checkpoint.ErrDamaged)
		}
		newest[job] = max(newest[job], n)
	}
	var records []*record
	for job, sequence := range newest {
		r, err := g.read(ctx, recordName(job, sequence))
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// bytes reads a record's file.
func (g *registry) bytes(ctx context.Context, name string) ([]byte, error) {
	file, err := g.storage.Open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer file.Close()
	body := make([]byte, min(file.Size(), maxRecordBytes))
	if _, err := file.ReadAt(body, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return body, nil
}

func (g *registry) read(ctx context.Context, name string) (*record, error) {
	body, err := g.bytes(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := decodeRecord(body)
	if err != nil {
		return nil, fmt.Errorf("job record %s: %w: restore it, or move it away to go on with the one before it (docs/operations.md#a-damaged-checkpoint)", name, err)
	}
	return r, nil
}

// remove deletes everything of a job behind its tombstone; the tombstone goes last.
func (g *registry) remove(ctx context.Context, r *record) error {
	for _, prefix := range []string{filesPrefix(r.UID), registryPrefix + r.Name + "/"} {
		names, err := g.storage.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("list files of job %s: %w", r.Name, err)
		}
		for _, name := range names {
			if err := g.storage.Delete(ctx, name); err != nil {
				return fmt.Errorf("delete %s: %w", name, err)
			}
		}
	}
	return nil
}

// filesPrefix is where a job's manifests and snapshot files are.
func filesPrefix(uid string) string { return "jobs/" + uid + "/" }

// sameButModules says whether a running attempt can switch from one version to the other at a barrier. It has opened the
// dead-letter topics of its own version only.
func sameButModules(a, b *functions.Job) bool {
	strip := func(j functions.Job) string {
		letters := map[string]bool{}
		for i := range j.Modules {
			letters[j.Modules[i].DeadLetter] = true
		}
		j.Modules = nil
		body, err := json.Marshal(struct {
			Job     functions.Job
			Letters map[string]bool
		}{j, letters})
		if err != nil {
			panic(fmt.Sprintf("jobmanager: encode job: %v", err))
		}
		return string(body)
	}
	return strip(*a) == strip(*b)
}
