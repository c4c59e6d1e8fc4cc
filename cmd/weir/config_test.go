package main

import (
	"testing"
)

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
