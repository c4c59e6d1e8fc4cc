package functions_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/weir-run/weir/functions"
)

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// describe gives the module of billing the functions ads/impression, with one state of this type, and ads/budget.
func describe(stateType string, egresses ...string) *functions.Description {
	return &functions.Description{
		ABI: 1, Egresses: egresses,
		Functions: []functions.FunctionSpec{
			{Type: functions.TypeName{Namespace: "ads", Name: "impression"}, States: []functions.StateSpec{{Name: "seen", Type: stateType}}},
			{Type: functions.TypeName{Namespace: "ads", Name: "budget"}},
		},
	}
}

func TestAnEmptyFileIsToldWhatItLacks(t *testing.T) {
	const want = "module.yaml:1:1: the job has no module\n  add a document with kind weir.v1/module and spec: {file: counter.wasm}"
	for _, text := range []string{"", "\n", "# nothing\n", "---\n"} {
		if _, err := functions.ParseJob([]byte(text), "module.yaml", nil); err == nil || err.Error() != want {
			t.Errorf("%q: %v\nwant %s", text, err, want)
		}
	}
}

// replacement breaks the documented job in one place; want is what the error says, from its line on.
type replacement struct{ old, new, want string }

func refused(t *testing.T, cases map[string]replacement) {
	t.Helper()
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(billing, c.old) {
				t.Fatalf("the job holds no %q", c.old)
			}
			_, err := functions.ParseJob([]byte(strings.Replace(billing, c.old, c.new, 1)), "module.yaml", nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "module.yaml:") {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestBadFieldsAreRefusedWithTheirPlaceAndWhatToDo(t *testing.T) {
	refused(t, map[string]replacement{
		"unknown field": {"parallelism: 2", "paralelism: 2", `3:26: unknown field "paralelism"
  did you mean "parallelism"?`},
		"unknown field of the document": {"kind: weir.v1/job", "kind: weir.v1/job\nmeta: 1", `3:1: unknown field "meta"
  known: kind, spec`},
		"unknown kind": {"weir.v1/module", "weir.v1/modul", `5:7: unknown kind "weir.v1/modul"
  did you mean "weir.v1/module"?`},
		"missing kind": {"kind: weir.v1/module", "spek: 1", `5:1: kind is missing
  say one of weir.v1/job, weir.v1/module, io.statefun.kafka.v1/ingress, io.statefun.kafka.v1/egress`},
		"kinesis": {"io.statefun.kafka.v1/egress", "io.statefun.kinesis.v1/egress", `16:7: kind io.statefun.kinesis.v1/egress is StateFun's, and Weir does not run it yet
  use kind io.statefun.kafka.v1/egress`},
		"remote function": {"io.statefun.kafka.v1/egress", "io.statefun.endpoints.v2/http", `16:7: kind io.statefun.endpoints.v2/http is StateFun's, and Weir does not run it yet
  compile the function to WASM and declare it with kind weir.v1/module`},
		"format of StateFun 3.0": {"kind: weir.v1/module", "version: \"3.0\"", `5:1: the format of StateFun 3.0 with a version and one root is not read
  write one document per part, each with kind and spec, as StateFun 3.1 and later do`},
		"text for a number":     {"parallelism: 2", "parallelism: two", `3:39: parallelism: "two" is not a whole number`},
		"list for text":         {"name: ad-billing", "name: [a]", `3:14: name is a list, where a single value is expected`},
		"boolean for text":      {"name: ad-billing", "name: yes, namespace: true", "3:30: namespace is true, where text is expected\n  put it in quotes"},
		"text for a mapping":    {"{interval: auto}", "auto", `3:55: checkpoints is a single value, where a mapping is expected`},
		"text for a list":       {"[ads/impression]", "ads/impression", "14:59: targets is a single value, where a list is expected\n  write it as [a, b], or one element a line after \"- \""},
		"bad duration":          {"time: 50ms", "time: 50 parsecs", `6:58: time: "50 parsecs" is not a duration; write a number with a unit, such as 50ms, 10s, 1m30s or PT15M`},
		"duration without unit": {"time: 50ms", "time: 50", `6:58: time: "50" is not a duration; write a number with a unit, such as 50ms, 10s, 1m30s or PT15M`},
		"bad size":              {"64MiB", "64MiBi", `6:45: memory: "64MiBi" is not a size; write a number with a unit, such as 64MiB, 512KiB or 1GB`},
		"limit too high":        {"64MiB", "5GiB", `6:45: limits.memory 5368709120 is not between 1MiB and 4GiB`},
		"malformed target":      {"[ads/impression]", "[impression]", "14:60: target: type name \"impression\": want namespace/name\n  write namespace/name, as the module names its function"},
		"no target":             {", targets: [ads/impression]", "", "14:12: targets is missing\n  list the functions that get the records, such as [ads/impression]"},
		"same target twice":     {"[ads/impression]", "[ads/impression, ads/impression]", "14:76: target ads/impression is listed twice\n  remove one of the two"},
		"topic and pattern":     {"topic: clicks", "topic: clicks, pattern: c.*", "14:37: topic and pattern are both set\n  keep one of the two"},
		"bad pattern":           {"topic: clicks", "pattern: '(c'", "14:22: pattern \"(c\": error parsing regexp: missing closing ): `(c`\n  write an RE2 expression that matches whole topic names"},
		"bad topic name":        {"topic: clicks", "topic: a/b", `14:20: topic "a/b": character '/' is not allowed; use letters, digits, '.', '_' and '-'`},
		"bad address":           {"address: broker:9092\n", "address: broker\n", "11:12: address \"broker\" is not host:port\n  write host:port, comma separated, or embedded"},
		"no address":            {"  address: broker:9092\n", "", "10:3: address is missing\n  name the brokers as host:port, comma separated, or the one of weir dev as embedded"},
		"bad delivery":          {"delivery: exactly-once}", "delivery: once}", "3:83: delivery \"once\" is not known\n  known: at-least-once, exactly-once"},
		"bad semantic":          {"{type: exactly-once}", "{type: exactly_once}", "17:65: delivery \"exactly_once\" is not known\n  did you mean \"exactly-once\"?"},
		"interval too short":    {"interval: auto", "interval: 1ms", "3:66: checkpoints.interval 1ms is not between 10ms and 1h0m0s\n  use auto, or a fixed interval in that range"},
		"too many tasks": {"parallelism: 2", "parallelism: 200", `3:39: parallelism 200 is above the 128 key groups that tasks share
  lower it, or raise keyGroups of a job that is not deployed yet`},
		"key groups": {"parallelism: 2", "keyGroups: 100", `3:37: keyGroups 100 is not a power of two in range
  take a power of two from 1 to 32768; 128 suits most jobs`},
		"job name": {"name: ad-billing", "name: ad billing", `3:14: job name "ad billing": character ' ' is not allowed; use letters, digits, '.', '_' and '-'
  set spec.name of the weir.v1/job document`},
	})
}

func TestBadKafkaSettingsAreRefused(t *testing.T) {
	refused(t, map[string]replacement{
		"start without time":    {"{type: earliest}", "{type: date}", "13:27: startupPosition date has no time\n  add time: 2026-11-21T07:14:00Z beside it"},
		"start without offsets": {"{type: earliest}", "{type: specific-offsets}", "13:27: startupPosition specific-offsets has no offsets\n  add offsets: [{clicks/0: 42}] beside it"},
		"end without time":      {"consumerGroupId: ad-billing", "bounded: {type: timestamp}", "12:19: bounded timestamp has no time\n  add time: 2026-11-21T07:14:00Z beside it"},
		"end without type":      {"consumerGroupId: ad-billing", "bounded: {}", "12:12: type is missing\n  say one of latest, timestamp, date"},
		"unknown end":           {"consumerGroupId: ad-billing", "bounded: {type: earliest}", "12:19: type \"earliest\" is not known"},
		"bad offset":            {"{type: earliest}", "{type: specific-offsets, offsets: [clicks: 4]}", "13:63: offset \"clicks\": 4 is not one"},
		"unknown start":         {"{type: earliest}", "{type: earlyest}", "13:27: type \"earlyest\" is not known\n  did you mean \"earliest\"?"},
		"unknown property":      {"consumerGroupId: ad-billing", "properties: [interceptor.classes: x]", "12:37: property interceptor.classes is not understood"},
		"isolation":             {"consumerGroupId: ad-billing", "properties: [isolation.level: read_uncommitted]", "12:33: \"read_uncommitted\" is not supported\n  Weir reads committed records only"},
		"key store":             {"consumerGroupId: ad-billing", "properties: [ssl.keystore.type: JKS]", "12:35: \"JKS\" is not supported\n  convert the store to PEM, and name its file with the location property"},
		"no password":           {"consumerGroupId: ad-billing", "sasl: {mechanism: PLAIN, username: a}", "12:9: password is missing\n  write ${env:NAME} or ${file:PATH}, so that it stands nowhere in clear"},
		"malformed reference":   {"consumerGroupId: ad-billing", "consumerGroupId: \"${HOME}\"", "12:20: consumerGroupId: malformed reference"},
	})
}

func TestBadYAMLIsRefusedBeforeItCostsAnything(t *testing.T) {
	refused(t, map[string]replacement{
		"two jobs":               {"kind: weir.v1/module\nspec: {file: billing.wasm, limits: {memory: 64MiB, time: 50ms}, retry: {attempts: 3}, deadLetter: billing-dead}", "kind: weir.v1/job", "5:1: a second weir.v1/job; the first is at line 2\n  merge the two"},
		"same field twice":       {"parallelism: 2", "name: b", "3:26: not valid YAML: mapping key \"name\" already defined at"},
		"not YAML":               {"kind: weir.v1/module", "kind: weir.v1/module: 3", "5:7: not valid YAML: mapping value is not allowed in this context"},
		"open bracket":           {"[ads/impression]", "[ads/impression", "14:74: not valid YAML: ',' or ']' must be specified"},
		"alias":                  {"file: billing.wasm", "file: *x", "6:14: anchors and aliases (& * <<) are not read; write the value out"},
		"tag":                    {"file: billing.wasm", "file: !!binary x", "6:14: tags (!) are not read; put the text in quotes"},
		"text after a separator": {"---\nkind: weir.v1/module", "--- kind: weir.v1/module", "4:1: text follows --- on its line\n  write the document on the lines below it"},
		"deep nesting":           {"file: billing.wasm", "file: " + strings.Repeat("[", 100_000), "6:45: nested deeper than 32 levels"},
		"nested lists":           {"spec: {file:", "spec:\n  " + strings.Repeat("- ", 50_000) + "\nx: {file:", "nested deeper than 32 levels"},
		"endless tokens":         {"file: billing.wasm", "file: [" + strings.Repeat("a,", 50_000) + "]", "the document has more than 20000 tokens"},
		"endless text":           {"billing.wasm", strings.Repeat("a", 300_000), "1:1: the file has 300621 bytes; at most 262144 are read"},
		"not text":               {"billing.wasm", "\xff\xfe", "1:1: the file is not UTF-8 text"},
	})
}

func TestAModuleIsNeeded(t *testing.T) {
	for _, source := range []string{"", "\n", "# nothing\n---\n", "kind: weir.v1/job\nspec: {name: a}\n"} {
		_, err := functions.ParseJob([]byte(source), "module.yaml", nil)
		if err == nil || !strings.Contains(err.Error(), "the job has no module") {
			t.Errorf("%q: %v", source, err)
		}
	}
}

func TestSeveralProblemsComeTogetherInTheOrderOfTheSource(t *testing.T) {
	_, err := functions.ParseJob([]byte(strings.NewReplacer("parallelism: 2", "a: 1, parallelism: x", "file: billing", "b: 2, file: billing").Replace(billing)), "m.yaml", nil)
	var bad *functions.ParseError
	if !errors.As(err, &bad) || len(bad.Problems) != 3 {
		t.Fatalf("got %v", err)
	}
	for i, want := range [][2]int{{3, 26}, {3, 45}, {6, 8}} {
		if at := [2]int{bad.Problems[i].Line, bad.Problems[i].Column}; at != want {
			t.Errorf("problem %d stands at %v, want %v", i, at, want)
		}
	}
}

func TestProblemsAreBounded(t *testing.T) {
	_, err := functions.ParseJob([]byte("kind: weir.v1/job\nspec:\n"+strings.Repeat("  x: 1\n", 1)+fields(200)), "m.yaml", nil)
	var bad *functions.ParseError
	if !errors.As(err, &bad) || len(bad.Problems) != 20 || bad.More != 181 {
		t.Errorf("got %d problems and %d more", len(bad.Problems), bad.More)
	}
	if !strings.HasSuffix(err.Error(), "\nand 181 more") {
		t.Errorf("the text does not say how many are left off: %v", err)
	}
}

func fields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("  f" + strings.Repeat("i", i) + ": 1\n")
	}
	return b.String()
}

