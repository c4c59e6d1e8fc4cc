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
	// quietLimit is how long a scenario waits for the machine to calm down before it runs regardless.
	quietLimit = 30 * time.Second
	// quietCores is how much of each core may be busy on a quiet machine.
	quietCores = 0.1
)

// usage is what a process has taken.
type usage struct {
	cpu      float64 // seconds, user and system, children that ended included
	resident float64 // bytes
}

// used reads /proc of one process.
func used(pid int) (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("read usage: %w", err)
	}
	// The name of the program, in parentheses, may hold spaces; fields count from behind it.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, i := range []int{11, 12, 13, 14} {
		ticks, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return u, fmt.Errorf("read usage: %w", err)
		}
		u.cpu += ticks / ticksPerSecond
	}
	pages, err := strconv.ParseFloat(fields[21], 64)
	if err != nil {
		return u, fmt.Errorf("read usage: %w", err)
	}
	u.resident = pages * float64(os.Getpagesize())
	return u, nil
}

// busy is the CPU time of the whole machine since it started, in seconds, idle time left out.
func busy() float64 {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0 // a machine that cannot be asked counts as quiet
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	sum := 0.0
	for i, field := range strings.Fields(line)[1:] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err == nil && i != 3 && i != 4 { // idle, and waiting for a disk
			sum += ticks / ticksPerSecond
		}
	}
	return sum
}

// quiet waits until the machine has been idle for a second, for so long as quietLimit.
func quiet(ctx context.Context) {
	end := time.Now().Add(quietLimit)
	for time.Now().Before(end) && ctx.Err() == nil {
		before := busy()
		pause(ctx, time.Second)
		if busy()-before < quietCores*float64(runtime.NumCPU()) {
			return
		}
	}
}

// pause waits, because load has a schedule.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// processor is the name of the CPU, for the report.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
		}
	}
	return runtime.GOARCH
}
