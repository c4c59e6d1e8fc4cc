package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	// ticksPerSecond is Linux's USER_HZ, which /proc counts in; it has been 100 on every architecture for decades.
	ticksPerSecond = 100
	// quietLimit is how long a run waits for the machine to calm down before it begins regardless.
	quietLimit = 30 * time.Second
	// quietCores is how much of each core may be busy on a quiet machine.
	quietCores = 0.1
)

// reading is what meters showed at one time. CPU is in seconds.
type reading struct {
	at       time.Time
	done     int64   // records of the output that are committed
	cpu      float64 // of the system, user and kernel, all threads, children that ended included
	resident float64 // bytes of the system
	busy     float64 // of the whole machine
	stolen   float64 // what the hypervisor gave to others
}

// meters reads /proc of one process and of the machine.
func meters(pid int) (reading, error) {
	r := reading{at: time.Now()}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return r, fmt.Errorf("read usage: %w", err)
	}
	// The program's name, in parentheses, may hold anything; what counts stands behind it.
	_, behind, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	const userTime, children, pages = 11, 14, 21
	own, err := numbers(behind, 22)
	if err != nil {
		return r, fmt.Errorf("read usage of process %d: %w", pid, err)
	}
	for _, ticks := range own[userTime : children+1] {
		r.cpu += ticks / ticksPerSecond
	}
	r.resident = own[pages] * float64(os.Getpagesize())
	machine, err := os.ReadFile("/proc/stat")
	if err != nil {
		return r, fmt.Errorf("read usage of the machine: %w", err)
	}
	line, _, _ := strings.Cut(string(machine), "\n")
	const idle, waiting, stolen = 3, 4, 7
	all, err := numbers(strings.TrimPrefix(line, "cpu "), 8)
	if err != nil {
		return r, fmt.Errorf("read usage of the machine: %w", err)
	}
	for i, ticks := range all[:stolen] {
		if i != idle && i != waiting {
			r.busy += ticks / ticksPerSecond
		}
	}
	r.stolen = all[stolen] / ticksPerSecond
	return r, nil
}

// numbers reads the first n fields; one that is no number, such as a state, is zero.
func numbers(line string, n int) ([]float64, error) {
	fields := strings.Fields(line)
	if len(fields) < n {
		return nil, fmt.Errorf("%d fields, want %d", len(fields), n)
	}
	values := make([]float64, n)
	for i := range values {
		values[i], _ = strconv.ParseFloat(fields[i], 64) // zero when it is no number
	}
	return values, nil
}

// quiet waits until the machine has been idle for a second, for so long as quietLimit.
func quiet(ctx context.Context) error {
	for end := time.Now().Add(quietLimit); time.Now().Before(end); {
		before, err := meters(os.Getpid())
		if err != nil {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
		after, err := meters(os.Getpid())
		if err != nil {
			return err
		}
		if after.busy-before.busy < quietCores*float64(runtime.NumCPU()) {
			return nil
		}
	}
	return nil
}

// pause waits, because load has a schedule and offsets are asked for.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
