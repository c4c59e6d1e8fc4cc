package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/weir-run/weir/internal/planted"
)

// Log is a job's manifest log, as one coordinator uses it during its term: Latest, then Append and Sweep. Get, List and
// Verify serve any reader. It is safe from several goroutines.
//
// All files under the prefix are the log's: what no kept manifest names is deleted by Sweep in time.
type Log struct {
	storage Storage
	prefix  string // ends in '/'

	mu      sync.Mutex // guards what follows
	ended   error      // of the term: why nothing can be appended
	opened  bool       // Latest came through
	numbers []uint64   // of manifests that exist, ascending
	seal    []byte     // the last line of the latest of them
	files   map[uint64][]FileRef
	doomed  map[string]bool // files that are nobody's unless a kept manifest names them
}

// OpenLog makes a log of the manifests below a prefix such as "jobs/ab12". It reads nothing.
func OpenLog(storage Storage, prefix string) *Log {
	return &Log{storage: storage, prefix: strings.TrimSuffix(prefix, "/") + "/", files: map[uint64][]FileRef{}}
}

// Name is the name of a file of this log's job, for snapshots and bases: they belong below the prefix.
func (l *Log) Name(file string) string { return l.prefix + file }

// List returns the numbers of all manifests that count, ascending: ErrDamaged when one between them is missing.
func (l *Log) List(ctx context.Context) ([]uint64, error) {
	_, numbers, _, err := l.look(ctx, l.prefix+manifestPrefix)
	return numbers, err
}

// maxLooks bounds how often a listing with a gap is made again: each time but one, a sweep has to have gone on meanwhile.
const maxLooks = 64

// look lists the files with a prefix, and the numbers of the manifests among them. A listing is not made in one moment:
// beside the sweep of an earlier term it may hold a manifest and lack a later one, both deleted by its end. So a gap counts
// when two listings in a row have it: a sweep deletes the oldest first, and the second would lack what is below too.
func (l *Log) look(ctx context.Context, prefix string) (others []string, numbers []uint64, stale []string, err error) {
	var before []string
	for looks := 1; ; looks++ {
		names, err := l.storage.List(ctx, prefix)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("manifest log %s: %w", l.prefix, err)
		}
		others = others[:0]
		manifests := names[:0:0]
		for _, name := range names {
			if strings.HasPrefix(name, l.prefix+manifestPrefix) {
				manifests = append(manifests, name)
			} else {
				others = append(others, name)
			}
		}
		numbers, stale, err = l.numbersOf(ctx, manifests)
		gap := errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotExist) || len(stale) > 0
		if !gap || slices.Equal(manifests, before) || looks == maxLooks {
			return others, numbers, stale, err
		}
		before = manifests
	}
}

// numbersOf reads the numbers out of names. What lies below a gap is stale when its term is older than that above: a
// coordinator that was paused wrote it under a number that its successors had swept. Otherwise something is missing.
func (l *Log) numbersOf(ctx context.Context, names []string) (numbers []uint64, stale []string, err error) {
	for _, name := range names {
		number, ok := manifestNumber(l.prefix, name)
		if !ok || number == 0 {
			return nil, nil, fmt.Errorf("manifest log: %s: %w: not the name of a manifest", name, ErrDamaged)
		}
		if n := len(numbers); n > 0 && number != numbers[n-1]+1 {
			below, err := l.Get(ctx, numbers[n-1])
			if err != nil {
				return nil, nil, err
			}
			above, err := l.Get(ctx, number)
			if err != nil {
				return nil, nil, err
			}
			if below.Term >= above.Term {
				return nil, nil, fmt.Errorf("manifest log: %s: %w: it is missing, and %s is there", manifestName(l.prefix, numbers[n-1]+1),
					ErrDamaged, name)
			}
			for _, old := range numbers {
				stale = append(stale, manifestName(l.prefix, old))
			}
			numbers = numbers[:0]
		}
		numbers = append(numbers, number)
	}
	return numbers, stale, nil
}

