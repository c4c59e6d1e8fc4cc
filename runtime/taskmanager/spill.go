package taskmanager

import (
	"fmt"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/planted"
	"github.com/weir-run/weir/runtime/internal/wire"
)

const (
	// defaultSpillMemory is what a task's mailbox, and its output for other tasks, may each hold in memory: enough that only
	// a burst gets there, since ingresses and calls are held back far below, and a fraction of a second to write in a
	// snapshot.
	defaultSpillMemory = 32 << 20
	// defaultSpillDisk is what a task may have moved out of memory: hours of work for one task, which only a cycle that
	// makes more messages than it consumes gets to.
	defaultSpillDisk = 16 << 30
	// segmentBytes is the size of a segment: its two syncs cost little per byte, and few are in memory at a time.
	segmentBytes = 4 << 20
	// spillShare is the part of what may be in memory that stays when a queue is moved out, and that a segment takes at
	// most: so the oldest messages are at hand while the next segments are read.
	spillShare = 4
	// writingFactor is how many times what may be in memory may be on its way to disk: then the task runs no message until
	// some of it is there, so that a disk that is slower than the functions fills no memory.
	writingFactor = 2
)

// SpillConfig says when messages that wait leave memory for files of the checkpoint storage, and how many may.
type SpillConfig struct {
	Memory int   // bytes that a task's mailbox, and its output for other tasks, may each hold; 0 is 32 MiB
	Disk   int64 // bytes of a task in files before its job fails; 0 is 16 GiB
}

// spillLimits are the limits of a worker's tasks, from its Config.
type spillLimits struct {
	memory, keep, segment, writing int
	away                           int64
}

func newSpillLimits(c SpillConfig) spillLimits {
	memory, away := c.Memory, c.Disk
	if memory == 0 {
		memory = planted.Limit(defaultSpillMemory, 100)
	}
	if away == 0 {
		away = defaultSpillDisk
	}
	return spillLimits{
		memory: memory, keep: memory / spillShare, segment: min(segmentBytes, memory/spillShare), writing: writingFactor * memory, away: away,
	}
}

// spill moves what does not fit into memory out of it, and brings back what is next. Called once per turn.
func (t *task) spill() {
	m, limits := &t.mailbox, &t.worker.limits
	if m.over == nil && m.bytes > limits.memory || m.over != nil && m.over.behind.bytes >= limits.segment {
		if runs := m.shed(limits.keep); len(runs) > 0 {
			t.store(m.over, runs, false, t.id)
		}
	}
	if m.over != nil || len(m.loaded) > 0 {
		t.refill()
	}
	over := t.queuedBytes-t.queuedAway > limits.memory
	for i := range t.out {
		if over || t.out[i].over != nil {
			t.spillOut(i)
		}
	}
}

// store hands runs to the spiller in segments of the usual size, and what is left in a smaller one (all), or leaves that
// behind them. to is the task whose messages they are.
func (t *task) store(o *overflow, runs [][]byte, all bool, to int) {
	from, until := functions.Range(to, t.groups, t.tasks)
	start, size := 0, 0
	for i, run := range runs {
		if size += len(run); size < t.worker.limits.segment && !(all && i == len(runs)-1) {
			continue
		}
		s := &segment{task: t, length: size, runs: runs[start : i+1 : i+1]}
		s.place.From, s.place.To = functions.KeyGroup(from), functions.KeyGroup(until)
		var message functions.Message
		if _, err := functions.ParseMessage(run, &message); err == nil {
			s.target = message.Target
		}
		o.segments = append(o.segments, s)
		t.writing += size
		t.worker.spiller.write.Put(s)
		start, size = i+1, 0
	}
	for _, run := range runs[start:] {
		o.away -= len(run)
		o.behind.add(run)
	}
}

// refill brings the mailbox's oldest segments back. While messages of failed addresses fill their share of memory nothing
// is added to them: what is in memory runs, and the rest waits for their turn.
func (t *task) refill() {
	m, limits := &t.mailbox, &t.worker.limits
	t.forgetLoaded()
	for m.over != nil && m.head() < limits.segment && t.retries.bytes < parkedLimit {
		if len(m.over.segments) == 0 {
			m.join()
			return
		}
		runs, s, back := m.over.take(t.worker.spiller)
		if !back {
			return
		}
		t.worked = true
		m.bytes -= s.length
		for _, run := range runs {
			m.bytes += len(run)
		}
		if s.exact && len(s.data) > 0 {
			m.loaded = append(m.loaded, loadedSegment{segment: s, whole: s.data})
		}
		m.chunks = append(m.chunks, runs...)
	}
}

// forgetLoaded drops the segments whose messages have been taken. The file of one that no snapshot has named is nobody's.
func (t *task) forgetLoaded() {
	m := &t.mailbox
	kept := m.loaded[:0]
	for _, l := range m.loaded {
		alive := false
		for _, c := range m.chunks {
			alive = alive || len(c) > 0 && &c[len(c)-1] == &l.whole[len(l.whole)-1]
		}
		if alive {
			kept = append(kept, l)
		} else {
			t.discardFile(l.segment)
		}
	}
	clear(m.loaded[len(kept):])
	m.loaded = kept
}

