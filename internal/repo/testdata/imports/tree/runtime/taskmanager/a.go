// Package taskmanager names an adapter, another role, and what it may.
package taskmanager

import (
	_ "github.com/weir-run/weir/functions"
	_ "github.com/weir-run/weir/runtime/jobmanager"
	_ "github.com/weir-run/weir/statestore/memory"
)
