package abi

// Pass is a batch on its way through a module: a Cursor over it, a Writer of its result, and the states of the group at hand.
// It is for modules what Reader and Writer are elsewhere, in fewer and larger steps, because there a call costs more than the
// work in most of their methods. After Open the order of calls is Group; NextState once for each state that Group left, Use
// first when Group asks for it; Message, and after each true one the ops of that message, until it is false; and then,
// unless the group is Settled, what Settled says.
type Pass struct {
	Writer
	Cursor
	cells    []*Cell // of the states of function
	function int
	first    uint64 // turn of the group
	stored   int    // states that were written when the group ended, -1 before
}

// Cell is a state in the hands of a guest.
type Cell struct {
	N       int64  // of a Number: its value, 0 when absent
	Turn    uint64 // in which it was last written, by the guest
	Number  bool   // it is 8 bytes; what else a state can be is the guest's business
	Present bool
}

// What Group returns instead of a number of states.
const (
	GroupEnd   = -1 // there is no further group
	GroupOther = -2 // the group is of another function than the cells in Use, or has another number of states
)

// Open starts on a batch, with a result in out. The error is an *Error, as that of Cursor.Open. No function is in use.
func (p *Pass) Open(in, out []byte) error {
	p.function, p.cells = GroupEnd, nil
	p.Reset(out)
	return p.Cursor.Open(in)
}

// Turn is that of the message at hand: turns rise from message to message and from batch to batch.
func (p *Pass) Turn() uint64 { return p.epoch + uint64(p.body) }

// First is what turns of the group are not below.
func (p *Pass) First() uint64 { return p.first }

// Group goes to the next group and opens its result. It reads states into their cells up to the first that is no Number or
// has not 8 bytes, and returns how many it read: the caller takes the rest with NextState. Or it returns GroupEnd or
// GroupOther.
func (p *Pass) Group() int { return group(p) }

func groupInGo(p *Pass) int {
	if !p.Cursor.Next() {
		return GroupEnd
	}
	if p.Cursor.function != p.function || p.states != len(p.cells) {
		return GroupOther
	}
	return p.begin()
}

// Use says which cells the function of the group at hand has, after GroupOther, and goes on as Group does. ok is false when
// the group has another number of states. The cells stay in use for the groups that follow.
func (p *Pass) Use(cells []*Cell) (n int, ok bool) {
	if len(cells) != p.states {
		return 0, false
	}
	p.cells, p.function = cells, p.Cursor.function
	return p.begin(), true
}

// Unuse makes the next Group return GroupOther.
func (p *Pass) Unuse() { p.function = GroupEnd }

func (p *Pass) begin() int {
	p.Writer.Group()
	p.done, p.first, p.stored = -1, p.epoch+uint64(p.Cursor.at), -1
	for i, c := range p.cells {
		if !c.Number || p.next-p.Cursor.at < stateHeader+8 || load64(p.Cursor.base, p.Cursor.at) != 1<<32|8 {
			return i
		}
		c.N, c.Present = p.Word(p.Cursor.at+stateHeader), true
		p.Cursor.at += stateHeader + 8
	}
	return len(p.cells)
}

// Message commits the message at hand, if there is one, and goes to the group's next. It is false when the message at hand is
// odd, which is then not committed, when the next one is damaged, and after the last message, when it writes the states that
// are Numbers.
func (p *Pass) Message() bool { return message(p) }

func messageInGo(p *Pass) bool {
	if p.odd != 0 {
		return false
	}
	p.done++
	p.mark = p.Writer.at
	if messages := p.messages; p.done < messages {
		ok := p.NextMessage()
		if ok {
			p.messages = messages // group left it so, and message does
		}
		return ok
	}
	if p.Cursor.at != p.next {
		return p.fail(faultLength, p.Cursor.at)
	}
	p.store()
	return false
}

// store writes the cells of the group's turns, up to the first of them that is no Number, is absent, or does not fit.
func (p *Pass) store() {
	for i, c := range p.cells {
		if c.Turn >= p.first {
			if p.stored = i; !c.Number || !c.Present || writeHeader+8 > p.Writer.size-p.Writer.at {
				return
			}
			p.StateInt(i, c.N)
		}
	}
	p.stored = len(p.cells)
}

// Settled says that the group is done with: its messages are committed and its states written. Otherwise the message at hand
// failed or is odd, or the batch is damaged, or states from Stored on are left to be written by the caller.
func (p *Pass) Settled() bool { return p.stored == len(p.cells) }

// Stored is how many states Message has dealt with.
func (p *Pass) Stored() int { return max(p.stored, 0) }