// Latest reads the manifest with the highest number, nil when there is none. One that cannot be read is an error that
// names the file; no older one takes its place. It begins a term: what is under the prefix at this time and named by no
// kept manifest is left over from earlier terms.
func (l *Log) Latest(ctx context.Context) (*Manifest, error) {
	others, numbers, stale, err := l.look(ctx, l.prefix)
	if err != nil {
		return nil, err
	}
	doomed := map[string]bool{}
	for _, name := range append(others, stale...) {
		doomed[name] = true
	}
	if n := len(numbers); n > 1 && planted.Is(planted.EpochNumberReused) {
		if err := l.storage.Delete(ctx, manifestName(l.prefix, numbers[n-1])); err != nil {
			return nil, err
		}
		numbers = numbers[:n-1]
	}
	var latest *Manifest
	var seal []byte
	if n := len(numbers); n > 0 {
		if latest, seal, err = l.read(ctx, numbers[n-1]); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened, l.numbers, l.seal, l.doomed = true, numbers, seal, doomed
	if latest != nil {
		l.files[latest.Number] = latest.Files()
	}
	return latest, nil
}

// Get reads one manifest.
func (l *Log) Get(ctx context.Context, number uint64) (*Manifest, error) {
	m, _, err := l.read(ctx, number)
	return m, err
}

// read reads a manifest and its last line.
func (l *Log) read(ctx context.Context, number uint64) (m *Manifest, seal []byte, err error) {
	name := manifestName(l.prefix, number)
	b, err := readFile(ctx, l.storage, name, maxManifestBytes)
	if err == nil {
		m, err = DecodeManifest(b)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	if m.Number != number {
		return nil, nil, fmt.Errorf("manifest %s: %w: it is number %d", name, ErrDamaged, m.Number)
	}
	return m, lastLine(b), nil
}

// Append makes m durable under its number, which must follow the last one; it sets m.Format. ErrExists means that
// another coordinator has the number. Any other error leaves unclear whether m is committed. After either the term has
// ended, and every further Append fails.
func (l *Log) Append(ctx context.Context, m *Manifest) error {
	files := m.Files()
	l.mu.Lock()
	ended, opened, next, seal := l.ended, l.opened, uint64(1), l.seal
	if n := len(l.numbers); n > 0 {
		next = l.numbers[n-1] + 1
	}
	for _, ref := range files {
		delete(l.doomed, ref.Name)
	}
	l.mu.Unlock()
	if ended != nil {
		return fmt.Errorf("append manifest %d: the term has ended: %w", m.Number, ended)
	}
	// Without any manifest a log may begin above 1: a job made from a savepoint goes on above its numbers.
	if !opened || m.Number < next || next > 1 && m.Number != next {
		panic(fmt.Sprintf("checkpoint: append manifest %d, want %d after Latest (called: %v)", m.Number, next, opened))
	}
	m.Format = m.format()
	b, err := EncodeManifest(m)
	if err != nil {
		return err
	}
	name := manifestName(l.prefix, m.Number)
	err = l.storage.Create(ctx, name, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err == nil {
		err = l.follows(ctx, m.Number, seal)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.ended = err
		return fmt.Errorf("append manifest %d: %w", m.Number, err)
	}
	l.numbers, l.seal = append(l.numbers, m.Number), lastLine(b)
	l.files[m.Number] = files
	return nil
}

// follows says whether a manifest that was just written is the latest of its log. The number of a coordinator that was
// paused may be free although it was taken, when its successors have swept it. Sweeps delete the oldest first, and keep the
// newest: so what went before it is gone then, or is what another paused coordinator wrote in its place, or, when nothing went
// before, there are higher numbers. seal is the last line of what went before, which holds its checksum; nil: nothing did.
func (l *Log) follows(ctx context.Context, number uint64, seal []byte) error {
	if planted.Is(planted.SweptNumberTaken) {
		return nil
	}
	if seal != nil {
		before, err := l.storage.Open(ctx, manifestName(l.prefix, number-1))
		if errors.Is(err, ErrNotExist) {
			return fmt.Errorf("%w: it was swept since", ErrExists)
		}
		if err != nil {
			return err
		}
		last := make([]byte, len(seal))
		at := before.Size() - int64(len(seal))
		if at >= 0 {
			err = readAt(before, last, at)
		}
		if err = errors.Join(err, before.Close()); err == nil && !bytes.Equal(last, seal) && !planted.Is(planted.AnothersManifestTaken) {
			err = fmt.Errorf("%w: manifest %d was swept since, and written by another", ErrExists, number-1)
		}
		return err
	}
	names, err := l.storage.List(ctx, l.prefix+manifestPrefix)
	if err == nil && len(names) > 0 && names[len(names)-1] != manifestName(l.prefix, number) {
		err = fmt.Errorf("%w: it was swept since", ErrExists)
	}
	return err
}

// Verify checks every file that m names or holds, by length and footer; deep reads all their sections too.
func (l *Log) Verify(ctx context.Context, m *Manifest, deep bool) error {
	var errs []error
	files := m.Over(l.storage)
	for ref := range m.refs {
		s, err := OpenSnapshot(ctx, files, ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if deep {
			errs = append(errs, s.verify())
		}
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Reclaim gives the files below a directory of this log to the following sweeps, but for those that ours names: files of
// attempts that have ended, which no manifest may ever have named.
func (l *Log) Reclaim(ctx context.Context, directory string, ours func(name string) bool) error {
	names, err := l.storage.List(ctx, l.prefix+directory+"/")
	if err != nil {
		return fmt.Errorf("manifest log %s: %w", l.prefix, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		if !ours(name) {
			l.doomed[name] = true
		}
	}
	return nil
}

// Sweep deletes all but the newest keep manifests, then every file that only deleted manifests named, and what earlier
// terms left over. It never deletes what a kept manifest names, nor what inUse says is needed: files of the epoch in
// progress, of a fold that runs, of savepoints. When a kept manifest cannot be read nothing is deleted. One Sweep runs
// at a time; Append may run beside it.
func (l *Log) Sweep(ctx context.Context, keep int, inUse func(name string) bool) error {
	if keep < 1 {
		panic(fmt.Sprintf("checkpoint: sweep would keep %d manifests", keep))
	}
	l.mu.Lock()
	ended, cut := l.ended, max(0, len(l.numbers)-keep)
	if !l.opened {
		ended = errors.New("no term")
	}
	drop := append([]uint64(nil), l.numbers[:cut]...)
	kept := append([]uint64(nil), l.numbers[cut:]...)
	l.mu.Unlock()
	if ended != nil {
		return fmt.Errorf("sweep manifest log: the term has ended: %w", ended)
	}
	named, err := l.named(ctx, kept)
	if err != nil {
		return fmt.Errorf("sweep manifest log: %w", err)
	}
	for _, number := range drop { // the oldest first, so that an interruption leaves no gap
		if err := l.storage.Delete(ctx, manifestName(l.prefix, number)); err != nil {
			return fmt.Errorf("sweep manifest log: %w", err)
		}
		l.forget(number)
	}
	for _, name := range l.leftover() {
		if named[name] || inUse(name) || !l.isDoomed(name) {
			continue
		}
		if err := l.storage.Delete(ctx, name); err != nil {
			return fmt.Errorf("sweep manifest log: %w", err)
		}
		l.spare(name)
	}
	return nil
}

// named is every file that the kept manifests name; those of earlier terms are read once.
func (l *Log) named(ctx context.Context, kept []uint64) (map[string]bool, error) {
	named := map[string]bool{}
	for _, number := range kept {
		l.mu.Lock()
		files, known := l.files[number]
		l.mu.Unlock()
		if !known {
			m, err := l.Get(ctx, number)
			if err != nil {
				return nil, err
			}
			files = m.Files()
			l.mu.Lock()
			l.files[number] = files
			l.mu.Unlock()
		}
		for _, ref := range files {
			named[ref.Name] = true
		}
	}
	return named, nil
}

// forget removes a manifest that is deleted; its files wait to be deleted too.
func (l *Log) forget(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ref := range l.files[number] {
		if strings.HasPrefix(ref.Name, l.prefix) {
			l.doomed[ref.Name] = true
		}
	}
	delete(l.files, number)
	l.numbers = l.numbers[1:]
}

func (l *Log) leftover() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	names := make([]string, 0, len(l.doomed))
	for name := range l.doomed {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// isDoomed looks again, as a manifest may have been appended meanwhile.
func (l *Log) isDoomed(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.doomed[name]
}

func (l *Log) spare(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.doomed, name)
}
