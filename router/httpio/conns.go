package httpio

import (
	"net"
	"net/netip"
	"sync"
)

// shared is a listener that bounds the connections of one remote address. fasthttp has such a bound, but its connection
// is given to a pool by a shutdown while its reader still holds it.
type shared struct {
	net.Listener
	perIP int

	mu   sync.Mutex // guards open
	open map[netip.Addr]int
}

func newShared(l net.Listener, perIP int) *shared {
	return &shared{Listener: l, perIP: perIP, open: make(map[netip.Addr]int)}
}

// Accept closes what is beyond the bound without a word: who opens that many connections does not read answers.
func (s *shared) Accept() (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var ip netip.Addr
		if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			ip = tcp.AddrPort().Addr().Unmap()
		}
		if s.enter(ip) {
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { s.leave(ip) })}, nil
		}
		conn.Close() // it was never used
	}
}

func (s *shared) enter(ip netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[ip] == s.perIP {
		return false
	}
	s.open[ip]++
	return true
}

func (s *shared) leave(ip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[ip]--; s.open[ip] == 0 {
		delete(s.open, ip)
	}
}

// counted is a connection that gives its place back when it is closed, once.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}
