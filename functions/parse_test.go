package functions_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
)

// billing is the job of the documentation, in StateFun's format with Weir's own kinds.
const billing = `# Ads, billed once per click.
kind: weir.v1/job
spec: {name: ad-billing, parallelism: 2, checkpoints: {interval: auto}, delivery: exactly-once}
---
kind: weir.v1/module
spec: {file: billing.wasm, limits: {memory: 64MiB, time: 50ms}, retry: {attempts: 3}, deadLetter: billing-dead}
---
kind: io.statefun.kafka.v1/ingress
spec:
  id: ads/clicks
  address: broker:9092
  consumerGroupId: ad-billing
  startupPosition: {type: earliest}
  topics: [{topic: clicks, valueType: ads/click, targets: [ads/impression]}]
---
kind: io.statefun.kafka.v1/egress
spec: {id: ads/charges, address: broker:9092, deliverySemantic: {type: exactly-once}}
`

// parsed is a job without the text it was read from, so that it can be compared: its JSON is what is stored of it.
func parsed(t *testing.T, source string, env functions.Lookup) *functions.Job {
	t.Helper()
	job, err := functions.ParseJob([]byte(source), "module.yaml", env)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func TestTheDocumentedJobIsReadWithEveryDefault(t *testing.T) {
	job := parsed(t, billing, nil)
	want := functions.Job{
		Name: "ad-billing", Namespace: "default", Parallelism: 2, KeyGroups: 128,
		Checkpoints: functions.Checkpoints{Retain: 3}, Delivery: functions.ExactlyOnce,
		Restart: functions.Restart{
			Strategy: "exponential-delay", Delay: 100 * time.Millisecond, MaxDelay: time.Minute, Multiplier: 1.5, Jitter: 0.1,
			ResetAfter: time.Hour, Failures: 1, Interval: time.Minute,
		},
		Modules: []functions.Module{{
			File: "billing.wasm", Memory: 64 << 20, Time: 50 * time.Millisecond, DeadLetter: "billing-dead",
			Retry: functions.Retry{Attempts: 3, Backoff: 100 * time.Millisecond, MaxBackoff: 10 * time.Second},
		}},
		Ingresses: []functions.Ingress{{
			ID: "ads/clicks", Cluster: functions.Cluster{Address: "broker:9092"}, Group: "ad-billing",
			Topics: []functions.IngressTopic{{
				Topic: "clicks", ValueType: "ads/click", Targets: []functions.TypeName{{Namespace: "ads", Name: "impression"}},
			}},
			Start: functions.Start{Type: "earliest", Reset: "earliest"},
			Invalid: functions.Invalid{
				NoKey: "dead-letter", Tombstone: "dead-letter", Oversize: "dead-letter", DeadLetter: "ad-billing-dead-letters", MaxBytes: 1 << 20,
			},
		}},
		Egresses: []functions.Egress{{
			ID: "ads/charges", Cluster: functions.Cluster{Address: "broker:9092"}, Delivery: functions.ExactlyOnce,
			Topic: "charges", Topics: []string{"charges"}, Compression: "lz4", TxnTimeout: time.Minute,
		}},
	}
	same(t, job, &want)
	if len(job.Warnings) > 0 {
		t.Errorf("warnings: %v", job.Warnings)
	}
}

// everything has every field of every kind.
const everything = `
kind: weir.v1/job
spec:
  name: full
  namespace: team
  parallelism: 4
  keyGroups: 256
  checkpoints: {interval: PT0.05S, retain: 5}
  delivery: at-least-once
  restart: {strategy: failure-rate, delay: 1s, maxDelay: 2 min, multiplier: 2, jitter: 0.5, resetAfter: 2h, attempts: 7, failures: 4, interval: PT5M}
---
kind: weir.v1/module
spec:
  file: a.wasm
  build: make a.wasm
  limits: {memory: 1GiB, time: 1s500ms}
  retry: {attempts: 5, backoff: 1s, maxBackoff: 1m}
  overrides:
    ns/f: {attempts: 1}
---
# Only a comment: the documents after it are read.
---
kind: io.statefun.kafka.v1/ingress
spec:
  id: events
  address: a:1,b:2
  topics:
    - topic: t
      targets: [ns/f, ns/g]
      create: true
      keyHeader: id
    - pattern: logs-.*
      targets:
        - ns/f
  startupPosition:
    type: specific-offsets
    offsets:
      - t/0: 91
      - t/1: 11
  autoOffsetResetPosition: latest
  invalid: {noKey: skip, tombstone: deliver, oversize: fail, deadLetter: bad, maxBytes: 2MiB}
  tls: {ca: ca.pem, cert: c.pem, key: k.pem, serverName: kafka.example}
  sasl: {mechanism: SCRAM-SHA-512, username: "${env:KAFKA_USER}", password: "${file:secret}"}
---
kind: io.statefun.kafka.v1/egress
spec:
  id: out
  address: embedded
  deliverySemantic: {type: exactly-once, transactionTimeout: 15min}
  topic: results
  topics: [results, audit]
  create: 8
  compression: zstd
---
kind: io.statefun.kafka.v1/egress
spec: {id: plain, address: embedded}
`

func TestEveryFieldOfEveryKindIsRead(t *testing.T) {
	job := parsed(t, everything, nil)
	if job.Namespace != "team" || job.KeyGroups != 256 || job.Checkpoints != (functions.Checkpoints{Interval: 50 * time.Millisecond, Retain: 5}) {
		t.Errorf("job settings: %+v", job)
	}
	same(t, job.Restart, functions.Restart{
		Strategy: "failure-rate", Delay: time.Second, MaxDelay: 2 * time.Minute, Multiplier: 2, Jitter: 0.5,
		ResetAfter: 2 * time.Hour, Attempts: 7, Failures: 4, Interval: 5 * time.Minute,
	})
	same(t, job.Modules, []functions.Module{{
		File: "a.wasm", Build: "make a.wasm", Memory: 1 << 30, Time: 1500 * time.Millisecond, DeadLetter: "full-dead-letters",
		Retry:     functions.Retry{Attempts: 5, Backoff: time.Second, MaxBackoff: time.Minute},
		Overrides: map[string]functions.Retry{"ns/f": {Attempts: 1, Backoff: time.Second, MaxBackoff: time.Minute}},
	}})
	f, g := functions.TypeName{Namespace: "ns", Name: "f"}, functions.TypeName{Namespace: "ns", Name: "g"}
	same(t, job.Ingresses, []functions.Ingress{{
		ID: "events", Group: "full",
		Cluster: functions.Cluster{
			Address: "a:1,b:2",
			TLS:     &functions.TLS{CA: "ca.pem", Cert: "c.pem", Key: "k.pem", ServerName: "kafka.example"},
			SASL:    &functions.SASL{Mechanism: "SCRAM-SHA-512", Username: "${env:KAFKA_USER}", Password: "${file:secret}"},
		},
		Topics: []functions.IngressTopic{
			{Topic: "t", Targets: []functions.TypeName{f, g}, Create: 4, KeyHeader: "id"},
			{Pattern: "logs-.*", Targets: []functions.TypeName{f}},
		},
		Start:   functions.Start{Type: "specific-offsets", Offsets: map[string]int64{"t/0": 91, "t/1": 11}, Reset: "latest"},
		Invalid: functions.Invalid{NoKey: "skip", Tombstone: "deliver", Oversize: "fail", DeadLetter: "bad", MaxBytes: 2 << 20},
	}})
	same(t, job.Egresses, []functions.Egress{
		{
			ID: "out", Cluster: functions.Cluster{Address: "embedded"}, Delivery: functions.ExactlyOnce, Topic: "results",
			Topics: []string{"results", "audit"}, Create: 8, Compression: "zstd", TxnTimeout: 15 * time.Minute,
		},
		{
			ID: "plain", Cluster: functions.Cluster{Address: "embedded"}, Delivery: functions.AtLeastOnce, Topic: "plain",
			Topics: []string{"plain"}, Compression: "lz4", TxnTimeout: time.Minute,
		},
	})
	if len(job.Warnings) > 0 {
		t.Errorf("warnings: %v", job.Warnings)
	}
}

func TestAJobWithoutItsOwnDocumentIsNamedAfterItsModule(t *testing.T) {
	job := parsed(t, "kind: weir.v1/module\nspec: {file: build/counter.wasm}\n", nil)
	if job.Name != "counter" || job.Modules[0].DeadLetter != "counter-dead-letters" {
		t.Errorf("name %q, dead letters %q", job.Name, job.Modules[0].DeadLetter)
	}
}

func TestStateFunsStartupPositionsAreRead(t *testing.T) {
	moment := time.Date(2020, 2, 1, 4, 15, 0, 250e6, time.UTC)
	for spec, want := range map[string]functions.Start{
		"{type: latest}":        {Type: "latest"},
		"{type: group-offsets}": {Type: "group-offsets"},
		`{type: date, date: "2020-02-01 04:15:00.25 Z"}`:         {Type: "timestamp", Time: moment},
		`{type: date, date: "2020-02-01 05:15:00.250 +0100"}`:    {Type: "timestamp", Time: moment},
		`{type: timestamp, time: "2020-02-01T04:15:00.25Z"}`:     {Type: "timestamp", Time: moment},
		"{type: timestamp, time: 1580530500250}":                 {Type: "timestamp", Time: moment},
		"{type: specific-offsets, offsets: {a.b/0: 7, t/12: 0}}": {Type: "specific-offsets", Offsets: map[string]int64{"a.b/0": 7, "t/12": 0}},
	} {
		source := strings.Replace(billing, "{type: earliest}", spec, 1)
		want.Reset = "earliest"
		same(t, parsed(t, source, nil).Ingresses[0].Start, want)
	}
}

func TestKafkaClientPropertiesBecomeFieldsOfTheJob(t *testing.T) {
	job := parsed(t, strings.Replace(billing, "  consumerGroupId: ad-billing\n", `  properties:
    - group.id: java-group
    - auto.offset.reset: latest
    - security.protocol: sasl_ssl
    - sasl.mechanism: PLAIN
    - sasl.jaas.config: org.apache.kafka.common.security.plain.PlainLoginModule required username="ann" password="${env:PASSWORD}";
    - ssl.truststore.type: PEM
    - ssl.truststore.location: ca.pem
    - fetch.min.bytes: 1
`, 1), nil)
	in := job.Ingresses[0]
	same(t, in.Cluster, functions.Cluster{
		Address: "broker:9092", TLS: &functions.TLS{CA: "ca.pem"},
		SASL: &functions.SASL{Mechanism: "PLAIN", Username: "ann", Password: "${env:PASSWORD}"},
	})
	if in.Group != "java-group" || in.Start.Reset != "latest" {
		t.Errorf("group %q, reset %q", in.Group, in.Start.Reset)
	}
	same(t, job.Warnings, []functions.Problem{{
		File: "module.yaml", Line: 20, Column: 24, Path: "ingresses[0].properties[7][fetch.min.bytes]", What: "property fetch.min.bytes has no effect here",
	}})
}

func TestAnIntervalThatOutlastsHTTPCallsIsWarnedOf(t *testing.T) {
	const source = "kind: weir.v1/job\nspec: {name: a, checkpoints: {interval: 30s}}\n---\nkind: weir.v1/module\nspec: {file: a.wasm}\n"
	if job := parsed(t, source, nil); len(job.Warnings) > 0 {
		t.Errorf("30s: %v", job.Warnings)
	}
	job := parsed(t, strings.Replace(source, "30s", "31s", 1), nil)
	same(t, job.Warnings, []functions.Problem{{
		File: "module.yaml", Line: 2, Column: 41, Path: "checkpoints.interval",
		What: "HTTP calls wait for a checkpoint, and for 30s at most: with an interval of 31s they can end in 504",
	}})
}

func TestReferencesAreResolvedButForCredentials(t *testing.T) {
	env := func(scheme, name string) (string, error) {
		if scheme == "env" && name == "HOST" {
			return "kafka-1", nil
		}
		if scheme == "file" && name == "/run/port" {
			return "9094", nil
		}
		return "", errors.New("there is none")
	}
	source := strings.Replace(billing, "address: broker:9092\n", `address: "${env:HOST}:${file:/run/port}"
  sasl: {mechanism: PLAIN, username: "${env:USER_OF_KAFKA}", password: "${env:PASSWORD_OF_KAFKA}"}
`, 1)
	job := parsed(t, source, env)
	same(t, job.Ingresses[0].Cluster, functions.Cluster{
		Address: "kafka-1:9094",
		SASL:    &functions.SASL{Mechanism: "PLAIN", Username: "${env:USER_OF_KAFKA}", Password: "${env:PASSWORD_OF_KAFKA}"},
	})
	if _, err := functions.ParseJob([]byte(source), "module.yaml", nil); err == nil || !strings.Contains(err.Error(), "module.yaml:11:12: address: ${env:HOST}: references are not resolved here") {
		t.Errorf("without a lookup: %v", err)
	}
}

func TestALiteralPasswordIsTakenWithAWarning(t *testing.T) {
	job := parsed(t, strings.Replace(billing, "  topics:", `  sasl: {mechanism: PLAIN, username: ann, password: hunter2}
  topics:`, 1), nil)
	if len(job.Warnings) != 1 || job.Warnings[0].Line != 14 || strings.Contains(job.Warnings[0].Error(), "hunter2") {
		t.Errorf("warnings %v", job.Warnings)
	}
}

func TestSecretsAreResolvedWhenAskedFor(t *testing.T) {
	env := func(scheme, name string) (string, error) {
		if name == "missing" {
			return "", errors.New("it is not set")
		}
		return strings.ToUpper(scheme + "-" + name), nil
	}
	for ref, want := range map[string]string{
		"plain": "plain", "${env:a}": "ENV-A", "x${file:b}y${env:c}z": "xFILE-ByENV-Cz", "$${env:a}": "${env:a}", "a$b": "a$b", "": "",
	} {
		if got, err := functions.ResolveSecret(ref, env); err != nil || got != want {
			t.Errorf("ResolveSecret(%q) = %q, %v; want %q", ref, got, err, want)
		}
	}
	for _, ref := range []string{"${env:missing}", "${env:}", "${other:x}", "${env:a", "${}"} {
		if got, err := functions.ResolveSecret(ref, env); err == nil {
			t.Errorf("ResolveSecret(%q) = %q, want an error", ref, got)
		}
	}
}

// same compares whole values by their JSON, which is what is stored and compared of a job everywhere.
func same(t *testing.T, got, want any) {
	t.Helper()
	if a, b := asJSON(t, got), asJSON(t, want); a != b {
		t.Errorf("got  %s\nwant %s", a, b)
	}
}

func FuzzParseJob(f *testing.F) {
	f.Add([]byte(billing))
	f.Add([]byte("kind: weir.v1/job\nspec: {name: [a, {b: c}]}\n---\n# only\n---\nkind: io.statefun.kafka.v1/egress\nspec:\n  properties:\n  - acks: 1\n"))
	f.Add([]byte("a: &x 1\nb: *x\n"))
	f.Add([]byte("kind: |\n  text\n? a\n: b\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		job, err := functions.ParseJob(source, "module.yaml", func(scheme, name string) (string, error) { return name, nil })
		var bad *functions.ParseError
		switch {
		case err == nil:
			if again := job.Validate(); again != nil {
				t.Errorf("accepted, and then refused: %v", again)
			}
			if !reflect.DeepEqual(asJSON(t, job), asJSON(t, job)) {
				t.Error("its JSON is not stable")
			}
		case !errors.As(err, &bad) || len(bad.Problems) == 0:
			t.Errorf("error %T %v", err, err)
		default:
			lines := strings.Count(string(source), "\n") + 1
			for _, problem := range bad.Problems {
				if problem.Line < 1 || problem.Line > lines || problem.Column < 1 {
					t.Errorf("%s stands outside of the %d lines", problem.Error(), lines)
				}
			}
		}
	})
}

func ExampleParseJob() {
	_, err := functions.ParseJob([]byte("kind: weir.v1/module\nspec:\n  file: counter.wasm\n  limit: {memory: 1MiB}\n"), "module.yaml", nil)
	fmt.Println(err)
	// Output:
	// module.yaml:4:3: unknown field "limit"
	//   did you mean "limits"?
}

func TestAnIngressMaySayWhereItEnds(t *testing.T) {
	for text, want := range map[string]*functions.Bound{
		"":                        nil,
		"bounded: {type: latest}": {Type: "latest"},
		"bounded: {type: timestamp, time: '2026-11-21T07:14:00Z'}": {Type: "timestamp", Time: time.Date(2026, 11, 21, 7, 14, 0, 0, time.UTC)},
		"bounded: {type: date, date: 2026-11-21 07:14:00.00 Z}":    {Type: "timestamp", Time: time.Date(2026, 11, 21, 7, 14, 0, 0, time.UTC)},
	} {
		job := parsed(t, strings.Replace(billing, "startupPosition: {type: earliest}", text, 1), nil)
		if got := asJSON(t, job.Ingresses[0].Bounded); got != asJSON(t, want) {
			t.Errorf("%q: got %s, want %s", text, got, asJSON(t, want))
		}
	}
}
