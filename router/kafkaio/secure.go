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
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weir-run/weir/functions"
)

// dialTimeout bounds connecting together with the handshake: both take milliseconds, unless a packet filter is silent.
const dialTimeout = 10 * time.Second

// Misfit is what keeps a broker and the settings of its cluster from working together.
type Misfit uint8

// The misfits, in the words of the one who has to mend them.
const (
	Untrusted     Misfit = iota + 1 // the broker's certificate is of no authority that is trusted
	WrongName                       // the broker's certificate is for another name
	NotValid                        // the broker's certificate has expired, or cannot be used for another reason
	NoTLS                           // the broker's listener speaks no TLS
	Silent                          // it takes the connection, and does not answer a handshake
	ClientRefused                   // the broker refuses the client certificate, or misses it
	WantsTLS                        // the broker's listener speaks TLS only
	WantsSASL                       // the broker answers nobody without credentials
	WrongPassword                   // the broker refuses user name and password
	NoMechanism                     // the broker's listener has no SASL, or another mechanism
)

// String goes on after the name of the broker.
func (m Misfit) String() string {
	switch m {
	case Untrusted:
		return "shows a certificate that is not trusted"
	case WrongName:
		return "shows a certificate for another name"
	case NotValid:
		return "shows a certificate that is not valid"
	case NoTLS:
		return "speaks no TLS"
	case Silent:
		return "does not answer a TLS handshake: it speaks no TLS, or hangs"
	case ClientRefused:
		return "refuses the client certificate, or misses it"
	case WantsTLS:
		return "ends a connection without TLS: it wants TLS, or is no Kafka broker"
	case WantsSASL:
		return "ends the connection at the first request: it wants SASL"
	case WrongPassword:
		return "refuses user name and password"
	case NoMechanism:
		return "has no SASL of this mechanism here"
	}
	panic(fmt.Sprintf("kafkaio: no such misfit: %d", m))
}

// ConnectionError says why a broker that was reached cannot be used with the settings of its cluster. It heals when
// either of them changes: certificates are read again for every connection.
type ConnectionError struct {
	Broker string // host:port
	Misfit Misfit
	Err    error // what was met; it holds no credentials
}

func (e *ConnectionError) Error() string {
	return fmt.Sprintf("broker %s %s: %v", e.Broker, e.Misfit, e.Err)
}

// Unwrap gives the cause to errors.Is: a refused identity is router.ErrAuth.
func (e *ConnectionError) Unwrap() error { return e.Err }

// keys are the certificates of one cluster. They are read for each connection, so that renewed files need no restart;
// files that cannot be used are no reason to lose a broker, because they may be half renewed: the last good ones are.
type keys struct {
	spec functions.TLS
	log  *slog.Logger

	mu   sync.Mutex // guards last
	last *tls.Config
}

// openKeys reads certificates for the first time, and refuses those that cannot be used.
func openKeys(spec *functions.TLS, log *slog.Logger) (*keys, error) {
	k := &keys{spec: *spec, log: log}
	var err error
	k.last, err = k.read()
	return k, err
}

func (k *keys) read() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: k.spec.ServerName}
	if k.spec.CA != "" {
		pem, err := os.ReadFile(k.spec.CA)
		if err != nil {
			return nil, fmt.Errorf("read certificate authority: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificate authority %s: no PEM certificate in it", k.spec.CA)
		}
	}
	if k.spec.Cert != "" || k.spec.Key != "" {
		pair, err := tls.LoadX509KeyPair(k.spec.Cert, k.spec.Key)
		if err != nil {
			return nil, fmt.Errorf("read client certificate %s and key %s: %w", k.spec.Cert, k.spec.Key, err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}

// config is for one connection.
func (k *keys) config() *tls.Config {
	conf, err := k.read()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		k.log.Warn("kafka certificates cannot be read, using those read before", "err", err)
		return k.last
	}
	k.last = conf
	return conf
}

// dial connects and shakes hands.
func (k *keys) dial(asked context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(asked, dialTimeout)
	defer cancel()
	plain, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conf := k.config()
	if conf.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("name of broker %s: %w", address, err), plain.Close())
		}
		conf = conf.Clone()
		conf.ServerName = host
	}
	conn := tls.Client(plain, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = plain.Close() // nothing was sent on it
		if asked.Err() != nil {
			return nil, err
		}
		return nil, &ConnectionError{Broker: address, Misfit: handshakeMisfit(err), Err: err}
	}
	return conn, nil
}

func handshakeMisfit(err error) Misfit {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var other *tls.CertificateVerificationError
	switch {
	case timedOut(err):
		return Silent
	case errors.As(err, &authority):
		return Untrusted
	case errors.As(err, &name):
		return WrongName
	case errors.As(err, &other):
		return NotValid
	case isAlert(err):
		return ClientRefused
	}
	return NoTLS
}

// isAlert says whether the other side ended TLS with an alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// timedOut says whether a broker did not answer in time, which says nothing of its settings.
func timedOut(err error) bool {
	var slow net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout()
}

// misfit is what a failure to connect means, or nil when the broker was not reached, or did not answer. conn is nil when
// there was none to negotiate on.
func misfit(address string, conn net.Conn, err error) *ConnectionError {
	var known *ConnectionError
	if errors.As(err, &known) {
		return known
	}
	_, encrypted := conn.(*tls.Conn)
	switch {
	case errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return &ConnectionError{address, NoMechanism, authError(err)}
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return &ConnectionError{address, WrongPassword, authError(err)}
	case conn == nil, isAuth(err), timedOut(err):
		return nil
	case !encrypted && errors.Is(err, syscall.ECONNRESET): // the broker was killed: one that wants TLS reads, and then ends
		return nil
	case isAlert(err):
		return &ConnectionError{address, ClientRefused, err}
	case !encrypted:
		return &ConnectionError{address, WantsTLS, err}
	}
	return nil
}
