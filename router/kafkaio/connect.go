package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
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

// Dial opens a connection to a broker in place of TCP: to one in this process.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

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
func options(c functions.Cluster, secrets Secrets, clientID string, w *watch, dial Dial) ([]kgo.Opt, error) {
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
	if dial != nil {
		opts = append(opts, kgo.Dialer(dial))
	}
	if c.TLS != nil {
		keys, err := openKeys(c.TLS, w.log)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.Dialer(keys.dial))
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

// reach is what is known of a broker.
type reach uint8

const (
	reached reach = iota
	away          // no connection comes about
	unfit         // it does, but the broker and the settings do not fit
)

// watch tells once when a broker cannot be reached or used, and once when it can be again. A refusal of the credentials
// is kept for the owner, because no retry heals it, and so is the first misfit, for those who do not wait.
type watch struct {
	log     *slog.Logger
	refused chan error            // capacity 1: the first refusal
	misfits chan *ConnectionError // capacity 1: the first misfit

	mu     sync.Mutex // guards what follows
	states map[string]reach
	fitted map[string]bool // those that were reached once: settings do not change, so that what ends a connection is no misfit
}

func newWatch(log *slog.Logger) *watch {
	return &watch{log: log, refused: make(chan error, 1), misfits: make(chan *ConnectionError, 1), states: map[string]reach{}, fitted: map[string]bool{}}
}

// OnBrokerConnect is the client's hook after each attempt to connect. conn is nil when no connection came about.
func (w *watch) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, conn net.Conn, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	addr := net.JoinHostPort(meta.Host, fmt.Sprint(meta.Port))
	state := reached
	if err != nil {
		state = away
		m := misfit(addr, conn, err)
		if m != nil && (m.Misfit == WantsTLS || m.Misfit == NoTLS) && w.fits(addr) {
			m, err = nil, m.Err // the broker was stopped, or killed
		}
		if m != nil {
			err = m
			if m.Misfit != Silent { // it may hang
				state = unfit
			}
			select {
			case w.misfits <- m:
			default:
			}
		}
	}
	if isAuth(err) {
		if state == away {
			err = fmt.Errorf("connect to kafka %s: %w", addr, authError(err))
		}
		select {
		case w.refused <- err:
		default:
		}
		return
	}
	w.mu.Lock()
	was := w.states[addr]
	w.states[addr] = state
	w.fitted[addr] = w.fitted[addr] || state == reached
	w.mu.Unlock()
	switch {
	case state == was:
	case state == away:
		w.log.Warn("kafka cannot be reached, waiting for it", "broker", addr, "err", err)
	case state == unfit:
		w.log.Warn("kafka cannot be used with these settings, waiting for them to fit", "broker", addr, "err", err)
	default:
		w.log.Info("kafka is reached again", "broker", addr)
	}
}

func (w *watch) fits(addr string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fitted[addr]
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
