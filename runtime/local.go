// Package runtime connects the roles of a cluster. Within one process they exchange wire messages over a network in
// memory; the roles themselves are in its subpackages and never import one another. It hides only which transport that
// is.
package runtime

import "github.com/weir-run/weir/runtime/internal/wire"

// Names under which roles join a network, and address one another.
const (
	JobManager      = "jobmanager"
	ResourceManager = "resourcemanager"
)

// Local makes a network within this process. Roles join it by name: the two above, and any other for a TaskManager.
func Local() *wire.Network { return wire.NewNetwork() }
