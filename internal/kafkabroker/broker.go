// Package kafkabroker runs a real Apache Kafka on this machine, for tests of what only a real one can prove.
//
// It hides how a broker is started without Kafka's distribution: jars come from Maven into a cache, one KRaft node is
// formatted and started from them. Its invariant: the process belongs to its Broker, is signalled by its own id only, and
// is gone when Stop or Kill returns, or when this process ends. It needs a JDK 17 and Maven. It is not part of the
// platform and knows no Kafka client.
package kafkabroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// Version is the default: the generation that runs transaction version 2.
	Version = "4.1.1"
	// Older runs transaction version 1.
	Older = "3.9.1"
)

const (
	// startTimeout covers a cold JVM on a loaded machine and the replay of a log after a kill.
	startTimeout = 2 * time.Minute
	// dialInterval is how often a starting broker is tried: it takes seconds.
	dialInterval = 100 * time.Millisecond
	// DefaultHeap is enough for tests, and leaves room for the programs under test.
	DefaultHeap = "512m"
	// UsualHeap is what Kafka's own start script gives a broker.
	UsualHeap = "1g"
)

// performance is what Kafka's own scripts run a JVM with (KAFKA_JVM_PERFORMANCE_OPTS of kafka-run-class.sh): without it pauses
// of the collector may take ten times as long.
var performance = []string{
	"-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
	"-XX:+ExplicitGCInvokesConcurrent", "-XX:MaxInlineLevel=15",
}

// Config says what to run and where.
type Config struct {
	Version string // Version or Older; empty is Version
	Dir     string // data, configuration and logs; a broker found there is gone on with
	Port    int    // of the plain listener; the controller takes the next one, then SASL, TLS, mutual TLS, SASL over TLS
	Cache   string // jars, shared by all brokers of a machine
	Heap    string // of the JVM, from its start; empty is DefaultHeap
	// Username and Password, when set, open a SASL listener as well, with PLAIN and SCRAM-SHA-512.
	Username string
	Password string
	// Authority, when set, opens listeners with TLS as well, and is the one whose client certificates are trusted.
	Authority *Authority
}

// Broker is one broker process.
type Broker struct {
	cfg    Config
	jars   string
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
}

// Start fetches jars unless they are cached, formats Dir unless it is, starts the broker and waits until it answers.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	cfg.Version = cmp.Or(cfg.Version, Version)
	cfg.Heap = cmp.Or(cfg.Heap, DefaultHeap)
	b := &Broker{cfg: cfg}
	if err := b.prepare(ctx); err != nil {
		return nil, fmt.Errorf("start kafka %s in %s: %w", cfg.Version, cfg.Dir, err)
	}
	if err := b.Restart(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// Address is the plain listener.
func (b *Broker) Address() string { return address(b.cfg.Port) }

// SASLAddress is the listener that wants credentials.
func (b *Broker) SASLAddress() string { return address(b.cfg.Port + 2) }

// TLSAddress is the listener that shows a certificate and asks for none.
func (b *Broker) TLSAddress() string { return address(b.cfg.Port + 3) }

// MutualTLSAddress is the listener that wants a client certificate.
func (b *Broker) MutualTLSAddress() string { return address(b.cfg.Port + 4) }

// SASLTLSAddress is the listener that wants credentials over TLS.
func (b *Broker) SASLTLSAddress() string { return address(b.cfg.Port + 5) }

// Renew gives the broker a certificate of another authority, which it uses and trusts from its next start on.
func (b *Broker) Renew(a *Authority) error {
	b.cfg.Authority = a
	return a.Issue(b.certificates(), "broker")
}

// certificates is the folder of the broker's own.
func (b *Broker) certificates() string { return filepath.Join(b.cfg.Dir, "tls") }

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// Stop ends the broker in order.
func (b *Broker) Stop() error { return b.end(syscall.SIGTERM) }

// Kill ends the broker at once, as a crash does (kill -9).
func (b *Broker) Kill() error { return b.end(syscall.SIGKILL) }

func (b *Broker) end(s syscall.Signal) error {
	if err := b.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal kafka: %w", err)
	}
	<-b.exited
	return nil
}

// Pause and Resume stop and continue the process, as a broker that hangs.
func (b *Broker) Pause() error { return b.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume continues a paused broker.
func (b *Broker) Resume() error { return b.cmd.Process.Signal(syscall.SIGCONT) }

// Restart starts the broker, with its data, after Stop or Kill.
func (b *Broker) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	out, err := os.OpenFile(filepath.Join(b.cfg.Dir, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	defer out.Close()
	b.cmd = exec.Command("java", b.java("kafka.Kafka", filepath.Join(b.cfg.Dir, "server.properties"))...)
	b.cmd.Env = append(os.Environ(), "CLASSPATH="+filepath.Join(b.jars, "*"))
	b.cmd.Stdout, b.cmd.Stderr, b.cmd.SysProcAttr = out, out, bound()
	b.exited = make(chan struct{})
	started := make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan struct{}) {
		runtime.LockOSThread() // bound ties the child's life to the thread that starts it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
			close(exited)
		}
	}(b.cmd, b.exited)
	if err := <-started; err != nil {
		return fmt.Errorf("start kafka: %w", err)
	}
	if err := b.await(ctx); err != nil {
		return errors.Join(fmt.Errorf("start kafka, see %s: %w", out.Name(), err), b.Kill())
	}
	return nil
}

// await returns when every listener takes connections.
func (b *Broker) await(ctx context.Context) error {
	listeners := b.listeners()
	tick := time.NewTicker(dialInterval)
	defer tick.Stop()
	var dialer net.Dialer
	for len(listeners) > 0 {
		c, err := dialer.DialContext(ctx, "tcp", listeners[0].address)
		if err == nil {
			if err := c.Close(); err != nil {
				return err
			}
			listeners = listeners[1:]
			continue
		}
		select {
		case <-tick.C:
		case <-b.exited:
			return errors.New("the process ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (b *Broker) java(main string, args ...string) []string {
	options := append([]string{
		"-Xms" + b.cfg.Heap, "-Xmx" + b.cfg.Heap, "-Djava.awt.headless=true",
		"-Dlog4j2.configurationFile=" + filepath.Join(b.cfg.Dir, "log4j2.properties"),
	}, performance...)
	return append(append(options, main), args...)
}

// run runs one of Kafka's tools to its end.
func (b *Broker) run(ctx context.Context, main string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "java", b.java(main, args...)...)
	cmd.Env = append(os.Environ(), "CLASSPATH="+filepath.Join(b.jars, "*"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", main, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}
