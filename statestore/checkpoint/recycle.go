package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	// sparePrefix begins the name of a deleted file that waits to be written over.
	sparePrefix = tempPrefix + "spare-"
	// maxSpareBytes is up to what length a file is recycled: of a larger one the data costs more than the inode, and it is rare.
	maxSpareBytes = 1 << 20
	// maxSpares is how many wait: a sweep deletes 64 manifests and as many snapshots at once, of a few jobs.
	maxSpares = 256
	// maxSparesBytes is what they hold of the disk together: as much as 256 snapshots of small epochs take.
	maxSparesBytes = 32 << 20
	// spareStale is after how many takings by others a spare gives way: nobody writes to its directory any more.
	spareStale = 4 * maxSpares
)

// spares are deleted files that wait to be written over. Making an inode and freeing it is a third of the processor time that
// a small file costs, its syncs included: BenchmarkDirectoryRecycle pays for this. A spare stays in the directory where it was deleted: the sync of that directory, which every
// Create makes, is then also what makes the deletion durable, and a rename within a directory excludes no other.
//
// Two things must hold before a spare is written to. Nobody reads it: files that are open are counted by path, before they
// are opened, and a file that is open after its name is gone is removed. And its deletion is durable: else it might be back
// after a power loss, under its name, with another's content. So a spare is ripe after a sync of its directory that began
// after the deletion.
type spares struct {
	mu      sync.Mutex // guards what follows; never held over a system call
	on      bool
	open    map[string]int // readers by path
	waiting []spare        // the oldest first
	bytes   int64          // of all that wait
	named   uint64         // names given
	added   uint64         // spares added
	taken   uint64         // calls of take
}

type spare struct {
	dir   string
	path  string
	size  int64
	order uint64 // among those added
	since uint64 // taken when it was added
	ripe  bool
}

// Recycle makes Delete keep small files, and Create write over them. It comes before every other call, and says that until
// Close no one else, in this process or another, uses the directory: what others read might change, and they would take the
// same spares. No lock in here would prove that, as it would have to be asked of readers too; cmd/weir holds the lock of the
// whole data directory. So what earlier processes left is removed, however young. Without effect where a file cannot be
// renamed to a free name only: RENAME_NOREPLACE, Linux.
func (d *DirectoryStorage) Recycle() error {
	if err := d.sweepTemps(time.Now().Add(tempAge)); err != nil {
		return fmt.Errorf("recycle in checkpoint directory: %w", err)
	}
	on, err := canRecycle(d.root)
	if err != nil {
		return fmt.Errorf("recycle in checkpoint directory: %w", err)
	}
	d.spares.mu.Lock()
	defer d.spares.mu.Unlock()
	d.spares.on = on
	return nil
}

// Close ends recycling and removes the spares. Nothing else need be closed.
func (d *DirectoryStorage) Close() error {
	d.spares.end()
	return d.discard()
}

// discard gives the room of all spares back.
func (d *DirectoryStorage) discard() error {
	var errs []error
	for _, s := range d.spares.empty() {
		errs = append(errs, ignoreMissing(os.Remove(s.path)))
	}
	return errors.Join(errs...)
}

// recycle deletes a file by making it a spare; false when it is to be removed instead.
func (d *DirectoryStorage) recycle(path string) (done bool, err error) {
	if !d.spares.wants(path, 0) {
		return false, nil
	}
	stat, err := os.Lstat(path)
	if err != nil || !stat.Mode().IsRegular() || !d.spares.wants(path, stat.Size()) {
		return false, nil // the removal says what is wrong
	}
	s := spare{dir: filepath.Dir(path), size: stat.Size()}
	s.path = filepath.Join(s.dir, d.spares.name())
	if err := os.Rename(path, s.path); err != nil {
		return false, nil
	}
	return true, d.keep(path, s)
}

// keep lets a spare wait that was the file at path, or removes it, or the stale one whose place it takes.
func (d *DirectoryStorage) keep(path string, s spare) error {
	surplus, ok := d.spares.add(path, s)
	if !ok {
		surplus = s.path
	}
	if surplus == "" {
		return nil
	}
	return ignoreMissing(os.Remove(surplus))
}

// opening counts a reader; it comes before the file is opened, so that a deletion which does not see it has come first.
func (s *spares) opening(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]int{}
	}
	s.open[path]++
}

func (s *spares) closed(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[path]--; s.open[path] == 0 {
		delete(s.open, path)
	}
}

// name makes a name that no other spare has.
func (s *spares) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named++
	return sparePrefix + strconv.FormatUint(s.named, 10)
}

// wants says whether a file may become a spare.
func (s *spares) wants(path string, size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fits(path, size)
}

func (s *spares) fits(path string, size int64) bool {
	if !s.on || s.open[path] > 0 || size > maxSpareBytes {
		return false
	}
	count, bytes := len(s.waiting), s.bytes+size
	if s.stale() {
		count, bytes = count-1, bytes-s.waiting[0].size
	}
	return count < maxSpares && bytes <= maxSparesBytes
}

// stale says that the oldest spare is.
func (s *spares) stale() bool { return len(s.waiting) > 0 && s.taken-s.waiting[0].since > spareStale }

// add takes in what was the file at path; false when it has been opened meanwhile, or there is no room. A stale spare that
// gives way for it is to be removed.
func (s *spares) add(path string, fresh spare) (stale string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fits(path, fresh.size) {
		return "", false
	}
	if s.stale() {
		stale = s.waiting[0].path
		s.drop(0)
	}
	s.added++
	fresh.order, fresh.since = s.added, s.taken
	s.waiting = append(s.waiting, fresh)
	s.bytes += fresh.size
	return stale, true
}

// take gives a ripe spare of a directory away, or "".
func (s *spares) take(dir string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken++
	i := slices.IndexFunc(s.waiting, func(w spare) bool { return w.ripe && w.dir == dir })
	if i < 0 {
		return ""
	}
	path := s.waiting[i].path
	s.drop(i)
	return path
}

func (s *spares) drop(i int) {
	s.bytes -= s.waiting[i].size
	s.waiting = slices.Delete(s.waiting, i, i+1)
}

// last is the order of the latest spare: those up to it are ripe after a sync of their directory that begins now.
func (s *spares) last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.added
}

func (s *spares) ripen(dir string, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waiting {
		if w := &s.waiting[i]; !w.ripe && w.order <= last && w.dir == dir {
			w.ripe = true
		}
	}
}

func (s *spares) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = false
}

func (s *spares) empty() []spare {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.waiting
	s.waiting, s.bytes = nil, 0
	return waiting
}
