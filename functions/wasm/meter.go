package wasm

// How execution is charged.
//
// A function's instructions are cut into pieces. A piece is charged, whole and in advance, where it begins; what can be
// reached without passing that place begins a piece of its own. So the places are: the entry of a function, the header
// of every loop, the instruction after which a piece is full, and the end of every block that was opened before such a
// cut, because a branch may skip the cut. Small blocks without a cut cost nothing of their own.
//
// Without the cuts, a jump back in standard-Go code would be charged with the whole function: Go compiles a function
// with jumps to one loop around a br_table.
//
// Some places also check: below zero, the host is called. They are the entries of functions and the headers of loops, the
// exits of functions that call, and wherever a way through a function may have run checkCost since the last of them. Small
// leaves do not check: their callers count them in. So two checks are at most two checkCost apart on any way, also on the
// way back out of a deep recursion.

// Costs in units of fuel. An instruction costs 1; structure (block, loop, else, end, nop) costs nothing.
const (
	costCall = 4
	// costGrow covers the system call behind memory.grow; the limit of the memory bounds how many pages it touches.
	costGrow = 4096
	// bulkShift: bulk memory and table instructions cost one unit per 2^bulkShift bytes or elements.
	bulkShift = 2
	// pieceCost is where a piece is full: what a branch may be charged too much.
	pieceCost = 256
	// costRef covers that wazero asks the host for a reference to a function.
	costRef = 64
	// checkCost is how far a way through a function may run without a check: two of them and a small leaf are less than half
	// a slice.
	checkCost = 64 << 10
)

// What one frame takes of the call depth, so that the depth bounds the bytes of wazero's stack: a unit is a small
// frame, and functions with many locals or long bodies count more, because every value that is alive across a call has a
// place of its own in the frame, of which three instructions make one. Vectors take two places.
const (
	depthSlots        = 64
	depthInstructions = 768
)

type editKind uint8

const (
	editCharge editKind = iota // arg: piece
	editReturn                 // arg: how many blocks are open
	editCall                   // arg: function index
	editRef                    // arg: function index
	editBulk                   // the count on top of the stack is charged
)

// edit is one place where the rewriter departs from the code: drop bytes of it are replaced.
type edit struct {
	at   int32 // offset in the code
	drop int32
	arg  uint32
	kind editKind
}

type piece struct {
	cost    uint32
	checked bool
}

// plan is how one function is rewritten. edits are in order of their place; the entry's charge is not among them.
type plan struct {
	edits        []edit
	pieces       []piece
	instructions uint32
	nesting      int
	calls        bool // it calls: it takes part in recursion, so depth is counted and its entry checks
	loops        bool
	bulk         bool
	vectors      bool
}

// openBlock is one entry of the control stack.
type openBlock struct {
	op    byte
	piece int32  // the piece in which it was opened
	entry uint32 // far where it was opened
	exits uint32 // the most of far at the branches to its end
}

// planner walks the code of one function.
type planner struct {
	plan
	c      *cursor
	blocks []openBlock
	locals uint64 // of the function, its parameters included
	piece  int32  // current
	full   uint32
	far    uint32 // what may have run since the last check, on any way to this place
	linear bool   // nothing so far can have branched: the first loop is reached for sure
	dead   bool   // what follows is reached by a branch only
}

// planFunction walks one function's code. It checks nesting and which instructions are allowed, not types. Pieces are cut
// when they cost full: with 0, every instruction is charged by itself, which is what tests compare with.
func (m *module) planFunction(i int, full uint32) (plan, *Refusal) {
	b := &m.bodies[i]
	w := planner{c: &cursor{b: b.code, base: b.at}, full: full, linear: true}
	w.locals = b.localCount + uint64(len(m.types[m.funcs[i]].params))
	w.pieces = append(w.pieces, piece{checked: true})
	w.blocks = append(w.blocks, openBlock{op: opBlock})
	for !w.c.done() && len(w.blocks) > 0 {
		w.instruction(m)
	}
	if w.c.refusal == nil && (len(w.blocks) > 0 || !w.c.done()) {
		w.c.fail(Malformed, "a function's blocks do not end with its code")
	}
	if r := w.c.refusal; r != nil {
		r.Where = function(len(m.imports)+i) + ", " + r.Where
		return plan{}, r
	}
	if !w.calls && !w.loops && len(w.pieces) == 1 && w.pieces[0].cost <= pieceCost {
		w.pieces[0].checked = false // a small leaf: its callers check often enough
	}
	return w.plan, nil
}

