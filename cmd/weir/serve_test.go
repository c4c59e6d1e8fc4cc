package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/deploy/deploytest"
	"github.com/weir-run/weir/router"
)

// running is a command that does not end by itself.
type running struct {
	lines  *bufio.Scanner // of the stream that is read
	stderr *bytes.Buffer  // complete once exit has been received
	stop   context.CancelFunc
	exit   chan int
}

// begin starts a command. read chooses the stream whose lines the test waits for: what the command writes to it is held
// until it is read, so that nothing is missed.
func begin(t *testing.T, s *shell, read string, args ...string) *running {
	t.Helper()
	reader, writer := io.Pipe()
	r := &running{lines: bufio.NewScanner(reader), stderr: &bytes.Buffer{}, exit: make(chan int, 1)}
	s.out, s.err = io.Discard, r.stderr
	if read == "stdout" {
		s.out = writer
	} else {
		s.err = writer
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(t.Context())
	go func() {
		code := s.run(ctx, args)
		_ = writer.Close() // a pipe's Close returns nil
		r.exit <- code
	}()
	t.Cleanup(func() {
		r.stop()
		_, _ = io.Copy(io.Discard, reader) // let it write its last words
	})
	return r
}

// until reads lines up to the first that matches, and returns its submatches.
func (r *running) until(t *testing.T, pattern string) []string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	var seen []string
	for r.lines.Scan() {
		if found := expression.FindStringSubmatch(r.lines.Text()); found != nil {
			return found
		}
		seen = append(seen, r.lines.Text())
	}
	t.Fatalf("no line matches %s; exit %d, lines:\n%s\n%s", pattern, <-r.exit, strings.Join(seen, "\n"), r.stderr)
	return nil
}

// end stops the command and returns its exit code.
func (r *running) end() int {
	r.stop()
	for r.lines.Scan() { // let it write its last words
	}
	return <-r.exit
}

// wireFake makes nodes around a controller in memory.
func wireFake(t *testing.T, controller *deploytest.Controller, ran func(ctx context.Context) error) func(wiring) (*node, error) {
	return func(w wiring) (*node, error) {
		modules, err := deploy.OpenModules(filepath.Join(w.Config.Data, "modules"), prepareFake)
		if err != nil {
			return nil, err
		}
		return &node{
			Run: ran, Controller: controller, Modules: modules,
			Dispatch: func(context.Context, *router.Call) (router.Answer, error) {
				return router.Answer{Status: http.StatusOK, Body: []byte("7"), Epoch: 42}, nil
			},
			Close: func() error { return nil },
		}, nil
	}
}

// untilDone is a node that only waits.
func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func shellIn(dir string, wire func(wiring) (*node, error)) *shell {
	return &shell{in: strings.NewReader(""), out: io.Discard, err: io.Discard, environ: os.Environ(), dir: dir, wire: wire}
}

func TestAServerAnswersAndDrainsBeforeItsRolesEnd(t *testing.T) {
	dir := t.TempDir()
	listening := make(chan string, 1)
	var refused error
	node := func(ctx context.Context) error {
		<-ctx.Done()
		connection, err := net.Dial("tcp", <-listening)
		if err == nil {
			err = errors.Join(errors.New("the listener was still open"), connection.Close())
			refused = err
		}
		return nil
	}
	s := shellIn(dir, wireFake(t, &deploytest.Controller{}, node))
	server := begin(t, s, "stderr", "server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0")
	address := server.until(t, `server is listening.* control=(\S+)`)[1]
	client := shellIn(dir, nil)
	var out bytes.Buffer
	client.out = &out
	if code := client.run(t.Context(), []string{"invoke", "example/counter", "ann", "3", "--server", "http://" + address}); code != exitDone {
		t.Errorf("invoke: exit %d", code)
	}
	if out.String() != "7\n" {
		t.Errorf("invoke printed %q", out.String())
	}
	listening <- address
	if code := server.end(); code != exitDone {
		t.Errorf("exit %d", code)
	}
	if refused != nil {
		t.Error(refused)
	}
}

func TestRolesThatFailEndTheServerWithTheirError(t *testing.T) {
	broken := func(context.Context) error { return errors.New("disk is full") }
	s := shellIn(t.TempDir(), wireFake(t, &deploytest.Controller{}, broken))
	var stderr bytes.Buffer
	s.err = &stderr
	code := s.run(t.Context(), []string{"server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0"})
	if code != exitFailed || !strings.Contains(stderr.String(), "error: disk is full") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}

func TestAServerThatCannotStartSaysWhyAndWhatToChange(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	held, err := lock(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"control port in use", []string{"--listen", taken.Addr().String()}, []string{"is in use", taken.Addr().String(), "--listen"}},
		{"data plane port in use", []string{"--data-plane", taken.Addr().String()}, []string{"is in use", "--data-plane"}},
		{"others can reach it", []string{"--listen", "0.0.0.0:0"}, []string{"--listen 0.0.0.0:0", "--insecure-listen"}},
		{"others can reach the data plane", []string{"--data-plane", ":0"}, []string{"--data-plane :0", "--insecure-listen"}},
		{"data directory in use", []string{"--data", "held"}, []string{"held is in use by process", "--data"}},
		{"data directory is a file", []string{"--data", "file"}, []string{"data directory", "file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s := shellIn(dir, wireFake(t, &deploytest.Controller{}, untilDone))
			var stderr bytes.Buffer
			s.err = &stderr
			args := append([]string{"server", "--listen", "127.0.0.1:0", "--data-plane", "127.0.0.1:0"}, c.args...)
			if code := s.run(t.Context(), args); code != exitFailed {
				t.Errorf("exit %d", code)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("%q is not in: %s", want, &stderr)
				}
			}
		})
	}
}

func TestADataDirectoryIsFreeAgainWhenItsProcessIsGone(t *testing.T) {
	dir := t.TempDir()
	first, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil {
		t.Fatal("two hold one directory")
	}
	if err := first.Close(); err != nil { // what the system does for a process that ends
		t.Fatal(err)
	}
	second, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}
