package abi

import "strconv"

// Version is the layout that this package speaks, and what weir_abi returns.
const Version = 1

// Results of weir_batch that are no length.
const (
	GuestFull     = -1 // the output buffer is too small
	GuestVersion  = -2 // the batch has another version
	GuestBatch    = -3 // the batch is damaged
	GuestFunction = -4 // the batch names a function that the description does not
)

// Codes of a failed message. Codes below 256 are the ABI's; a guest may use others for its own.
const (
	CodeError = 1 // the function returned an error
	CodePanic = 2 // the function panicked
	CodeValue = 3 // the message's value is not of the type the function takes: it fails the same way each time
)

// Levels of log, those of log/slog.
const (
	LogDebug = -4
	LogInfo  = 0
	LogWarn  = 4
	LogError = 8
)

// Kinds of a message: those of functions.Kind that reach a guest.
const (
	KindSend    = 0 // from another function
	KindIngress = 1 // from a record of an ingress
	KindRequest = 2 // from an HTTP request, which waits for a reply
)

// Tags of extensions: those of functions.Tag that reach a guest. A test holds them equal.
const (
	TagType        = 1
	TagHeader      = 2
	TagCoordinates = 3
)

// OpKind is what an op asks for.
type OpKind uint8

const (
	Send   OpKind = 1 // a message to a function
	Egress OpKind = 2 // a record to an egress
	Reply  OpKind = 3 // the answer to who asked
)

// Flags of an op.
const (
	NoKey   = 1
	NoValue = 2
)

// Op is one effect of a message other than a state write. As decoded, its slices are views of the result.
type Op struct {
	Kind    OpKind
	Message int    // index of its message in the group
	Target  []byte // "namespace/name" of a function, or the id of an egress
	Key     []byte
	Value   []byte
	NoKey   bool   // the record has no key, which is not an empty key
	NoValue bool   // the record is a tombstone
	Topic   []byte // of an egress record: empty is the egress's default topic
	Type    []byte // value type name, or empty
	Ext     []byte // headers, as AppendHeader writes them
	Delay   int64  // ms; reserved, 0
}

// StateWrite is the value of one state after a group. Value is a view of the result.
type StateWrite struct {
	Index  int // in the order of the function's states; the caller checks it against their number
	Delete bool
	Value  []byte
}

// Message is one message of a group, as the host encodes it.
type Message struct {
	Kind       uint8
	Time       int64  // event time, unix ms
	ID         uint64 // unique in the job; seeds the message's random numbers
	Type       []byte // value type name, or empty; at most 64 KiB - 1
	SenderType []byte // "namespace/name", or empty; at most 64 KiB - 1
	SenderKey  []byte
	Value      []byte
	Ext        []byte
}

// Error says what is wrong with a batch or a result, and at which byte. What is one of the words of the test vectors.
type Error struct {
	Result bool // a result, not a batch
	What   string
	At     int
}

func (e *Error) Error() string {
	subject := "batch"
	if e.Result {
		subject = "result"
	}
	return "damaged " + subject + ": " + e.What + " at byte " + strconv.Itoa(e.At)
}

// Version says that the bytes have another version, and so may be good ones.
func (e *Error) Version() bool { return e.What == faultVersion }

// What can be wrong.
const (
	faultShort   = "too short"              // a block or part ends outside of its container
	faultVersion = "unknown version"        // not Version
	faultGroups  = "wrong number of groups" // not as many as the header, or the batch, has
	faultLength  = "wrong length"           // a block's length is not that of its parts
	faultKind    = "unknown kind"           // of an op or a state write
	faultDone    = "wrong done count"       // not all messages done and none failed, or a failure after the last
	faultMessage = "wrong message index"    // of an op: not below done, or lower than the one before
	faultState   = "wrong state index"      // of a state write: not above the one before
	faultReply   = "second reply"           // to the same message
)

const (
	batchHeader   = 32
	groupHeader   = 24
	stateHeader   = 8
	messageHeader = 40
	resultHeader  = 16
	groupResult   = 32
	writeHeader   = 8
	opHeader      = 40
	extHeader     = 8

	// MaxBytes bounds a batch, a result, and so every length in them: far above what a module's memory limit allows, and
	// low enough that sums of a few lengths fit 32 bits on the guest's side.
	MaxBytes = 1 << 28
)

func pad8(n int) int { return (n + 7) &^ 7 }

// AppendExt appends one extension.
func AppendExt(b []byte, tag uint8, value []byte) []byte {
	b = append(b, tag, 0, 0, 0)
	b = le.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// AppendHeader appends one header as an extension: u16 key length, key, value. A key longer than 64 KiB - 1 is the
// caller's to refuse.
func AppendHeader[K, V ~string | ~[]byte](b []byte, key K, value V) []byte {
	b = append(b, TagHeader, 0, 0, 0)
	b = le.AppendUint32(b, uint32(2+len(key)+len(value)))
	b = le.AppendUint16(b, uint16(len(key)))
	b = append(b, key...)
	return append(b, value...)
}

// NextExt splits the first extension off b. ok is false at the end of b, and when what is left is damaged.
func NextExt(b []byte) (tag uint8, value, rest []byte, ok bool) {
	if len(b) < extHeader {
		return 0, nil, nil, false
	}
	n := uint64(le.Uint32(b[4:]))
	if n > uint64(len(b)-extHeader) {
		return 0, nil, nil, false
	}
	end := extHeader + int(n)
	return b[0], b[extHeader:end:end], b[end:], true
}

// SplitHeader splits the value of a TagHeader extension; ok is false when it is damaged.
func SplitHeader(v []byte) (key, value []byte, ok bool) {
	if len(v) < 2 {
		return nil, nil, false
	}
	n := int(le.Uint16(v))
	if n > len(v)-2 {
		return nil, nil, false
	}
	return v[2 : 2+n : 2+n], v[2+n:], true
}
