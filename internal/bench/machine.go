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

// spent is the CPU time of the whole machine since it started, in seconds: in use, and by a hypervisor given to others.
func spent() (busy, stolen float64) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0 // a machine that cannot be asked counts as quiet
	}
	const idle, waiting, others = 3, 4, 7
	line, _, _ := strings.Cut(string(stat), "\n")
	for i, field := range strings.Fields(line)[1:] {
		ticks, err := strconv.ParseFloat(field, 64)
		switch {
		case err != nil || i == idle || i == waiting || i > others: // a guest's time counts as user time already
		case i == others:
			stolen = ticks / ticksPerSecond
		default:
			busy += ticks / ticksPerSecond
		}
	}
	return busy, stolen
}

// othersShare starts to watch what other machines take of this one's processors. The result tells, in percent of all since.
func othersShare() func() float64 {
	_, before := spent()
	from := time.Now()
	return func() float64 {
		_, after := spent()
		return 100 * (after - before) / time.Since(from).Seconds() / float64(runtime.NumCPU())
	}
}

// quiet waits until the machine has been idle for a second, for so long as quietLimit.
func quiet(ctx context.Context) {
	end := time.Now().Add(quietLimit)
	for time.Now().Before(end) && ctx.Err() == nil {
		busy, stolen := spent()
		pause(ctx, time.Second)
		busyNow, stolenNow := spent()
		if busyNow+stolenNow-busy-stolen < quietCores*float64(runtime.NumCPU()) {
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
