package runtime_test

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/weir-run/weir/runtime/jobmanager"
)

func TestADeploymentWhoseRecordIsInDoubtCanBeRepeated(t *testing.T) {
	for _, step := range []string{"create", "sync", "ack"} {
		t.Run(step, func(t *testing.T) {
			c := start(t, counter)
			var failed atomic.Int64
			c.Fault(func(s, name string) error {
				if s == step && strings.HasPrefix(name, "registry/") && failed.Add(1)%2 == 1 {
					return syscall.EIO
				}
				return nil
			})
			for parallelism := range 3 { // the first makes the job, the others restart it
				job := c.Job("job", "v1", 1+parallelism)
				if view, err := c.Jobs.Deploy(t.Context(), job, jobmanager.DeployOptions{}); err == nil {
					t.Fatalf("deployed although the disk failed: %+v", view)
				}
				c.Deploy(job)
			}
			if got := c.Call("t/counter", "ann", "1"); string(got.Body) != "1" {
				t.Fatalf("%+v", got)
			}
		})
	}
}