func (w *planner) instruction(m *module) {
	at := w.c.at
	op := w.c.u8()
	misc := w.index(op, at, m)
	if op == opTableSet || op == opMisc && reshapes(misc) {
		m.reshapes = true
	}
	if r := w.c.refusal; r != nil {
		if r.Code == ForbiddenInstruction {
			r.Where = byteOffset(w.c.base + at)
		}
		return
	}
	w.instructions++
	switch op {
	case opIf:
		w.spend(1, at)
		w.linear = false
		w.open(op)
	case opBlock, opLoop:
		w.open(op)
	case opElse:
		w.elseArm()
		return
	case opEnd:
		w.end()
		return
	case opNop:
		return
	case opReturn:
		w.spend(1, at)
		w.edits = append(w.edits, edit{at: int32(at), drop: 1, kind: editReturn, arg: uint32(len(w.blocks) - 1)})
		w.linear = false
		w.dead = true
	case opMemoryGrow:
		w.spend(costGrow, at)
	case opMisc:
		w.spend(1, at)
		if bulk(misc) {
			w.bulk = true
			w.edits = append(w.edits, edit{at: int32(at), kind: editBulk})
		}
	case opBrIf, opBr, opBrTable: // paid where their labels were read
		w.linear = false
		w.dead = w.dead || op != opBrIf
	case opUnreachable:
		w.spend(1, at)
		w.linear = false
		w.dead = true
	case opSIMD:
		w.spend(1, at)
		w.vectors = true
	case opCall, opCallIndirect, opRefFunc: // paid where their index was read
	default:
		w.spend(1, at)
	}
}

// index skips the immediates of an instruction. Those that hold a function index become an edit, which a charge at the same
// place must precede: they are paid here.
func (w *planner) index(op byte, at int, m *module) (misc uint32) {
	switch op {
	case opCall, opRefFunc:
		f := w.c.u32()
		if int64(f) >= int64(len(m.imports)+len(m.funcs)) {
			w.c.fail(Malformed, "a function index is out of range")
			return 0
		}
		kind := editRef
		if op == opCall {
			kind = editCall
			w.call(at)
		} else {
			w.spend(costRef, at)
		}
		w.edits = append(w.edits, edit{at: int32(at), drop: int32(w.c.at - at), kind: kind, arg: f})
	case opCallIndirect:
		w.below(uint64(len(m.types)), "type")
		w.c.u32()
		w.call(at)
	case opLocalGet, opLocalSet, opLocalTee:
		w.below(w.locals, "local")
	case opGlobalGet, opGlobalSet:
		w.below(uint64(len(m.globals)), "global")
	case opBlock, opLoop, opIf:
		if t := w.c.blockType(); t >= int64(len(m.types)) {
			w.c.fail(Malformed, "a type index is out of range")
		}
	case opBr, opBrIf:
		w.spend(1, at)
		w.branch()
	case opBrTable:
		w.spend(1, at)
		for n := w.c.count("targets of a br_table", maxBodyBytes) + 1; n > 0 && w.c.refusal == nil; n-- {
			w.branch()
		}
	default:
		return w.c.immediates(op)
	}
	return 0
}

// below reads an index. The rewriter adds types, functions, globals and locals behind those of the module, so that wazero
// would not notice an index that reaches them.
func (w *planner) below(n uint64, what string) {
	if uint64(w.c.u32()) >= n {
		w.c.fail(Malformed, "a "+what+" index is out of range")
	}
}