// discardFile has the file of a segment deleted that no manifest can name.
func (t *task) discardFile(s *segment) {
	if !s.named {
		t.worker.spiller.write.Put(s)
	}
}

// released lets go of the runs of a segment that the spiller has done with.
func (t *task) released(s *segment) {
	for _, run := range s.runs {
		t.writing -= len(run)
	}
	s.runs = nil
	if s.unwanted.Load() && s.durable.Load() {
		t.discardFile(s) // it was taken back while it was written
	}
}

// spillOut does for the output of one channel what spill does for the mailbox.
func (t *task) spillOut(to int) {
	out, limits := &t.out[to], &t.worker.limits
	over := t.queuedBytes-t.queuedAway > limits.memory // of all channels together
	switch {
	case out.over != nil && (out.over.behind.bytes >= limits.segment || over && out.over.behind.bytes > 0):
		t.spillBehind(out, to)
	case out.over == nil && over:
		t.shedQueue(out, to)
	}
	for out.over != nil && queueBytes(out.queue) < min(windowBytes, limits.keep) {
		if len(out.over.segments) == 0 {
			behind := out.over.behind.chunks
			out.over = nil
			t.requeue(out, to, behind)
			break
		}
		runs, s, back := out.over.take(t.worker.spiller)
		if !back {
			break
		}
		t.worked = true
		t.queuedBytes -= s.length
		t.queuedAway -= s.length
		if s.arrived {
			t.discardFile(s)
		}
		for _, run := range runs {
			t.queuedBytes += len(run)
		}
		t.requeue(out, to, runs)
	}
}

func queueBytes(queue [][]byte) (sum int) {
	for _, frame := range queue {
		sum += len(frame)
	}
	return sum
}

// spillBehind moves what has gathered behind a channel's segments out of memory.
func (t *task) spillBehind(out *outbound, to int) {
	before := out.over.away
	t.store(out.over, out.over.shed(), true, to)
	t.queuedAway += out.over.away - before
}

// shedQueue moves the younger frames of a channel out of memory, without their headers.
func (t *task) shedQueue(out *outbound, to int) {
	at, kept := 0, 0
	for at < len(out.queue) && kept < min(windowBytes, t.worker.limits.keep) {
		kept += len(out.queue[at])
		at++
	}
	if at == len(out.queue) {
		return
	}
	runs := make([][]byte, 0, len(out.queue)-at)
	for _, frame := range out.queue[at:] {
		runs = append(runs, frame[wire.FrameHeader:])
		t.queuedBytes -= wire.FrameHeader
	}
	clear(out.queue[at:])
	out.queue = out.queue[:at]
	out.over = &overflow{}
	t.store(out.over, out.over.count(runs), true, to)
	t.queuedAway += out.over.away
}

// requeue makes frames of runs that were out of memory, and puts them behind the queue.
func (t *task) requeue(out *outbound, to int, runs [][]byte) {
	var m functions.Message
	for _, run := range runs {
		t.queuedBytes -= len(run)
		for len(run) > 0 {
			end := 0
			for end < len(run) && end < frameBytes {
				n, err := functions.ParseMessage(run[end:], &m)
				if err != nil {
					panic(fmt.Sprintf("taskmanager: queued output of %d bytes: %v", len(run), err)) // written here, and its checksum is right
				}
				end += n
			}
			frame := wire.AppendFrame(make([]byte, 0, wire.FrameHeader+end), wire.FrameData, uint16(t.id), uint16(to), t.attempt)
			out.queue = append(out.queue, append(frame, run[:end]...))
			t.queuedBytes += wire.FrameHeader + end
			run = run[end:]
		}
	}
	t.drain(out)
}

// overrun fails the job when messages fill what they may of the disk.
func (t *task) overrun() error {
	away, limits := t.queuedAway, &t.worker.limits
	if t.mailbox.over != nil {
		away += t.mailbox.over.away
	}
	if int64(away) <= limits.away {
		return nil
	}
	return fatal(fmt.Errorf("task %d holds more than %d bytes of messages that do not fit into memory: a cycle between functions makes more than it consumes (last for %s)",
		t.id, limits.away, t.newestTarget()))
}

// stalled says that so much is on its way to disk that no message is to be run before some of it is there.
func (t *task) stalled() bool { return t.writing > t.worker.limits.writing }

// newestTarget names a function that the youngest messages are for.
func (t *task) newestTarget() string {
	overs := []*overflow{t.mailbox.over}
	for i := range t.out {
		overs = append(overs, t.out[i].over)
	}
	for _, o := range overs {
		if o == nil || len(o.segments) == 0 {
			continue
		}
		if target := int(o.segments[len(o.segments)-1].target); target < len(t.program.functions) {
			return t.program.functions[target].name.String()
		}
	}
	return "an unknown function"
}
