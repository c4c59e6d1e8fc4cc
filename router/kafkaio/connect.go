package kafkaio

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

const (
	// firstBackoff is short because CONCURRENT_TRANSACTIONS after a commit heals within a millisecond or two; the
	// library's own 250 ms would become the latency of every busy lane.
	firstBackoff = time.Millisecond
	// maxBackoff keeps the wait after an outage short and an outage cheap.
	maxBackoff = time.Second
	// requestTimeout bounds one request and its retries, so that a stalled broker is noticed and said.
	requestTimeout = 15 * time.Second
)

// Secrets resolves a credential reference such as ${env:NAME} when a connection is made.
type Secrets func(ref string) (string, error)

// backoff is the wait before retry n, from 1.
func backoff(n int) time.Duration {
	if n > 10 {
		return maxBackoff
	}
	return min(firstBackoff<<max(n-1, 0), maxBackoff)
}

// pause waits before retry n, or ends with ctx.
func pause(ctx context.Context, n int) error {
	t := time.NewTimer(backoff(n))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// options are those that every client of a cluster has. Nothing connects before the first request.
func options(c functions.Cluster, secrets Secrets, clientID string, w *watch) ([]kgo.Opt, error) {
	var seeds []string
	for s := range strings.SplitSeq(c.Address, ",") {
		if s = strings.TrimSpace(s); s != "" {
			seeds = append(seeds, s)
		}
	}
	if len(seeds) == 0 {
		return nil, errors.New("kafka cluster has no address")
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.ClientID(clientID), kgo.WithHooks(w),
		kgo.RetryBackoffFn(backoff), kgo.DisableClientMetrics(),
	}
	if c.TLS != nil {
		conf, err := tlsConfig(c.TLS)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.DialTLSConfig(conf))
	}
	if c.SASL != nil {
		m, err := mechanism(c.SASL, secrets)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

func tlsConfig(t *functions.TLS) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read certificate authority: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificate authority %s: no PEM certificate in it", t.CA)
		}
	}
	if t.Cert != "" || t.Key != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

func mechanism(s *functions.SASL, secrets Secrets) (sasl.Mechanism, error) {
	resolve := func() (user, pass string, err error) {
		user, pass = s.Username, s.Password
		if secrets != nil {
			if user, err = secrets(s.Username); err != nil {
				return "", "", fmt.Errorf("%w: resolve username: %w", router.ErrAuth, err)
			}
			if pass, err = secrets(s.Password); err != nil {
				return "", "", fmt.Errorf("%w: resolve password: %w", router.ErrAuth, err)
			}
		}
		if user == "" || pass == "" {
			return "", "", fmt.Errorf("%w: username or password is empty", router.ErrAuth)
		}
		return user, pass, nil
	}
	scramAuth := func(context.Context) (scram.Auth, error) {
		user, pass, err := resolve()
		return scram.Auth{User: user, Pass: pass}, err
	}
	switch s.Mechanism {
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			user, pass, err := resolve()
			return plain.Auth{User: user, Pass: pass}, err
		}), nil
	case "SCRAM-SHA-256":
		return scram.Sha256(scramAuth), nil
	case "SCRAM-SHA-512":
		return scram.Sha512(scramAuth), nil
	}
	return nil, fmt.Errorf("sasl mechanism %q is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", s.Mechanism)
}

// watch tells once when a broker cannot be reached, and once when it can be again. A refusal of the credentials is kept
// for the owner, because no retry heals it.
type watch struct {
	log     *slog.Logger
	refused chan error // capacity 1: the first refusal

	mu   sync.Mutex // guards down
	down map[string]bool
}

func newWatch(log *slog.Logger) *watch {
	return &watch{log: log, refused: make(chan error, 1), down: map[string]bool{}}
}

// OnBrokerConnect is the client's hook after each attempt to connect.
func (w *watch) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	if isAuth(err) {
		select {
		case w.refused <- fmt.Errorf("connect to kafka %s:%d: %w", meta.Host, meta.Port, authError(err)):
		default:
		}
		return
	}
	addr := net.JoinHostPort(meta.Host, fmt.Sprint(meta.Port))
	w.mu.Lock()
	was := w.down[addr]
	w.down[addr] = err != nil
	w.mu.Unlock()
	switch {
	case err != nil && !was:
		w.log.Warn("kafka cannot be reached, waiting for it", "broker", addr, "err", err)
	case err == nil && was:
		w.log.Info("kafka is reached again", "broker", addr)
	}
}

// isAuth says whether err means that this identity may not do what it asked for.
func isAuth(err error) bool {
	for _, e := range []error{
		router.ErrAuth, kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState,
		kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.GroupAuthorizationFailed,
		kerr.TopicAuthorizationFailed,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// authError makes a refused identity a router.ErrAuth, once. Other errors, and a refused record, stay what they are.
func authError(err error) error {
	if !isAuth(err) || errors.Is(err, router.ErrAuth) || errors.Is(err, router.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", router.ErrAuth, err)
}

// token puts a token into a channel of capacity 1, unless there is one.
func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
