package statestoretest_test

import (
	"testing"

	"github.com/weir-run/weir/statestore"
	"github.com/weir-run/weir/statestore/statestoretest"
)

func TestTheTwinMeetsTheContract(t *testing.T) {
	statestoretest.Run(t, func(*testing.T) statestore.Backend { return statestoretest.NewTwin() })
}
