// Package workload is what the functions under proof and the checker agree on: who is called for which input, and the text
// of inputs, messages and output records.
//
// It hides the encodings. Its invariant: where a message goes is a pure function of the input that caused it, so that the
// checker knows every effect from the inputs alone. It imports the standard library only, because it is also part of the
// guest. It knows nothing of how records travel or functions run.
package workload

import (
	"errors"
	"strconv"
	"strings"
)

// The function types, topics and job of the proof. Egress ids are the names of their topics.
const (
	Job     = "e2e"
	Source  = "e2e/source"
	Counter = "e2e/counter"
	Inputs  = "e2e-inputs"
	Effects = "e2e-effects" // one record per message that a counter got
	Acks    = "e2e-acks"    // one record per acknowledgement that a source got
)

const (
	// Sources and Counters are how many keys there are: several per key group and task.
	Sources  = 64
	Counters = 256
	// MaxFanout and MaxHops bound what one input causes: at most 9 effects and 6 acknowledgements.
	MaxFanout = 3
	MaxHops   = 2
)

// Token names one effect: the input that caused it, the branch of its fan-out and the hop of its cycle. For an HTTP
// request the source is the client, and branch and hop are 0.
type Token struct {
	HTTP   bool
	Source uint16
	Seq    uint32
	Branch uint8
	Hop    uint8
}

// Input is one record of the topic Inputs, whose key is the source: it makes Fanout branches, each of which goes from the
// source to a counter and back Hops times, and ends at a counter.
type Input struct {
	Seq    uint32 // from 1, per source
	Fanout uint8
	Hops   uint8
}

// Message travels between the functions; to a counter it is the effect Token, to a source its acknowledgement. Number is
// the sender's running number over all that it sends: for an HTTP request the client's own.
type Message struct {
	Token
	Hops   uint8
	From   uint16 // the counter that acknowledges; the source otherwise
	Number uint32
}

// Output is a record of Effects (its key is a counter) or Acks (its key is a source): the message that was received, and
// the receiver's running number over all that it received.
type Output struct {
	Message
	Count uint32
}

// Target is the counter that the message goes to.
func (t Token) Target() uint16 {
	h := uint64(t.Source)<<40 | uint64(t.Seq)<<8 | uint64(t.Branch)<<4 | uint64(t.Hop)
	if t.HTTP {
		h |= 1 << 60
	}
	h ^= h >> 31 // splitmix64's finalizer, shortened: it only has to spread
	h *= 0x9E3779B97F4A7C15
	h ^= h >> 29
	return uint16(h % Counters)
}

// SourceKey and CounterKey are the keys of addresses.
func SourceKey(n uint16) string { return "s" + strconv.Itoa(int(n)) }

// CounterKey is the key of a counter.
func CounterKey(n uint16) string { return "c" + strconv.Itoa(int(n)) }

// ErrText reports a text that is none of ours.
var ErrText = errors.New("not a text of the e2e workload")

// ParseKey reads what SourceKey (letter 's') or CounterKey ('c') writes.
func ParseKey(key string, letter byte) (uint16, error) {
	if len(key) < 2 || key[0] != letter {
		return 0, ErrText
	}
	n, err := strconv.ParseUint(key[1:], 10, 16)
	if err != nil {
		return 0, ErrText
	}
	return uint16(n), nil
}

// Append appends the text of an input.
func (in Input) Append(b []byte) []byte {
	return numbers(b, uint64(in.Seq), uint64(in.Fanout), uint64(in.Hops))
}

// Append appends the text of a message: a letter for what it is to its receiver, and its numbers.
func (m Message) Append(b []byte) []byte {
	letter := byte('s')
	if m.HTTP {
		letter = 'h'
	}
	b = append(b, letter, ' ')
	return numbers(b, uint64(m.Source), uint64(m.Seq), uint64(m.Branch), uint64(m.Hop), uint64(m.Hops), uint64(m.From), uint64(m.Number))
}

// Append appends the text of an output record.
func (o Output) Append(b []byte) []byte {
	b = append(o.Message.Append(b), ' ')
	return strconv.AppendUint(b, uint64(o.Count), 10)
}

func numbers(b []byte, ns ...uint64) []byte {
	for i, n := range ns {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	return b
}

// ParseInput reads an input.
func ParseInput(text string) (Input, error) {
	var n [3]uint64
	if err := parse(text, n[:], 32, 8, 8); err != nil {
		return Input{}, err
	}
	return Input{Seq: uint32(n[0]), Fanout: uint8(n[1]), Hops: uint8(n[2])}, nil
}

// ParseMessage reads a message.
func ParseMessage(text string) (Message, error) {
	letter, rest, _ := strings.Cut(text, " ")
	if letter != "s" && letter != "h" {
		return Message{}, ErrText
	}
	var n [7]uint64
	if err := parse(rest, n[:], 16, 32, 8, 8, 8, 16, 32); err != nil {
		return Message{}, err
	}
	return Message{
		Token: Token{HTTP: letter == "h", Source: uint16(n[0]), Seq: uint32(n[1]), Branch: uint8(n[2]), Hop: uint8(n[3])},
		Hops:  uint8(n[4]), From: uint16(n[5]), Number: uint32(n[6]),
	}, nil
}

// ParseOutput reads an output record.
func ParseOutput(text string) (Output, error) {
	cut := strings.LastIndexByte(text, ' ')
	if cut < 0 {
		return Output{}, ErrText
	}
	m, err := ParseMessage(text[:cut])
	if err != nil {
		return Output{}, err
	}
	count, err := strconv.ParseUint(text[cut+1:], 10, 32)
	if err != nil {
		return Output{}, ErrText
	}
	return Output{Message: m, Count: uint32(count)}, nil
}

// parse reads as many numbers as into takes, each of so many bits.
func parse(text string, into []uint64, bits ...int) error {
	for i := range into {
		word, rest, more := strings.Cut(text, " ")
		n, err := strconv.ParseUint(word, 10, bits[i])
		if err != nil || more != (i < len(into)-1) {
			return ErrText
		}
		into[i], text = n, rest
	}
	return nil
}