func TestAJobIsCheckedAgainstItsModules(t *testing.T) {
	for name, c := range map[string]struct {
		replace [2]string
		modules []*functions.Description
		want    string
	}{
		"unknown target": {
			replace: [2]string{"[ads/impression]", "[ads/impresion]"},
			want:    "module.yaml:14:60: no module has function ads/impresion\n  did you mean \"ads/impression\"?",
		},
		"undeclared egress": {
			modules: []*functions.Description{describe("json", "ads/charge")},
			want:    "module.yaml:6:7: module billing.wasm writes to egress \"ads/charge\", which is not declared\n  did you mean \"ads/charges\"?",
		},
		"override of nothing": {
			replace: [2]string{"retry: {attempts: 3}", "overrides: {ads/budge: {attempts: 1}}"},
			want:    "module.yaml:6:88: module billing.wasm has no function ads/budge to override\n  did you mean \"ads/budget\"?",
		},
		"function in two modules": {
			replace: [2]string{"---\n", "---\nkind: weir.v1/module\nspec: {file: other.wasm}\n---\n"},
			modules: []*functions.Description{describe("json"), describe("json")},
			want:    "module.yaml:9:7: function ads/impression of module billing.wasm is also in module other.wasm\n  a function type belongs to one module, once",
		},
		"malformed function": {
			modules: []*functions.Description{{Functions: []functions.FunctionSpec{{Type: functions.TypeName{Namespace: "ads", Name: "im pression"}}}}},
			want:    "module.yaml:6:7: malformed function type: type name \"ads/im pression\": character ' ' is not allowed",
		},
		"no function": {
			modules: []*functions.Description{{}},
			want:    "module.yaml:6:7: module billing.wasm has no function",
		},
		"state twice": {
			modules: []*functions.Description{{Functions: []functions.FunctionSpec{{
				Type:   functions.TypeName{Namespace: "ads", Name: "impression"},
				States: []functions.StateSpec{{Name: "n", Type: "int64"}, {Name: "n", Type: "string"}},
			}}}},
			want: "module.yaml:6:7: state \"n\" of function ads/impression is declared twice",
		},
	} {
		t.Run(name, func(t *testing.T) {
			source := billing
			if c.replace[0] != "" {
				source = strings.Replace(billing, c.replace[0], c.replace[1], 1)
			}
			if c.modules == nil {
				c.modules = []*functions.Description{describe("json")}
			}
			job := parsed(t, source, nil)
			err := job.Bind(c.modules)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	if err := parsed(t, billing, nil).Bind([]*functions.Description{describe("json", "ads/charges")}); err != nil {
		t.Error(err)
	}
}

func TestIDsAreUnique(t *testing.T) {
	_, err := functions.ParseJob([]byte(billing+"---\nkind: io.statefun.kafka.v1/egress\nspec: {id: ads/charges, address: embedded}\n"), "module.yaml", nil)
	if want := "module.yaml:20:12: egress id \"ads/charges\" is used twice; the first is at line 17\n  give each its own id"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestAJobFromJSONIsValidatedWithPaths(t *testing.T) {
	var job functions.Job
	if err := json.Unmarshal([]byte(asJSON(t, parsed(t, billing, nil))), &job); err != nil {
		t.Fatal(err)
	}
	if err := job.Validate(); err != nil {
		t.Fatal(err)
	}
	job.Ingresses[0].Topics[0].Topic = "no topic"
	job.Egresses[0].Topics = nil
	want := `ingresses[0].topics[0].topic: topic "no topic": character ' ' is not allowed; use letters, digits, '.', '_' and '-'
egresses[0].topics: topics does not hold the default topic "charges"
  add it to topics`
	if err := job.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
