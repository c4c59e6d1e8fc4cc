package kafkaio_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/internal/kafkabroker"
	"github.com/weir-run/weir/router/kafkaio"
	"github.com/weir-run/weir/router/routertest"
)

func authority(t *testing.T) *kafkabroker.Authority {
	t.Helper()
	a, err := kafkabroker.NewAuthority("authority")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issue puts certificates into dir, or into a folder of their own.
func issue(t *testing.T, a *kafkabroker.Authority, dir string) *functions.TLS {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	if err := a.Issue(dir, "weir"); err != nil {
		t.Fatal(err)
	}
	return &functions.TLS{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
}

// listening is the configuration of a broker that wants client certificates; its own and those it trusts are read for
// each connection.
func listening(t *testing.T, files *functions.TLS) *tls.Config {
	t.Helper()
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
		if err != nil {
			return nil, err
		}
		pem, err := os.ReadFile(files.CA)
		if err != nil {
			return nil, err
		}
		conf := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
		conf.ClientCAs.AppendCertsFromPEM(pem)
		return conf, nil
	}}
}

// reach connects once, with a client of its own.
func reach(t *testing.T, cluster functions.Cluster) (reached error) {
	t.Helper()
	c, err := kafkaio.OpenClient(cluster, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	within(t, "reach", func(ctx context.Context) error {
		reached = c.Reach(ctx)
		return nil
	})
	return reached
}

// unfit tries a cluster that must not be usable, for a reason.
func unfit(t *testing.T, cluster functions.Cluster, want kafkaio.Misfit) {
	t.Helper()
	err := reach(t, cluster)
	var got *kafkaio.ConnectionError
	if !errors.As(err, &got) || got.Misfit != want || !strings.HasPrefix(err.Error(), "reach kafka: broker "+cluster.Address+" ") {
		t.Errorf("got %v, want a broker that %v", err, want)
	}
	if err != nil && strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v holds the password", err)
	}
}

func TestABrokerThatDoesNotFitItsSettingsIsNamedWithTheReason(t *testing.T) {
	home, foreign := authority(t), authority(t)
	broker := issue(t, home, "")
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(listening(t, broker)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	good, bad := issue(t, home, ""), issue(t, foreign, "")
	secure := c.ListenAddrs()[0]
	if err := reach(t, functions.Cluster{Address: secure, TLS: good}); err != nil {
		t.Errorf("with the right certificates: %v", err)
	}
	for name, one := range map[string]struct {
		address string
		tls     *functions.TLS
		want    kafkaio.Misfit
	}{
		"wrong authority":         {secure, &functions.TLS{CA: bad.CA, Cert: good.Cert, Key: good.Key}, kafkaio.Untrusted},
		"the system's":            {secure, &functions.TLS{}, kafkaio.Untrusted},
		"wrong name":              {secure, &functions.TLS{CA: good.CA, Cert: good.Cert, Key: good.Key, ServerName: "kafka.example"}, kafkaio.WrongName},
		"no client certificate":   {secure, &functions.TLS{CA: good.CA}, kafkaio.ClientRefused},
		"wrong one":               {secure, &functions.TLS{CA: good.CA, Cert: bad.Cert, Key: bad.Key}, kafkaio.ClientRefused},
		"no TLS where it must be": {secure, nil, kafkaio.WantsTLS},
	} {
		t.Run(name, func(t *testing.T) { unfit(t, functions.Cluster{Address: one.address, TLS: one.tls}, one.want) })
	}
}

func TestRenewedCertificatesAreUsedByTheNextConnection(t *testing.T) {
	before, after := authority(t), authority(t)
	brokerDir, clientDir := t.TempDir(), t.TempDir()
	broker, client := issue(t, before, brokerDir), issue(t, before, clientDir)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(listening(t, broker)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	// One client that lives through the renewal: consuming makes a connection of its own each time.
	c, err := kafkaio.OpenClient(functions.Cluster{Address: cluster.ListenAddrs()[0], TLS: client}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	within(t, "create", func(ctx context.Context) error { return c.Create(ctx, "clicks", 1, nil) })
	read := func() (err error) {
		within(t, "consume", func(ctx context.Context) error {
			if _, _, err := c.Produce(ctx, &kafkaio.ProducedRecord{Topic: "clicks", Partition: 0, Value: []byte("v")}); err != nil {
				return err
			}
			err = c.Consume(ctx, kafkaio.Consumption{Topic: "clicks", Partition: -1, Offset: kafkaio.FromStart, Count: 1}, func(*kafkaio.ConsumedRecord) error { return nil })
			return nil
		})
		return err
	}
	if err := read(); err != nil {
		t.Fatalf("before: %v", err)
	}
	issue(t, after, brokerDir)
	var misfit *kafkaio.ConnectionError
	if err := read(); !errors.As(err, &misfit) || misfit.Misfit != kafkaio.Untrusted {
		t.Fatalf("the broker's certificate is renewed, the client's are not: %v", err)
	}
	issue(t, after, clientDir)
	if err := read(); err != nil {
		t.Fatalf("after: %v", err)
	}
	// Half of a renewal: the key of another certificate.
	if err := os.WriteFile(client.Key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil {
		t.Errorf("with a broken key on disk, the last good one is not used: %v", err)
	}
}

// TestAKilledBrokerIsNoMisfit has connections that end at their first request: they are reset, as the system does for a
// process that is killed, or end in order at a broker that was reached before.
func TestAKilledBrokerIsNoMisfit(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			_, err = c.Read(make([]byte, 1))
			_ = errors.Join(err, c.(*net.TCPConn).SetLinger(0), c.Close()) // the client finds out
		}
	}()
	var misfit *kafkaio.ConnectionError
	if err := reach(t, functions.Cluster{Address: l.Addr().String()}); err == nil || errors.As(err, &misfit) {
		t.Errorf("reset: %v, want an error that is no misfit", err)
	}
	cut := &cutter{}
	_, k := fake(t, kfake.ListenFn(cut.listen))
	k.Create(t, "clicks", 1)
	k.Write(t, "clicks", routertest.Record{Value: []byte("v")})
	client, err := kafkaio.OpenClient(k.cluster(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	within(t, "consume", func(ctx context.Context) error {
		if err := client.Reach(ctx); err != nil {
			return err
		}
		cut.before.Store(int32(kmsg.ApiVersions) + 1)
		err := client.Consume(ctx, kafkaio.Consumption{Topic: "clicks", Partition: -1, Offset: kafkaio.FromStart, Count: 1}, func(*kafkaio.ConsumedRecord) error { return nil })
		if err == nil || errors.As(err, &misfit) {
			t.Errorf("ended once: %v, want an error that is no misfit", err)
		}
		return nil
	})
}
