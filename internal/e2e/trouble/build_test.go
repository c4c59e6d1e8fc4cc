//go:build e2e

package trouble

import (
	"context"
	"os"
	"os/exec"
)

// build compiles the counter example for a job of these tests.
func build(ctx context.Context, root, into string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", into, "./examples/counter")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	output, err := cmd.CombinedOutput()
	return string(output), err
}
