package abi_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-run/weir/sdk/abi"
)

var rewrite = flag.Bool("rewrite", false, "write the vectors anew")

// batchVector is a batch in bytes with what it means, or with the error a guest finds.
type batchVector struct {
	About  string  `json:"about"`
	Hex    string  `json:"hex"`
	Error  string  `json:"error,omitempty"`
	Now    int64   `json:"now,omitempty"`
	Seed   uint64  `json:"seed,omitempty"`
	Groups []group `json:"groups,omitempty"`
}

// resultVector is a result in bytes, the batch's messages per group, and what it means, or the error the host finds.
type resultVector struct {
	About    string    `json:"about"`
	Counts   []int     `json:"counts"`
	Hex      string    `json:"hex"`
	Error    string    `json:"error,omitempty"`
	Outcomes []outcome `json:"outcomes,omitempty"`
}

func (b text) MarshalText() ([]byte, error)     { return b, nil }
func (b *text) UnmarshalText(from []byte) error { *b = append(text(nil), from...); return nil }

func batches() map[string]batchVector {
	ext := abi.AppendHeader(nil, "trace", "7f")
	return map[string]batchVector{
		"empty": {About: "no group at all", Now: 1_700_000_000_000, Seed: 1},
		"one counter": {About: "one message for one key whose state is the int64 7", Now: 1_700_000_000_000, Seed: 2, Groups: []group{{
			Key: text("ann"), States: []state{{true, text("\x07\x00\x00\x00\x00\x00\x00\x00")}},
			Messages: []message{{Kind: abi.KindIngress, Time: 1_699_999_999_000, ID: 1, Value: text("3")}},
		}}},
		"several groups": {About: "two messages of one key, an absent and an empty state, an empty key, a function without state", Now: -1, Seed: 1 << 40, Groups: []group{
			{Function: 1, Key: text("ann"), States: []state{{true, text("")}, {}, {true, text("123456789")}}, Messages: []message{
				{Kind: abi.KindRequest, Time: 5, ID: 1 << 60, Type: text("io.statefun.types/long"), Value: text("\x09\x01\x00\x00\x00\x00\x00\x00\x00")},
				{Kind: abi.KindSend, Time: -5, ID: 2, SenderType: text("ads/click"), SenderKey: text("c-17"), Value: text("{}"), Ext: ext},
			}},
			{Function: 1, Key: text(""), States: []state{{}, {}, {}}, Messages: []message{{Kind: abi.KindIngress}}},
			{Function: 65535, Key: text("12345678"), Messages: []message{{Kind: abi.KindIngress, Value: text("12345678")}}},
		}},
	}
}

func results() map[string]resultVector {
	ext := abi.AppendHeader(nil, "trace", "7f")
	return map[string]resultVector{
		"empty": {About: "the answer to a batch without groups", Counts: []int{}},
		"one counter": {About: "state 0 becomes the int64 10, a record goes to egress counts, and 10 is the reply", Counts: []int{1}, Outcomes: []outcome{{
			Done: 1,
			Ops: []op{
				{Kind: abi.Egress, Target: text("counts"), Key: text("ann"), Value: text("10")},
				{Kind: abi.Reply, NoKey: true, Value: text("10")},
			},
			States: []stateWrite{{Value: text("\x0a\x00\x00\x00\x00\x00\x00\x00")}},
		}}},
		"several groups": {About: "every kind of op; a failure after one message, and one of the first; a delete", Counts: []int{2, 3, 1, 1}, Outcomes: []outcome{
			{Done: 2, Ops: []op{
				{Kind: abi.Send, Target: text("ads/budget"), Key: text("c-17"), Value: text("{}"), Type: text("ads/charge"), Ext: ext},
				{Kind: abi.Egress, Message: 1, Target: text("counts"), Topic: text("other"), NoKey: true, NoValue: true},
				{Kind: abi.Reply, Message: 1, NoKey: true, Value: text("ok")},
			}, States: []stateWrite{{Index: 0, Value: text("")}, {Index: 2, Delete: true}}},
			{Done: 1, Code: abi.CodePanic, Text: "panic: negative bid (main.go:41)",
				Ops:    []op{{Kind: abi.Send, Target: text("a/b"), Key: text(""), Value: text("1")}},
				States: []stateWrite{{Index: 65535, Value: text("123456789")}}},
			{Done: 0, Code: 256, Text: ""},
			{Done: 1},
		}},
	}
}

