package taskmanager_test

import (
	_ "github.com/weir-run/weir/runtime/resourcemanager"
	_ "github.com/weir-run/weir/statestore/memory"
)
