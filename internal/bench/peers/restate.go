package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weir-run/weir/internal/bench/calls"
)

const (
	restateName = "restate"
	// readyLimit is how long Restate and its function may take until a call is answered: seconds, and more on a busy machine.
	readyLimit = time.Minute
)

// restateSystem is Restate with the defaults that it is shipped with, as one node, and its counter in a process of its own.
// npm brings the server, without install scripts, one of which reports statistics; cargo builds the counter. Both lock what
// they bring, and it is kept for each text of the lock files in bench/peers/restate.
type restateSystem struct {
	cache string // of what was fetched and built, shared by all runs of a machine

	server, counter string // programs
}

func (r *restateSystem) prepare(ctx context.Context) (string, error) {
	source := filepath.Join(sources, restateName)
	if err := r.fetch(ctx, source); err != nil {
		return "", fmt.Errorf("fetch restate: %w", err)
	}
	if err := r.build(ctx, source); err != nil {
		return "", fmt.Errorf("build the counter of restate: %w", err)
	}
	out, err := exec.CommandContext(ctx, r.server, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask restate for its version: %w", err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "restate-server "), nil
}

// fetch brings the server into the cache, whole or not at all.
func (r *restateSystem) fetch(ctx context.Context, source string) error {
	kept, err := r.place("restate-server", filepath.Join(source, "package-lock.json"))
	if err != nil {
		return err
	}
	if _, err := os.Stat(kept); err != nil {
		half, err := os.MkdirTemp(r.cache, "fetch-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(half) // what is left of it does no harm
		for _, name := range []string{"package.json", "package-lock.json"} {
			text, err := os.ReadFile(filepath.Join(source, name))
			if err = errors.Join(err, os.WriteFile(filepath.Join(half, name), text, 0o644)); err != nil {
				return err
			}
		}
		npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", half)
		if out, err := npm.CombinedOutput(); err != nil {
			return fmt.Errorf("npm: %w: %s", err, out)
		}
		if err := os.Rename(half, kept); err != nil {
			return err
		}
	}
	found, err := filepath.Glob(filepath.Join(kept, "node_modules", "@restatedev", "restate-server-*", "bin", "restate-server"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("find the server in %s: %d programs, %v", kept, len(found), err)
	}
	r.server = found[0]
	return nil
}

// build is up to date at once when nothing has changed.
func (r *restateSystem) build(ctx context.Context, source string) error {
	target, err := r.place("restate-counter", filepath.Join(source, "Cargo.lock"))
	if err != nil {
		return err
	}
	cargo := exec.CommandContext(ctx, "cargo", "build", "--quiet", "--release", "--locked",
		"--manifest-path", filepath.Join(source, "Cargo.toml"), "--target-dir", target)
	if out, err := cargo.CombinedOutput(); err != nil {
		return fmt.Errorf("cargo: %w: %s", err, out)
	}
	r.counter = filepath.Join(target, "release", "peer-restate")
	return nil
}

// place is where what a lock file names is kept.
func (r *restateSystem) place(what, lock string) (string, error) {
	text, err := os.ReadFile(lock)
	if err != nil {
		return "", fmt.Errorf("%w; run from the root of the repository", err)
	}
	if err := os.MkdirAll(r.cache, 0o755); err != nil {
		return "", err
	}
	return filepath.Join(r.cache, fmt.Sprintf("%s-%x", what, sha256.Sum256(text))[:len(what)+1+16]), nil
}

// restateServer is the server and the process of its counter.
type restateServer struct {
	*program
	counter        *program
	ingress, admin string
}

func (r *restateSystem) serve(ctx context.Context, dir string, _ int) (callee, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	function := "127.0.0.1:" + ports[3]
	s := &restateServer{ingress: "http://127.0.0.1:" + ports[1], admin: "http://127.0.0.1:" + ports[2]}
	if s.counter, err = launch(exec.Command(r.counter, function), filepath.Join(dir, "counter.log")); err != nil {
		return nil, err
	}
	server := exec.Command(r.server, "--no-logo", "--base-dir", filepath.Join(dir, "data"), "--node-name", "peer")
	server.Env = append(without(os.Environ(), "RESTATE_"), "RESTATE_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=1",
		"RESTATE_BIND_IP=127.0.0.1", "RESTATE_ADVERTISED_HOST=127.0.0.1", "RESTATE_LISTEN_MODE=tcp",
		"RESTATE_BIND_PORT="+ports[0], "RESTATE_INGRESS__BIND_PORT="+ports[1], "RESTATE_ADMIN__BIND_PORT="+ports[2])
	if s.program, err = launch(server, filepath.Join(dir, "log")); err != nil {
		return nil, errors.Join(err, s.counter.stop())
	}
	if err := s.ready(ctx, "http://"+function); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// without leaves out the variables that begin so: a figure is of known settings.
func without(environment []string, prefix string) []string {
	var kept []string
	for _, variable := range environment {
		if !strings.HasPrefix(variable, prefix) {
			kept = append(kept, variable)
		}
	}
	return kept
}

// ready registers the function and waits until it answers.
func (s *restateServer) ready(ctx context.Context, function string) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	registration, err := json.Marshal(map[string]string{"uri": function})
	if err != nil {
		return err
	}
	for _, request := range []struct{ url, body string }{{s.admin + "/deployments", string(registration)}, {s.url("ready"), "0"}} {
		for {
			_, err := calls.Post(ctx, http.DefaultClient, request.url, request.body)
			if err == nil {
				break
			}
			if end := errors.Join(s.ended(), pause(ctx, look)); end != nil {
				return fmt.Errorf("%w; last answer: %w", end, err)
			}
		}
	}
	return nil
}

func (s *restateServer) url(key string) string { return s.ingress + "/KeyedCounter/" + key + "/add" }

func (s *restateServer) pids() []int { return []int{s.program.pid(), s.counter.pid()} }

func (s *restateServer) ended() error { return errors.Join(s.program.ended(), s.counter.ended()) }

// stop asks the server first, which does not look at its input.
func (s *restateServer) stop() error {
	err := s.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, s.program.stop(), s.counter.stop())
}

// freePorts are different ports of loopback that nobody listens on.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // when all are found, so that they differ
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		ports = append(ports, port)
	}
	return ports, nil
}
