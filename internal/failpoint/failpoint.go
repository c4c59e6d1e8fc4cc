//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var point struct {
	once sync.Once
	mu   sync.Mutex
	name string
	left int
}

// Hit kills the process with SIGKILL when WEIR_FAILPOINT is "name" or "name:n" and this is the n-th hit of name.
func Hit(name string) {
	point.once.Do(func() {
		var count string
		point.name, count, _ = strings.Cut(os.Getenv("WEIR_FAILPOINT"), ":")
		point.left = 1
		if n, err := strconv.Atoi(count); err == nil {
			point.left = n
		}
	})
	if point.name != name {
		return
	}
	point.mu.Lock()
	defer point.mu.Unlock()
	if point.left--; point.left == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // the process does not live to see an error
		select {}
	}
}
