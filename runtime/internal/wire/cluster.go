package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/weir-run/weir/functions"
)

// ClusterKey names a Kafka cluster in lanes and manifests: equal fields, equal key.
func ClusterKey(c functions.Cluster) string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("wire: encode cluster: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:4])
}
