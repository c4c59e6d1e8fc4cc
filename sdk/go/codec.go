package weir

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"
)

// intCodec is the form of a Number.
type intCodec struct{}

func (intCodec) Name() string { return "int64" }

func (intCodec) Append(b []byte, v int64) ([]byte, error) {
	return binary.LittleEndian.AppendUint64(b, uint64(v)), nil
}

func (intCodec) Parse(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, errors.New(strconv.Itoa(len(b)) + " bytes are no int64")
	}
	return int64(binary.LittleEndian.Uint64(b)), nil
}

// copies says whether a value must be copied before the codec parses it: not when it surely neither keeps nor changes it.
func copies(codec any) bool {
	_, text := codec.(stringCodec)
	return !text
}

type stringCodec struct{}

func (stringCodec) Name() string { return "string" }

func (stringCodec) Append(b []byte, v string) ([]byte, error) { return append(b, v...), nil }

func (stringCodec) Parse(b []byte) (string, error) { return string(b), nil }

type bytesCodec struct{}

func (bytesCodec) Name() string { return "bytes" }

func (bytesCodec) Append(b []byte, v []byte) ([]byte, error) { return append(b, v...), nil }

func (bytesCodec) Parse(b []byte) ([]byte, error) { return b, nil }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Name() string { return "json" }

func (jsonCodec[T]) Append(b []byte, v T) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(b, text...), err
}

func (jsonCodec[T]) Parse(b []byte) (v T, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}

// valueError says that a message's value is not of the type its handler takes.
type valueError struct{ text string }

func (e *valueError) Error() string { return e.text }

// StateFun's names of types whose values are protobuf wrappers, which its SDKs and ingresses send.
const (
	typeLong   = "io.statefun.types/long"   // {1: sfixed64}
	typeInt    = "io.statefun.types/int"    // {1: sfixed32}
	typeString = "io.statefun.types/string" // {1: string}
)

// maxQuoted is how much of a bad value an error shows.
const maxQuoted = 64

// parseInt reads decimal text, surrounded by white space as a terminal or a file leaves it, or StateFun's long and int.
func parseInt(typ, v []byte) (int64, error) {
	switch string(typ) {
	case typeLong:
		return parseWrapped(v, 1<<3|1, 8, typeLong)
	case typeInt:
		n, err := parseWrapped(v, 1<<3|5, 4, typeInt)
		return int64(int32(n)), err
	}
	if n, ok := parseDecimal(bytes.TrimSpace(v)); ok {
		return n, nil
	}
	return 0, notA("64-bit integer", v)
}

// parseWrapped reads the one fixed-size field of a wrapper: its tag and size bytes, or nothing for zero.
func parseWrapped(v []byte, tag byte, size int, typ string) (int64, error) {
	if len(v) == 0 {
		return 0, nil
	}
	if len(v) != 1+size || v[0] != tag {
		return 0, notA(typ, v)
	}
	var n uint64
	for i := size; i > 0; i-- {
		n = n<<8 | uint64(v[i])
	}
	return int64(n), nil
}

// parseDecimal reads -?[0-9]+ within the range of int64. It works on bytes in place, where strconv wants a string.
func parseDecimal(b []byte) (int64, bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	const safe = 18 // so many digits always fit
	if len(b) > safe {
		return parseLong(b, negative)
	}
	var n int64
	for _, c := range b {
		d := int64(c) - '0'
		if uint64(d) > 9 {
			return 0, false
		}
		n = n*10 + d
	}
	if negative {
		n = -n
	}
	return n, true
}

// parseLong is parseDecimal of digits that may not fit.
func parseLong(b []byte, negative bool) (int64, bool) {
	const limit = 1 << 63 // the magnitude of the least int64
	var n uint64
	for _, c := range b {
		d := uint64(c) - '0'
		if d > 9 || n > (limit-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	if negative {
		return -int64(n), true
	}
	return int64(n), n < limit
}

// parseString is the value as it is, or out of StateFun's wrapper.
func parseString(typ, v []byte) ([]byte, error) {
	if string(typ) != typeString || len(v) == 0 {
		return v, nil
	}
	n, size := binary.Uvarint(v[1:])
	if v[0] != 1<<3|2 || size <= 0 || uint64(len(v)-1-size) != n {
		return nil, notA(typeString, v)
	}
	return v[1+size:], nil
}

func notA(what string, v []byte) error {
	shown, more := v, ""
	if len(v) > maxQuoted {
		shown, more = v[:maxQuoted], "..."
	}
	return &valueError{"value " + quoted(shown) + more + " is no " + what}
}
