// Package binary runs the built weir as its users do: as a process, with its own data directory and ports, spoken to over
// its CLI and HTTP.
//
// It hides ports, readiness and how the process ends. Its invariant: a Server that was started is ended by Stop or Kill, and
// keeps its ports and data over a Restart. It belongs to tests and benchmarks that look from outside; it is used from one
// goroutine, and is not part of the platform.
package binary

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weir-run/weir/runtime/jobmanager"
)

const (
	// startLimit is how long a server may take until it is ready, with a large checkpoint to restore.
	startLimit = 60 * time.Second
	// stopLimit is how long a final checkpoint may take.
	stopLimit = 30 * time.Second
	// askAgain is the pause between two looks at another process, which has no other way to tell.
	askAgain = 5 * time.Millisecond
	// maxAnswerBytes bounds what is read of an answer.
	maxAnswerBytes = 16 << 20
)

// Config says how weir runs.
type Config struct {
	Path  string    // the weir binary
	Data  string    // its data directory
	Kafka string    // the broker that jobs mean by "embedded"; empty starts none
	Dev   string    // a folder: run `weir dev` in it, with its broker at Kafka, in place of `weir server`
	Env   []string  // besides the environment of this process
	Log   io.Writer // what the server writes; nil discards it
}

// Server is a running `weir server`.
type Server struct {
	URL       string // of the control API
	DataPlane string // of the data plane
	cfg       Config
	cmd       *exec.Cmd
	ended     chan error
}

// Find is the path of bin/weir in the repository that holds the working directory.
func Find() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find bin/weir: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find bin/weir: not inside of the repository")
		}
	}
	path := filepath.Join(dir, "bin", "weir")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find bin/weir: %w; run make build", err)
	}
	return path, nil
}

// Start starts a server on free loopback ports and waits until it is ready.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	var ports [2]string
	for i := range ports {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	s := &Server{URL: "http://" + ports[0], DataPlane: "http://" + ports[1], cfg: cfg}
	return s, s.Restart(ctx)
}

// freePort is a loopback address that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// Restart starts the server again, on the same ports and data, after Stop or Kill.
func (s *Server) Restart(ctx context.Context) error {
	verb := []string{"server"}
	if s.cfg.Dev != "" {
		verb = []string{"dev", s.cfg.Dev}
	}
	args := append(verb, "--data", s.cfg.Data,
		"--listen", strings.TrimPrefix(s.URL, "http://"), "--data-plane", strings.TrimPrefix(s.DataPlane, "http://"))
	if s.cfg.Kafka != "" {
		args = append(args, "--kafka", s.cfg.Kafka)
	}
	s.cmd = exec.Command(s.cfg.Path, args...)
	s.cmd.Env = append(os.Environ(), s.cfg.Env...)
	s.cmd.Stdout, s.cmd.Stderr = s.cfg.Log, s.cfg.Log
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start weir: %w", err)
	}
	cmd := s.cmd
	s.ended = make(chan error, 1)
	go func() { s.ended <- cmd.Wait() }() // ends with the process, which Stop or Kill ends
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	err := s.wait(ctx, "ready", func() (bool, error) {
		return s.Get(ctx, "/readyz", nil) == nil, nil
	})
	if err != nil {
		return errors.Join(err, s.Kill()) // who gets an error has nothing to stop
	}
	return nil
}

// wait asks until done says yes, the process ends, or ctx does.
func (s *Server) wait(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			return fmt.Errorf("wait until weir is %s: it ended: %v", what, err)
		case <-ctx.Done():
			return fmt.Errorf("wait until weir is %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// PID is the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Setenv replaces Config.Env from the next Restart on.
func (s *Server) Setenv(env ...string) { s.cfg.Env = env }

// Wait waits until the process has ended by itself, and reports how; Kill or Restart come next.
func (s *Server) Wait(ctx context.Context) (*os.ProcessState, error) {
	select {
	case err := <-s.ended:
		s.ended <- err
		return s.cmd.ProcessState, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait until weir ends: %w", ctx.Err())
	}
}

// Kill ends the process as a crash does: kill -9, without a word.
func (s *Server) Kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill weir: %w", err)
	}
	s.ended <- <-s.ended // it may be asked for again
	return nil
}

// Stop asks the process to drain, and fails when it does not end well.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop weir: %w", err)
	}
	select {
	case err := <-s.ended:
		s.ended <- err
		if err != nil {
			return fmt.Errorf("stop weir: %w", err)
		}
		return nil
	case <-time.After(stopLimit):
		return errors.Join(fmt.Errorf("stop weir: not done within %v", stopLimit), s.Kill())
	}
}

// Command runs one weir command against the server, in dir, and returns what it prints.
func (s *Server) Command(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.cfg.Path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "WEIR_SERVER="+s.URL)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("weir %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// Deploy deploys the folder dir, which holds a module.yaml, and waits until the job runs.
func (s *Server) Deploy(ctx context.Context, dir, job string) error {
	if _, err := s.Command(ctx, dir, "deploy"); err != nil {
		return err
	}
	return s.WaitRunning(ctx, job)
}

// WaitRunning waits until all tasks of a job run.
func (s *Server) WaitRunning(ctx context.Context, job string) error {
	return s.WaitJob(ctx, job, func(v *jobmanager.JobView) bool {
		return v.State == jobmanager.Running && v.Waiting == "" && v.Tasks == v.Parallelism
	})
}

// WaitJob waits until the job is as wanted. A job that failed is an error.
func (s *Server) WaitJob(ctx context.Context, job string, wanted func(*jobmanager.JobView) bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var view jobmanager.JobView
	err := s.wait(ctx, "as wanted with job "+job, func() (bool, error) {
		view = jobmanager.JobView{}
		if err := s.Get(ctx, "/v1/jobs/"+job, &view); err != nil {
			return false, nil // the job may not be restored yet
		}
		if view.State == jobmanager.Failed || view.State == jobmanager.Suspended {
			return false, fmt.Errorf("job %s is %s: %s", job, view.State, view.Error)
		}
		return wanted(&view), nil
	})
	if err != nil {
		return fmt.Errorf("%w (last seen: %+v)", err, view)
	}
	return nil
}

// Get reads a JSON answer of the control API into a pointer, or only its status.
func (s *Server) Get(ctx context.Context, path string, into any) error {
	answer, err := s.exchange(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil || into == nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// Invoke calls function/key on the data plane and returns the reply.
func (s *Server) Invoke(ctx context.Context, function, key string, body []byte) ([]byte, error) {
	return s.exchange(ctx, http.MethodPost, s.DataPlane+"/in/"+function+"/"+key, body)
}

func (s *Server) exchange(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() // it was only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, url, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, response.Status, bytes.TrimSpace(answer))
	}
	return answer, nil
}
