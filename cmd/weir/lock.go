package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lockName is the file in a data directory that its process holds locked. The lock ends with the process, however it
// ends; the process id in the file is for people.
const lockName = "lock"

// maxLockBytes bounds what is read of another process's lock file.
const maxLockBytes = 64

// lock makes the data directory this process's own until the file is closed.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unusable(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(err)
	}
	err = hold(file)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = held(dir, file)
	} else if err == nil {
		err = sign(file)
	}
	if err != nil {
		_ = file.Close() // the error before it is the one that counts
		return nil, err
	}
	return file, nil
}

func unusable(err error) error {
	return failed(fmt.Sprintf("the data directory cannot be used: %v", err),
		"make it one that this user may write to, or choose another with --data")
}

const (
	// lockPatience is how long a process that was just killed may take until the system has let go of its lock.
	lockPatience = 2 * time.Second
	lockRetry    = 10 * time.Millisecond
)

// hold locks the file, or returns EWOULDBLOCK when another process keeps it.
func hold(file *os.File) error {
	for deadline := time.Now().Add(lockPatience); ; time.Sleep(lockRetry) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
	}
}

// held says who holds a data directory.
func held(dir string, file *os.File) error {
	holder := "another process"
	text, err := io.ReadAll(io.LimitReader(file, maxLockBytes))
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		holder = "process " + pid
	}
	return failed(fmt.Sprintf("data directory %s is in use by %s", dir, holder),
		"stop it, or choose another directory with --data")
}

func sign(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	if _, err := fmt.Fprintf(file, "%d\n", os.Getpid()); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	return nil
}
