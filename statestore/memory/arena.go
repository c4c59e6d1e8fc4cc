package memory

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"sort"
	"sync"
	"unsafe"

	"github.com/weir-run/weir/statestore"
)

const (
	// minBlockBytes is the smallest block of an arena: an idle job has up to three in each of its 128 key groups, and
	// that must stay below 100 KiB.
	minBlockBytes = 256
	// firstRegionBytes is what an arena maps first, for the same reason.
	firstRegionBytes = 64 << 10
	// maxRegionBytes bounds what is mapped ahead, and keeps mappings below Linux's default of 65 530 up to 256 GiB.
	maxRegionBytes = 4 << 20

	maxOrder = 14 // of a block in a region: minBlockBytes << maxOrder == maxRegionBytes
	blockTag = 0x80
	noBlock  = ^uint64(0)
)

// arena hands out blocks of memory outside the Go heap, in powers of two: a buddy allocator over mapped regions. Blocks
// above maxRegionBytes are regions of their own. It outlives the backend by its sealed deltas: whoever lets go last
// unmaps everything. The mutex guards all fields and is never held while something blocks.
type arena struct {
	mu       sync.Mutex
	limit    int64
	mapped   int64
	users    int // the backend, and every delta not released
	regions  []*region
	byAddr   []uint32             // indexes of regions, sorted by address
	spare    []uint32             // unused indexes of regions
	free     [maxOrder + 1]uint64 // first free block by order: region index << 32 | unit; noBlock is none
	nextSize int
	err      error // of giving memory back
}

// region is one mapping. Free blocks are linked through their own first 16 bytes.
type region struct {
	mem   []byte
	units []byte // by unit of minBlockBytes, at a block's first: blockTag | order when free, order + 1 when taken
}

func newArena(limit int64) *arena {
	a := &arena{limit: limit, users: 1, nextSize: firstRegionBytes}
	for i := range a.free {
		a.free[i] = noBlock
	}
	return a
}

// take returns a block of at least size bytes, a power of two long, with anything in it.
func (a *arena) take(size int) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if size > maxRegionBytes {
		size = 1 << bits.Len(uint(size-1))
		r, _, err := a.mapRegion(size, false)
		if err != nil {
			return nil, err
		}
		return r.mem, nil
	}
	order := orderOf(size)
	from := order
	for from <= maxOrder && a.free[from] == noBlock {
		from++
	}
	if from > maxOrder {
		if err := a.addRegion(order); err != nil {
			return nil, err
		}
		for from = order; a.free[from] == noBlock; {
			from++
		}
	}
	ref := a.free[from]
	a.unlink(ref, from)
	for ; from > order; from-- {
		a.link(ref+1<<(from-1), from-1)
	}
	r, unit := a.regions[ref>>32], int(uint32(ref))
	r.units[unit] = byte(order + 1)
	at, n := unit*minBlockBytes, minBlockBytes<<order
	return r.mem[at : at+n : at+n], nil
}

// put gives back a block as take returned it.
func (a *arena) put(block []byte) {
	if block == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id := a.find(block)
	r := a.regions[id]
	if r.units == nil {
		a.unmap(id)
		return
	}
	unit := int(uintptr(unsafe.Pointer(unsafe.SliceData(block)))-r.addr()) / minBlockBytes
	order := int(r.units[unit]) - 1
	if order < 0 || order > maxOrder || minBlockBytes<<order != cap(block) {
		panic(fmt.Sprintf("memory: block of %d bytes given back is not one taken: unit %d, order %d", cap(block), unit, order))
	}
	last := orderOf(len(r.mem))
	for order < last {
		buddy := unit ^ 1<<order
		if r.units[buddy] != blockTag|byte(order) {
			break
		}
		a.unlink(uint64(id)<<32|uint64(buddy), order)
		r.units[max(unit, buddy)] = 0
		unit = min(unit, buddy)
		order++
	}
	if order == last && a.free[last] != noBlock {
		a.unmap(id) // one whole free region is kept, so that a steady load maps nothing
		return
	}
	a.link(uint64(id)<<32|uint64(unit), order)
}