// damagedBatches and damagedResults change bytes of the good vector "one counter": at is where, to are the bytes there,
// and cut, when set, is the length that is kept.
type damage struct {
	about string
	error string
	at    int
	to    string
	cut   int
}

var damagedBatches = map[string]damage{
	"damaged no bytes":          {about: "nothing", error: "too short", cut: -1},
	"damaged version":           {about: "version 2", error: "unknown version", to: "\x02"},
	"damaged total":             {about: "total length one too high", error: "wrong length", at: 24, to: "\x99"},
	"damaged cut":               {about: "the last block is cut off", error: "wrong length", cut: 80},
	"damaged batch extensions":  {about: "extensions beyond the end", error: "too short", at: 28, to: "\xff\xff\xff\xff"},
	"damaged group count":       {about: "two groups promised, one there", error: "too short", at: 4, to: "\x02"},
	"damaged group left over":   {about: "no group promised, one there", error: "wrong number of groups", at: 4, to: "\x00"},
	"damaged group length":      {about: "a group longer than the batch", error: "too short", at: 32, to: "\xff"},
	"damaged key length":        {about: "a key longer than its group", error: "wrong length", at: 40, to: "\xff\xff\xff\xff"},
	"damaged state length":      {about: "a state longer than its group", error: "too short", at: 64, to: "\xff\xff\xff\xff"},
	"damaged message length":    {about: "a message longer than its group", error: "too short", at: 80, to: "\xff"},
	"damaged message parts":     {about: "a value longer than its message", error: "wrong length", at: 104, to: "\xff\xff\xff\xff"},
	"damaged message left over": {about: "no message promised, one there", error: "wrong length", at: 44, to: "\x00"},
}

var damagedResults = map[string]damage{
	"damaged no bytes":       {about: "nothing", error: "too short", cut: -1},
	"damaged version":        {about: "version 2", error: "unknown version", to: "\x02"},
	"damaged groups":         {about: "two groups for a batch of one", error: "wrong number of groups", at: 4, to: "\x02"},
	"damaged total":          {about: "total length too high", error: "wrong length", at: 8, to: "\xff"},
	"damaged extensions":     {about: "extensions beyond the end", error: "too short", at: 12, to: "\xff\xff\xff\x7f"},
	"damaged group length":   {about: "a group longer than the result", error: "too short", at: 16, to: "\xff\xff"},
	"damaged group unpadded": {about: "a group length that is no multiple of 8", error: "too short", at: 16, to: "\x81"},
	"damaged done":           {about: "more messages done than there are", error: "wrong done count", at: 20, to: "\x02"},
	"damaged failure":        {about: "a failure after the last message", error: "wrong done count", at: 24, to: "\x01"},
	"damaged ops length":     {about: "ops longer than their group", error: "wrong length", at: 32, to: "\xf8\xff\xff\xff"},
	"damaged text length":    {about: "a failure text longer than its group", error: "wrong length", at: 36, to: "\xff\xff\xff\xff"},
	"damaged ops count":      {about: "one op promised, two there", error: "wrong length", at: 28, to: "\x01"},
	"damaged ops missing":    {about: "three ops promised, two there", error: "too short", at: 28, to: "\x03"},
	"damaged op length":      {about: "an op longer than its group", error: "too short", at: 48, to: "\xff"},
	"damaged op parts":       {about: "a key longer than its op", error: "wrong length", at: 60, to: "\xff\xff\xff\xff"},
	"damaged op kind":        {about: "an op of kind 9", error: "unknown kind", at: 52, to: "\x09"},
	"damaged op message":     {about: "an op of a message that is not done", error: "wrong message index", at: 56, to: "\x01"},
	"damaged second reply":   {about: "two replies to one message", error: "second reply", at: 52, to: "\x03"},
	"damaged write kind":     {about: "a state write of kind 2", error: "unknown kind", at: 154, to: "\x02"},
	"damaged write length":   {about: "a state value longer than its group", error: "too short", at: 156, to: "\xff\xff\xff\xff"},
	"damaged writes count":   {about: "two state writes promised, one there", error: "too short", at: 26, to: "\x02"},
	"damaged writes order":   {about: "the same state written twice", error: "wrong state index", at: 26, to: "\x02"},
}

