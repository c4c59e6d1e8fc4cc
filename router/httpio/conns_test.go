package httpio

import (
	"errors"
	"net"
	"testing"
)

// scripted accepts the connections it is given, then ends.
type scripted struct {
	net.Listener
	conns []*remote
}

func (s *scripted) Accept() (net.Conn, error) {
	if len(s.conns) == 0 {
		return nil, errors.New("closed")
	}
	next := s.conns[0]
	s.conns = s.conns[1:]
	return next, nil
}

type remote struct {
	net.Conn
	ip     string
	closed bool
}

func (r *remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(r.ip), Port: 1} }

func (r *remote) Close() error {
	r.closed = true
	return nil
}

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	a1, a2, a3, b1 := &remote{ip: "192.0.2.1"}, &remote{ip: "192.0.2.1"}, &remote{ip: "192.0.2.1"}, &remote{ip: "192.0.2.2"}
	source := &scripted{conns: []*remote{a1, a2, a3, b1}}
	l := newShared(source, 2)
	var accepted []net.Conn
	for {
		conn, err := l.Accept()
		if err != nil {
			break
		}
		accepted = append(accepted, conn)
	}
	if len(accepted) != 3 || !a3.closed || a1.closed || b1.closed {
		t.Fatalf("%d accepted; third of one address closed: %v", len(accepted), a3.closed)
	}
	for _, conn := range accepted[:2] {
		conn.Close()
		conn.Close()
	}
	source.conns = []*remote{{ip: "192.0.2.1"}, {ip: "192.0.2.1"}, {ip: "192.0.2.1"}}
	for i, want := range []bool{true, true, false} {
		if _, err := l.Accept(); (err == nil) != want {
			t.Errorf("connection %d after the others closed: %v", i, err)
		}
	}
}
