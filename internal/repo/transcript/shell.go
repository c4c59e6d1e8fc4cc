package transcript

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// stepLimit is longer than any command that a reader would wait for.
	stepLimit = 3 * time.Minute
	// stopLimit is how long a program may take to end by itself once asked to.
	stopLimit = 20 * time.Second
	// maxBackground bounds the programs that one document leaves running: each has a pipe of its own.
	maxBackground = 6
	// firstPipe is the file descriptor of the first of them: 0, 1 and 2 are the shell's.
	firstPipe = 3
)

// Shell runs the steps of one document in one sh, so that a cd or a variable lasts. It is used from one goroutine.
type Shell struct {
	cmd        *exec.Cmd
	in         io.WriteCloser
	out        *os.File
	lines      *bufio.Reader
	mark       string
	closed     string // redirections that keep the pipes of other programs out of a command
	background []*collector
	started    int
}

// Start starts a shell in dir with the given environment. Close ends it.
func Start(dir string, env []string) (*Shell, error) {
	s := &Shell{cmd: exec.Command("sh"), mark: fmt.Sprintf("--- step of %d done", os.Getpid())}
	s.cmd.Dir, s.cmd.Env = dir, env
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start shell: %w", err)
	}
	out, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start shell: %w", err)
	}
	s.in, s.out, s.lines = in, out, bufio.NewReader(out)
	s.cmd.Stdout, s.cmd.Stderr = write, write
	given := []*os.File{write}
	for range maxBackground {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, fmt.Errorf("start shell: %w", err)
		}
		s.background = append(s.background, newCollector(r))
		s.cmd.ExtraFiles = append(s.cmd.ExtraFiles, w)
		given = append(given, w)
		s.closed += fmt.Sprintf(" %d>&-", firstPipe+len(s.cmd.ExtraFiles)-1)
	}
	err = s.cmd.Start()
	for _, f := range given {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("start shell: %w", err)
	}
	for _, c := range s.background {
		go c.run()
	}
	return s, nil
}

// Run runs one step and returns what it printed. The error says how it differs from what the document shows.
func (s *Shell) Run(ctx context.Context, step Step) (string, error) {
	if step.Background {
		return s.runBackground(ctx, step)
	}
	output, code, err := s.send(step.Command, "2>&1")
	switch {
	case err != nil:
		return output, err
	case code != step.Exit:
		return output, fmt.Errorf("exit code %d, not %d", code, step.Exit)
	case !Match(step.Want, output, false):
		return output, errors.New("prints something else")
	}
	return output, nil
}

func (s *Shell) runBackground(ctx context.Context, step Step) (string, error) {
	if s.started == maxBackground {
		return "", fmt.Errorf("more than %d programs in the background", maxBackground)
	}
	c, pipe := s.background[s.started], firstPipe+s.started
	s.started++
	if output, _, err := s.send(step.Command, fmt.Sprintf(">&%d 2>&1", pipe)); err != nil {
		return output, err
	}
	// The shell lets go of the pipe, so that it ends with the program.
	if _, err := fmt.Fprintf(s.in, "exec %d>&-\n", pipe); err != nil {
		return "", fmt.Errorf("the shell is gone: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	for {
		output := c.read()
		if Match(step.Want, output, true) {
			return output, nil
		}
		select {
		case <-c.grew:
		case <-c.done:
			return c.read(), errors.New("ended, and printed something else")
		case <-ctx.Done():
			return c.read(), fmt.Errorf("does not print this within %v", stepLimit)
		}
	}
}

// send hands one command to the shell and reads what the shell's own output shows until the mark behind it.
func (s *Shell) send(command, redirect string) (string, int, error) {
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null %s%s\nprintf '\\n%s %%s\\n' \"$?\"\n", command, redirect, s.closed, s.mark); err != nil {
		return "", 0, fmt.Errorf("the shell is gone: %w", err)
	}
	if err := s.out.SetReadDeadline(time.Now().Add(stepLimit)); err != nil {
		return "", 0, fmt.Errorf("limit the step: %w", err)
	}
	var output strings.Builder
	for {
		line, err := s.lines.ReadString('\n')
		if code, ok := strings.CutPrefix(line, s.mark+" "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(code))
			return strings.TrimSuffix(output.String(), "\n"), n, err
		}
		output.WriteString(line)
		if err != nil {
			return output.String(), 0, fmt.Errorf("not done: %w", err)
		}
	}
}

// Close asks everything that the shell started to end, waits for it, and kills what does not.
func (s *Shell) Close() error {
	group := -s.cmd.Process.Pid
	// The shell ends with its input. What runs in the background is told by the group.
	inErr := s.in.Close()
	if err := syscall.Kill(group, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop programs of the document: %w", err)
	}
	limit := time.AfterFunc(stopLimit, func() { syscall.Kill(group, syscall.SIGKILL) })
	for _, c := range s.background {
		<-c.done
	}
	limit.Stop()
	err := s.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil // how the shell ended does not matter: each step had a code of its own
	}
	return errors.Join(inErr, err, s.out.Close())
}

// collector keeps what one background program prints, so that it never waits for a reader.
type collector struct {
	from *os.File
	grew chan struct{} // a token: text has grown
	done chan struct{} // closed: the program and its children have ended
	mu   sync.Mutex    // guards text
	text []byte
}

func newCollector(from *os.File) *collector {
	return &collector{from: from, grew: make(chan struct{}, 1), done: make(chan struct{})}
}

func (c *collector) run() {
	defer close(c.done)
	defer c.from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := c.from.Read(buf)
		c.mu.Lock()
		c.text = append(c.text, buf[:n]...)
		c.mu.Unlock()
		select {
		case c.grew <- struct{}{}:
		default: // a token is there already
		}
		if err != nil {
			return
		}
	}
}

func (c *collector) read() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.text)
}
