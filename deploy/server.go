package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// headerTimeout frees connections of clients that never finish their request line and headers.
	headerTimeout = 5 * time.Second
	// idleTimeout is longer than the time between a person's commands, so that tools keep their connection.
	idleTimeout = 2 * time.Minute
	// maxHeaderBytes is ample: the API reads four headers.
	maxHeaderBytes = 16 << 10
	// drainTimeout is how long requests that run may go on when the server stops.
	drainTimeout = 5 * time.Second
)

// Server listens for a handler on one address.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen takes the address; Run serves on it. There is no authentication yet, so an address that is not loopback is
// refused unless insecure is set. ErrPortInUse names the port when another process holds it. On loopback only requests
// that name a loopback host are answered, and none that a web page of another origin sent: a browser must not become a
// way in.
func Listen(address string, insecure bool, handler http.Handler, log *slog.Logger) (*Server, error) {
	loopback, err := IsLoopback(address)
	if err != nil {
		return nil, err
	}
	if !loopback && !insecure {
		return nil, fmt.Errorf("listen on %s: %w", address, ErrNotLoopback)
	}
	listener, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: %w", address, ErrPortInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if loopback {
		handler = loopbackOnly(handler)
	}
	return &Server{
		listener: listener,
		http: &http.Server{
			Handler:           sameOrigin(handler),
			ReadHeaderTimeout: headerTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}, nil
}

var (
	// ErrNotLoopback reports an address that others can reach.
	ErrNotLoopback = errors.New("the address is not loopback, and there is no authentication")
	// ErrPortInUse reports an address that another process holds.
	ErrPortInUse = errors.New("the port is in use")
)

// Addr is the address that Run serves on; with port 0 the one that was chosen.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Run serves until ctx is done, lets running requests end, and cuts those that do not.
func (s *Server) Run(ctx context.Context) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s.http.BaseContext = func(net.Listener) context.Context { return base }
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", s.Addr(), err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(base, drainTimeout)
		defer cancel()
		if err := s.http.Shutdown(drain); err != nil {
			return s.http.Close()
		}
		return nil
	})
	return group.Wait()
}

// Close gives the address back when Run is never called.
func (s *Server) Close() error { return s.listener.Close() }

// OnShutdown has f called when Run begins to drain; an API's EndStreams belongs here. Call it before Run.
func (s *Server) OnShutdown(f func()) { s.http.RegisterOnShutdown(f) }

// IsLoopback says whether an address of the form host:port can be reached from this machine alone.
func IsLoopback(address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("listen address %q: want host:port", address)
	}
	return loopbackHost(host), nil
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// loopbackOnly refuses requests for other hosts: a name that an attacker's DNS points at 127.0.0.1 is how a web page
// would get past the browser's origin check.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !loopbackHost(host) {
			newProblem(http.StatusForbidden, "foreign-host", "request for another host",
				fmt.Sprintf("this listener is for this machine only, and was asked for %.256q: use localhost or 127.0.0.1 as host", r.Host)).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// sameOrigin refuses what a web page of another origin sent, but for safe methods.
func sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		newProblem(http.StatusForbidden, "foreign-origin", "request from another site",
			"pages of other sites may change and invoke nothing here: send the request from a program, without the header Origin").write(w)
	}))
	return protection.Handler(next)
}