func (d damage) apply(good []byte) []byte {
	b := append([]byte(nil), good...)
	copy(b[d.at:], d.to)
	switch {
	case d.cut < 0:
		return nil
	case d.cut > 0:
		return b[:d.cut]
	}
	return b
}

func TestBatchVectorsMeanWhatTheySay(t *testing.T) {
	vectors := batches()
	for name, v := range vectors {
		in, _ := encode(v.Now, v.Seed, v.Groups)
		v.Hex = hex.EncodeToString(in)
		vectors[name] = v
	}
	good, _ := hex.DecodeString(vectors["one counter"].Hex)
	for name, d := range damagedBatches {
		vectors[name] = batchVector{About: d.about, Error: d.error, Hex: hex.EncodeToString(d.apply(good))}
	}
	for name, want := range vectors {
		var v batchVector
		load(t, "batch "+name, want, &v)
		in, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		now, seed, groups, err := read(in)
		if fault(err) != v.Error {
			t.Errorf("%s: %v, want %q", name, err, v.Error)
		}
		if v.Error == "" && (now != v.Now || seed != v.Seed || show(groups) != show(v.Groups)) {
			t.Errorf("%s: now %d seed %d\n%s\nwant\n%s", name, now, seed, show(groups), show(v.Groups))
		}
	}
}

func TestResultVectorsMeanWhatTheySay(t *testing.T) {
	vectors := results()
	for name, v := range vectors {
		out := make([]byte, 4096)
		v.Hex = hex.EncodeToString(out[:write(out, v.Outcomes)])
		vectors[name] = v
	}
	good, _ := hex.DecodeString(vectors["one counter"].Hex)
	for name, d := range damagedResults {
		b := d.apply(good)
		if name == "damaged writes order" { // append the same state write again, and say so in the lengths
			b = append(b, b[len(b)-16:]...)
			b[8] += 16
			b[16] += 16
		}
		vectors[name] = resultVector{About: d.about, Error: d.error, Counts: []int{1}, Hex: hex.EncodeToString(b)}
	}
	for name, want := range vectors {
		var v resultVector
		load(t, "result "+name, want, &v)
		out, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, err := open(out, v.Counts)
		if fault(err) != v.Error {
			t.Errorf("%s: %v, want %q", name, err, v.Error)
		}
		if v.Error == "" && show(outcomes) != show(v.Outcomes) {
			t.Errorf("%s:\n%s\nwant\n%s", name, show(outcomes), show(v.Outcomes))
		}
	}
}

// load reads a vector file, which must hold want.
func load(t *testing.T, name string, want, into any) {
	t.Helper()
	path := filepath.Join("testdata", "vectors", strings.ReplaceAll(name, " ", "-")+".json")
	text, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(text) {
		t.Errorf("%s differs from what the code writes; -rewrite renews it, but a released vector never changes", path)
	}
	if err := json.Unmarshal(have, into); err != nil {
		t.Fatal(err)
	}
}

func fault(err error) string {
	var e *abi.Error
	if errors.As(err, &e) {
		return e.What
	}
	return ""
}

// show is a value as text: nil and empty slices look the same.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return strings.NewReplacer(`null`, `""`, `[]`, `""`).Replace(string(text))
}
