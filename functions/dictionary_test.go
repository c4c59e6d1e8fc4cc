package functions_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions"
)

func bound(t *testing.T, d *functions.Description) *functions.Job {
	t.Helper()
	job := parsed(t, billing, nil)
	if err := job.Bind([]*functions.Description{d}); err != nil {
		t.Fatal(err)
	}
	return job
}

func TestNumbersOfADictionaryNeverChange(t *testing.T) {
	impression, budget := functions.TypeName{Namespace: "ads", Name: "impression"}, functions.TypeName{Namespace: "ads", Name: "budget"}
	var empty functions.Dictionary
	first := empty.Extend(bound(t, describe("json")))

	reordered := describe("json")
	reordered.Functions[0], reordered.Functions[1] = reordered.Functions[1], reordered.Functions[0]
	audit := functions.TypeName{Namespace: "ads", Name: "audit"}
	reordered.Functions = append([]functions.FunctionSpec{{Type: audit, States: []functions.StateSpec{{Name: "seen", Type: "int64"}}}}, reordered.Functions...)
	second := first.Extend(bound(t, reordered))
	third := second.Extend(bound(t, describe("json")))

	want := functions.Dictionary{
		Functions: []functions.TypeName{impression, budget, audit},
		States:    []functions.StateKey{{Function: impression, State: "seen"}, {Function: audit, State: "seen"}},
	}
	if !reflect.DeepEqual(second, want) || !reflect.DeepEqual(third, want) {
		t.Errorf("got %v and %v, want %v", second, third, want)
	}
	if len(first.Functions) != 2 {
		t.Errorf("extending changed the dictionary it started from: %v", first)
	}
	if id, ok := second.FunctionID(audit); id != 2 || !ok {
		t.Errorf("ads/audit has number %d, %v", id, ok)
	}
	if id, ok := second.StateID(audit, "seen"); id != 1 || !ok {
		t.Errorf("its state has number %d, %v", id, ok)
	}
	if _, ok := second.FunctionID(functions.TypeName{Namespace: "ads", Name: "none"}); ok {
		t.Error("a function that no version had has a number")
	}
	if _, ok := second.StateID(budget, "seen"); ok {
		t.Error("a state that no version had has a number")
	}
	var read functions.Dictionary
	if err := json.Unmarshal([]byte(asJSON(t, second)), &read); err != nil || !reflect.DeepEqual(read, second) {
		t.Errorf("from JSON: %v, %v", read, err)
	}
}

func TestADictionaryWithoutRoomSaysSo(t *testing.T) {
	full := functions.Dictionary{Functions: make([]functions.TypeName, functions.NoSender-1)}
	if err := full.Room(bound(t, describe("json"))); err == nil || !strings.Contains(err.Error(), "create it under another name") {
		t.Errorf("got %v", err)
	}
	if err := new(functions.Dictionary).Room(bound(t, describe("json"))); err != nil {
		t.Error(err)
	}
}

func TestAStateKeepsItsType(t *testing.T) {
	old := bound(t, describe("int64"))
	err := functions.Compatible(old, bound(t, describe("string")))
	want := `state "seen" of ads/impression is int64 in version 1 and string in version 2
  keep the type, or give the state a new name and convert the old value in the function: docs/state.md#migration`
	if bad, ok := err.(*functions.Incompatible); !ok || bad.Between(1, 2) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := functions.Compatible(old, bound(t, describe("int64"))); err != nil {
		t.Error(err)
	}
	fewer := describe("int64")
	fewer.Functions[0].States = nil
	if err := functions.Compatible(old, bound(t, fewer)); err != nil {
		t.Errorf("a state that goes: %v", err)
	}
}

func TestKeyGroupsAreFixed(t *testing.T) {
	old, next := bound(t, describe("int64")), bound(t, describe("int64"))
	next.KeyGroups = 256
	want := "keyGroups is 128 in the running version and 256 in this one\n  key groups are fixed when a job is created; set the old number, or deploy under another name"
	if err := functions.Compatible(old, next); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestALoneModuleIsAJob(t *testing.T) {
	d := describe("int64", "counts")
	d.Ingresses = []string{"clicks"}
	d.Functions[0].Ingress = []string{"clicks"}
	job, err := functions.FromDescription("counter", d, functions.EmbeddedCluster)
	if err != nil {
		t.Fatal(err)
	}
	written := parsed(t, `kind: weir.v1/module
spec: {file: counter.wasm}
---
kind: io.statefun.kafka.v1/ingress
spec: {id: clicks, address: embedded, topics: [{topic: clicks, targets: [ads/impression], create: true}]}
---
kind: io.statefun.kafka.v1/egress
spec: {id: counts, address: embedded, create: true}
`, nil)
	if err := written.Bind([]*functions.Description{d}); err != nil {
		t.Fatal(err)
	}
	same(t, job, written)

	d.Functions[0].Ingress = nil
	if _, err := functions.FromDescription("counter", d, "broker:9092"); err == nil || !strings.Contains(err.Error(), "topic clicks has no target") {
		t.Errorf("a topic that no function wants: %v", err)
	}
}
