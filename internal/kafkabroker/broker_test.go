//go:build e2e

package kafkabroker_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-run/weir/internal/kafkabroker"
)

// firstPort is far from the ports of other packages' brokers, which run at the same time.
const firstPort = 23492

func TestBrokerComesBackWithItsDataAfterKill(t *testing.T) {
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	authority, err := kafkabroker.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	for n, version := range []string{kafkabroker.Version, kafkabroker.Older} {
		t.Run(version, func(t *testing.T) {
			b, err := kafkabroker.Start(t.Context(), kafkabroker.Config{
				Version: version, Dir: t.TempDir(), Port: firstPort + 10*n, Cache: filepath.Join(cache, "weir-kafka"), Username: "weir", Password: "secret", Authority: authority,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := b.Stop(); err != nil {
					t.Error(err)
				}
			})
			for range 2 {
				if err := b.Kill(); err != nil {
					t.Fatal(err)
				}
				if c, err := net.Dial("tcp", b.Address()); err == nil {
					c.Close()
					t.Fatal("a killed broker answers")
				}
				if err := b.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
