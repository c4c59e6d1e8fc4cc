//go:build e2e

package kafkaio_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/weir-run/weir/router/kafkaio"
)

// A client that shares no code with us: kcat, on librdkafka, produces and consumes, also as a member of a consumer group.
func TestKcatSpeaksToTheEmbeddedBroker(t *testing.T) {
	broker, err := kafkaio.StartEmbedded(t.Context(), kafkaio.EmbeddedConfig{Dir: t.TempDir(), Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	kcat := func(input string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "kcat", append([]string{"-b", broker.Address()}, args...)...)
		cmd.Stdin = strings.NewReader(input)
		output, err := cmd.Output()
		if err != nil {
			t.Fatalf("kcat %v: %v (Debian's package kcat has it)", args, err)
		}
		return string(output)
	}
	kcat("ann=3\nben=4\n", "-P", "-t", "clicks", "-K", "=", "-z", "lz4")
	if got := kcat("", "-C", "-t", "clicks", "-o", "beginning", "-e", "-q", "-f", "%k=%s\n"); len(got) != len("ann=3\nben=4\n") ||
		!strings.Contains(got, "ann=3\n") || !strings.Contains(got, "ben=4\n") {
		t.Fatalf("kcat read %q", got)
	}
	if got := kcat("", "-G", "readers", "-c", "2", "-o", "beginning", "-e", "-q", "-f", "%s\n", "clicks"); len(got) != 4 {
		t.Fatalf("the group read %q", got)
	}
	if got := kcat("", "-L", "-t", "clicks"); !strings.Contains(got, `topic "clicks"`) {
		t.Fatalf("kcat lists %q", got)
	}
}
