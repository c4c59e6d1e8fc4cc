package wire

import (
	"encoding/binary"
	"errors"
)

// FrameKind says what the payload of a frame is.
type FrameKind uint8

const (
	FrameData    FrameKind = 1
	FrameBarrier FrameKind = 2
	FrameCredit  FrameKind = 3
)

// FrameHeader is the size of a frame's header in bytes.
const FrameHeader = 16

const frameVersion = 1

// ErrFrame reports bytes that are not a frame of this version.
var ErrFrame = errors.New("damaged frame")

// Frame is one frame as a view into its bytes.
type Frame struct {
	Kind    FrameKind
	From    uint16
	To      uint16
	Attempt uint64
	Payload []byte
}

// AppendFrame appends a frame's header; the payload follows it.
func AppendFrame(b []byte, kind FrameKind, from, to uint16, attempt uint64) []byte {
	le := binary.LittleEndian
	b = append(b, frameVersion, byte(kind), 0, 0)
	b = le.AppendUint16(b, from)
	b = le.AppendUint16(b, to)
	return le.AppendUint64(b, attempt)
}

// ParseFrame reads a frame as a view of b.
func ParseFrame(b []byte) (Frame, error) {
	le := binary.LittleEndian
	if len(b) < FrameHeader || b[0] != frameVersion {
		return Frame{}, ErrFrame
	}
	f := Frame{Kind: FrameKind(b[1]), From: le.Uint16(b[4:]), To: le.Uint16(b[6:]), Attempt: le.Uint64(b[8:]), Payload: b[FrameHeader:]}
	switch {
	case f.Kind == FrameData, f.Kind == FrameBarrier && len(f.Payload) == barrierBytes, f.Kind == FrameCredit && len(f.Payload) == 4:
		return f, nil
	}
	return Frame{}, ErrFrame
}

const barrierBytes = 13

// Barrier is the mark in the stream: it separates an epoch from the next on one channel.
type Barrier struct {
	Trigger uint64
	Switch  int  // job version whose modules take over behind the barrier; 0 is none
	Final   bool // the task stops once it has sealed
}

// AppendBarrier appends a whole barrier frame.
func AppendBarrier(b []byte, from, to uint16, attempt uint64, barrier Barrier) []byte {
	b = AppendFrame(b, FrameBarrier, from, to, attempt)
	b = binary.LittleEndian.AppendUint64(b, barrier.Trigger)
	b = binary.LittleEndian.AppendUint32(b, uint32(barrier.Switch))
	if barrier.Final {
		return append(b, 1)
	}
	return append(b, 0)
}

// Barrier reads the payload of a FrameBarrier.
func (f *Frame) Barrier() Barrier {
	le := binary.LittleEndian
	return Barrier{Trigger: le.Uint64(f.Payload), Switch: int(le.Uint32(f.Payload[8:])), Final: f.Payload[12] == 1}
}

// AppendCredit appends a whole credit frame: from has room for so many more bytes of to.
func AppendCredit(b []byte, from, to uint16, attempt uint64, bytes int) []byte {
	b = AppendFrame(b, FrameCredit, from, to, attempt)
	return binary.LittleEndian.AppendUint32(b, uint32(bytes))
}

// Credit reads the payload of a FrameCredit.
func (f *Frame) Credit() int { return int(binary.LittleEndian.Uint32(f.Payload)) }