func orderOf(size int) int {
	if size <= minBlockBytes {
		return 0
	}
	return bits.Len(uint((size - 1) / minBlockBytes))
}

func (a *arena) link(ref uint64, order int) {
	r := a.regions[ref>>32]
	r.units[uint32(ref)] = blockTag | byte(order)
	links := r.links(ref)
	head := a.free[order]
	binary.LittleEndian.PutUint64(links, head)
	binary.LittleEndian.PutUint64(links[8:], noBlock)
	if head != noBlock {
		binary.LittleEndian.PutUint64(a.regions[head>>32].links(head)[8:], ref)
	}
	a.free[order] = ref
}

func (a *arena) unlink(ref uint64, order int) {
	links := a.regions[ref>>32].links(ref)
	next, last := binary.LittleEndian.Uint64(links), binary.LittleEndian.Uint64(links[8:])
	if next != noBlock {
		binary.LittleEndian.PutUint64(a.regions[next>>32].links(next)[8:], last)
	}
	if last != noBlock {
		binary.LittleEndian.PutUint64(a.regions[last>>32].links(last), next)
		return
	}
	a.free[order] = next
}

func (r *region) links(ref uint64) []byte { return r.mem[int(uint32(ref))*minBlockBytes:] }

func (r *region) addr() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(r.mem))) }

// addRegion maps a region with room for a block of this order; each is larger than the one before, up to maxRegionBytes.
func (a *arena) addRegion(order int) error {
	size := max(a.nextSize, minBlockBytes<<order)
	if a.mapped+int64(size) > a.limit {
		size = minBlockBytes << order
	}
	r, id, err := a.mapRegion(size, true)
	if err != nil {
		return err
	}
	a.nextSize = min(2*size, maxRegionBytes)
	a.link(uint64(id)<<32, orderOf(len(r.mem)))
	return nil
}

func (a *arena) mapRegion(size int, shared bool) (*region, uint32, error) {
	if a.mapped+int64(size) > a.limit {
		return nil, 0, fmt.Errorf("%w: %d bytes taken, limit %d", statestore.ErrFull, a.mapped, a.limit)
	}
	mem, err := pages(size)
	if err != nil {
		return nil, 0, err
	}
	a.mapped += int64(size)
	r := &region{mem: mem}
	if shared {
		r.units = make([]byte, size/minBlockBytes)
	}
	id := uint32(len(a.regions))
	if n := len(a.spare); n > 0 {
		id, a.spare = a.spare[n-1], a.spare[:n-1]
		a.regions[id] = r
	} else {
		a.regions = append(a.regions, r)
	}
	at := sort.Search(len(a.byAddr), func(i int) bool { return a.regions[a.byAddr[i]].addr() > r.addr() })
	a.byAddr = append(a.byAddr, 0)
	copy(a.byAddr[at+1:], a.byAddr[at:])
	a.byAddr[at] = id
	return r, id, nil
}

// find is the region that a block lies in.
func (a *arena) find(block []byte) uint32 {
	addr := uintptr(unsafe.Pointer(unsafe.SliceData(block)))
	return a.byAddr[sort.Search(len(a.byAddr), func(i int) bool { return a.regions[a.byAddr[i]].addr() > addr })-1]
}

func (a *arena) unmap(id uint32) {
	r := a.regions[id]
	at := sort.Search(len(a.byAddr), func(i int) bool { return a.regions[a.byAddr[i]].addr() >= r.addr() })
	a.byAddr = append(a.byAddr[:at], a.byAddr[at+1:]...)
	a.regions[id] = nil
	a.spare = append(a.spare, id)
	a.mapped -= int64(len(r.mem))
	if err := returnPages(r.mem); err != nil && a.err == nil {
		a.err = err
	}
}

// hold adds a user, and release ends one: the last unmaps everything.
func (a *arena) hold() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users++
}

func (a *arena) release() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users--
	if a.users == 0 {
		for id, r := range a.regions {
			if r != nil {
				a.unmap(uint32(id))
			}
		}
	}
	return a.err
}

func (a *arena) bytes() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mapped
}
