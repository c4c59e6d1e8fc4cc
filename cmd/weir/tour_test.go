package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The tour runs here with a stand-in for the binary, which finds a port in use.
func TestTheTourSaysHowToChooseAnotherPort(t *testing.T) {
	tour, err := os.ReadFile(filepath.Join("..", "..", "tools", "tour.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{
		"--listen":     "make run LISTEN=127.0.0.1:18088",
		"--data-plane": "make run DATA_PLANE=127.0.0.1:18089",
		"--kafka":      "make run KAFKA=127.0.0.1:19092",
	} {
		root := t.TempDir()
		for _, dir := range []string{"bin", "tools"} {
			if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		write(t, filepath.Join(root, "tools"), "tour.sh", string(tour))
		inUse := "echo 'error: port 1 is in use: another process listens on 127.0.0.1:1'\n" +
			"echo '  stop it, or choose another address with " + flag + " host:port'\nexit 1\n"
		if err := os.WriteFile(filepath.Join(root, "bin", "weir"), []byte("#!/bin/sh\n"+inUse), 0o755); err != nil {
			t.Fatal(err)
		}
		said, err := exec.CommandContext(t.Context(), "sh", filepath.Join(root, "tools", "tour.sh")).CombinedOutput()
		if err == nil || !strings.Contains(string(said), "port 1 is in use") || !strings.Contains(string(said), want) {
			t.Errorf("%s: %v: %s", flag, err, said)
		}
	}
}
