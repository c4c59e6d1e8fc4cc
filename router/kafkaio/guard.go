package kafkaio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxFrameBytes bounds one request to the embedded broker, which would allocate whatever a frame claims. A produce
	// request of this process's own lanes is at most half of it.
	maxFrameBytes = 2 * requestBytes
	// maxGuarded bounds connections to the embedded broker: a laptop's clients are few.
	maxGuarded = 1024
	// frameHead is size, api key and api version.
	frameHead = 8
	// smallestFrame is the size of api key, version and correlation id.
	smallestFrame = 8
)

// errFrame ends a connection that sent something that the embedded broker would not survive.
var errFrame = errors.New("frame is not a kafka request")

// guard is the listener of the embedded broker: a connection whose frame is too large, or for an api that does not exist,
// is closed before the broker sees it. One such frame would end the whole process.
type guard struct {
	net.Listener
	log *slog.Logger

	mu   sync.Mutex // guards open
	open map[*guarded]struct{}
}

func newGuard(l net.Listener, log *slog.Logger) *guard {
	return &guard{Listener: l, log: log, open: map[*guarded]struct{}{}}
}

// Accept returns the next connection, guarded.
func (g *guard) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		conn := &guarded{Conn: c, in: bufio.NewReader(c), g: g}
		g.mu.Lock()
		full := len(g.open) >= maxGuarded
		if !full {
			g.open[conn] = struct{}{}
		}
		g.mu.Unlock()
		if !full {
			return conn, nil
		}
		g.log.Warn("embedded kafka has too many connections, one is closed", "limit", maxGuarded)
		_ = c.Close() // nothing was sent on it
	}
}

// closeAll closes what is open, and returns when the listener takes no more.
func (g *guard) closeAll() {
	g.mu.Lock()
	open := g.open
	g.open = map[*guarded]struct{}{}
	g.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close() // it is given up
	}
}

// guarded is one connection. Reads come from one goroutine at a time.
type guarded struct {
	net.Conn
	in   *bufio.Reader
	g    *guard
	head []byte // of the frame being read, not yet handed on
	left int    // bytes of the frame after head
}

// Read hands on bytes of frames whose head is good.
func (c *guarded) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.head) == 0 && c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	n, err := c.in.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// next reads and judges the head of a frame.
func (c *guarded) next() error {
	head := make([]byte, frameHead)
	if _, err := io.ReadFull(c.in, head); err != nil {
		return err
	}
	size, err := judgeFrame(head)
	if err != nil {
		c.g.log.Warn("embedded kafka closes a connection", "client", c.RemoteAddr().String(), "err", err)
		return err
	}
	c.head, c.left = head, size-(frameHead-4)
	return nil
}

// judgeFrame returns the size that the head of a frame claims, if the broker can take the frame.
func judgeFrame(head []byte) (int, error) {
	be := binary.BigEndian
	size, key, version := be.Uint32(head), int16(be.Uint16(head[4:])), int16(be.Uint16(head[6:]))
	if size < smallestFrame || size > maxFrameBytes || version < 0 {
		return 0, errFrame
	}
	req := kmsg.RequestForKey(key)
	// A newer ApiVersions is how a newer client asks what it may speak: the broker answers that.
	if req == nil || version > req.MaxVersion() && key != kmsg.ApiVersions.Int16() {
		return 0, errFrame
	}
	return int(size), nil
}

// Close closes the connection and forgets it.
func (c *guarded) Close() error {
	c.g.mu.Lock()
	delete(c.g.open, c)
	c.g.mu.Unlock()
	return c.Conn.Close()
}
