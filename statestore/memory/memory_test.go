package memory_test

import (
	"testing"

	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/memory"
	"github.com/weir-run/weir/statestore/statestoretest"
)

func TestMemoryMeetsTheContract(t *testing.T) {
	statestoretest.Run(t, func(*testing.T) statestore.Backend {
		return memory.New(memory.Config{To: statestoretest.Groups})
	})
}