// branch reads a label: what has run so far may have run at the end of its block. A loop checks where it begins.
func (w *planner) branch() {
	label := w.c.u32()
	if int64(label) >= int64(len(w.blocks)) {
		w.c.fail(Malformed, "a branch leads to no block")
		return
	}
	b := &w.blocks[len(w.blocks)-1-int(label)]
	b.exits = max(b.exits, w.far)
}

// call also counts what a small leaf may run; every other function checks.
func (w *planner) call(at int) {
	w.spend(costCall, at)
	w.far += pieceCost
	w.calls = true
	w.linear = false
}

// spend adds an instruction to the current piece, or begins a piece with it.
func (w *planner) spend(cost uint32, at int) {
	if check := w.far >= checkCost; check || w.pieces[w.piece].cost >= w.full {
		w.begin(at, check)
	}
	w.pieces[w.piece].cost += cost
	w.far += cost
}

func (w *planner) begin(at int, checked bool) {
	w.piece = int32(len(w.pieces))
	w.pieces = append(w.pieces, piece{checked: checked})
	w.edits = append(w.edits, edit{at: int32(at), kind: editCharge, arg: uint32(w.piece)})
	if checked {
		w.far = 0
	}
}

func (w *planner) open(op byte) {
	w.blocks = append(w.blocks, openBlock{op: op, piece: w.piece, entry: w.far})
	if len(w.blocks) > maxNesting {
		w.c.fail(Limit, "nesting: "+ofLimit(int64(len(w.blocks)), maxNesting))
		return
	}
	w.nesting = max(w.nesting, len(w.blocks))
	if op != opLoop {
		return
	}
	w.begin(w.c.at, true)
	w.loops = true
	if w.linear {
		w.pieces[0].checked = false
		w.linear = false
	}
}

func (w *planner) elseArm() {
	b := &w.blocks[len(w.blocks)-1]
	if b.op != opIf {
		w.c.fail(Malformed, "an else without an if")
		return
	}
	b.op = opElse
	if !w.dead {
		b.exits = max(b.exits, w.far)
	}
	w.dead = false
	w.far = b.entry
	if w.piece != b.piece {
		w.begin(w.c.at, false)
	}
}

func (w *planner) end() {
	b := w.blocks[len(w.blocks)-1]
	w.blocks = w.blocks[:len(w.blocks)-1]
	if b.op == opLoop {
		w.piece = b.piece
		return
	}
	if w.dead {
		w.far = 0
	}
	w.far = max(w.far, b.exits)
	if b.op == opIf { // without an else: its body may be passed by
		w.far = max(w.far, b.entry)
	}
	if (w.piece != b.piece || w.dead) && len(w.blocks) > 0 {
		w.begin(w.c.at, false)
	}
	w.dead = false
}

// plan walks every function. It comes before wazero's validation, which is itself slow on deep nesting.
func (m *module) plan(full uint32) ([]plan, *Refusal) {
	plans := make([]plan, len(m.bodies))
	squares := 0
	for i := range m.bodies {
		var r *Refusal
		if plans[i], r = m.planFunction(i, full); r != nil {
			return nil, r
		}
		if squares += plans[i].nesting * plans[i].nesting; squares > maxNestingSquares {
			return nil, &Refusal{Code: Limit, Where: function(len(m.imports) + i),
				Detail: "squares of the nesting of all functions: " + ofLimit(int64(squares), maxNestingSquares)}
		}
	}
	return plans, nil
}

// frame is what one activation of function i takes of the call depth.
func (m *module) frame(i int, p *plan) int64 {
	t := m.types[m.funcs[i]]
	slots := m.bodies[i].localCount + uint64(len(t.params)+len(t.results))
	units := 1 + int64(slots/depthSlots) + int64(p.instructions/depthInstructions)
	if p.vectors {
		units *= 2
	}
	return units
}
