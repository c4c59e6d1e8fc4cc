package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestCredentialsOfTheEnvironmentArePrintedAsReferencesToIt(t *testing.T) {
	var out, complaint bytes.Buffer
	s := &shell{out: &out, err: &complaint, dir: t.TempDir(), environ: []string{
		"WEIR_KAFKA=broker:9094", "WEIR_KAFKA_SASL_MECHANISM=PLAIN", "WEIR_KAFKA_SASL_USERNAME=weir", "WEIR_KAFKA_SASL_PASSWORD=hush",
	}}
	if code := s.run(t.Context(), []string{"server", "--print-config"}); code != exitDone {
		t.Fatalf("exit %d: %s", code, &complaint)
	}
	for _, want := range []string{
		"kafka-sasl-password: ${env:WEIR_KAFKA_SASL_PASSWORD}\n", "kafka-sasl-username: ${env:WEIR_KAFKA_SASL_USERNAME}\n",
		"kafka-security-protocol: SASL_SSL\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, &out)
		}
	}
	if strings.Contains(out.String()+complaint.String(), "hush") {
		t.Errorf("the password is shown: %s%s", &out, &complaint)
	}
}

func TestAVariableThatCannotBeReadIsNamed(t *testing.T) {
	for entry, want := range map[string]string{
		"WEIR_SLOTS=x":         "error: configuration: environment variable WEIR_SLOTS is \"x\"; want a whole number\n",
		"WEIR_METRICS=perhaps": "error: configuration: environment variable WEIR_METRICS is \"perhaps\"; want true or false\n",
		"WEIR_TRACE_RATIO=all": "error: configuration: environment variable WEIR_TRACE_RATIO is \"all\"; want a number\n",
		"WEIR_SLOST=3":         "warning: environment variable WEIR_SLOST is not known\n",
		"WEIR_SLOTS=0x10":      "",
	} {
		var complaint bytes.Buffer
		s := &shell{out: &bytes.Buffer{}, err: &complaint, dir: t.TempDir(), environ: []string{entry}}
		s.run(t.Context(), []string{"server", "--print-config"})
		if complaint.String() != want {
			t.Errorf("%s: %q", entry, &complaint)
		}
	}
	s := &shell{out: &bytes.Buffer{}, err: &bytes.Buffer{}, dir: t.TempDir(), environ: []string{"WEIR_SLOTS=x"}}
	if code := s.run(t.Context(), []string{"server", "--print-config", "--slots", "3"}); code != exitDone {
		t.Errorf("a flag wins over the environment: exit %d: %s", code, s.err)
	}
}

func FuzzConfigurationFile(f *testing.F) {
	for _, seed := range []string{
		"listen: 127.0.0.1:1\nslots: 3\n", "slots: many", "unknown: 1", "listen:", "listen: |\n  x", "- a", "a: &a {}\nb: *a", "insecure-listen: {}",
		"? slots\n: 1", "---\nslots: 1\n---\nslots: 2", "slots: !!str 3",
	} {
		f.Add([]byte(seed))
	}
	flags := configFlags("data", "", "broker")
	f.Fuzz(func(t *testing.T, text []byte) {
		values, err := strictYAML{file: "weir.yaml", flags: flags}.Unmarshal(text)
		if err != nil {
			return
		}
		for key := range values {
			if flags.Lookup(key) == nil {
				t.Errorf("unknown key %q was taken from %q", key, text)
			}
		}
	})
}
