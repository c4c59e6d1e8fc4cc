package resourcemanager

import (
	"fmt"
	"slices"
	"time"

	"github.com/weir-run/weir/runtime/internal/wire"
)

const (
	// lostAfter is how long a TaskManager may be silent: five heartbeats, so that a pause of the machine is not a failure.
	lostAfter = 5 * time.Second
	// waitLimit is how long a request may wait for slots before it is refused: a job that ends, or a TaskManager that
	// restarts, has given them back by then. What could never fit is refused at once.
	waitLimit = 10 * time.Second
)

// slots is the slot table.
type slots struct {
	managers map[string]*taskManager
	grants   map[string]grant // by job uid
	waiting  []request
}

type taskManager struct {
	slots, used int
	seen        time.Time
}

type grant struct {
	attempt uint64
	places  []string // per task
}

type request struct {
	wire.Request
	since time.Time
}

// action is a message to send.
type action struct {
	to      string
	message wire.Message
}

func newSlots() *slots {
	return &slots{managers: map[string]*taskManager{}, grants: map[string]grant{}}
}

// step applies one event: a message from a role, or nil for the passing of time.
func (s *slots) step(now time.Time, from string, message wire.Message) []action {
	var actions []action
	switch m := message.(type) {
	case *wire.Offer:
		known := s.managers[from]
		if known == nil {
			known = &taskManager{}
			s.managers[from] = known
		}
		known.slots, known.seen = m.Slots, now
	case *wire.Request:
		s.release(m.Job, m.Attempt.Attempt)
		s.waiting = slices.DeleteFunc(s.waiting, func(r request) bool { return r.Job == m.Job })
		s.waiting = append(s.waiting, request{Request: *m, since: now})
	case *wire.Release:
		s.release(m.Job, m.Attempt.Attempt)
		s.waiting = slices.DeleteFunc(s.waiting, func(r request) bool { return r.Job == m.Job && r.Attempt.Attempt <= m.Attempt.Attempt })
	}
	actions = append(actions, s.expire(now)...)
	return append(actions, s.place(now)...)
}

// release frees a job's slots unless a later attempt holds them.
func (s *slots) release(job string, attempt uint64) {
	held, ok := s.grants[job]
	if !ok || held.attempt > attempt {
		return
	}
	for _, name := range held.places {
		if m := s.managers[name]; m != nil {
			m.used--
		}
	}
	delete(s.grants, job)
}

func (s *slots) expire(now time.Time) []action {
	var actions []action
	for name, m := range s.managers {
		if now.Sub(m.seen) > lostAfter {
			delete(s.managers, name)
			s.vacate(name)
			actions = append(actions, action{to: jobManager, message: &wire.Lost{TaskManager: name}})
		}
	}
	return actions
}

// vacate takes a TaskManager that is gone out of all grants: when it comes back it starts with free slots.
func (s *slots) vacate(name string) {
	for _, g := range s.grants {
		for i := range g.places {
			if g.places[i] == name {
				g.places[i] = ""
			}
		}
	}
}

// place grants waiting requests in the order they came; one that does not fit does not hold back those behind it.
func (s *slots) place(now time.Time) []action {
	var actions []action
	s.waiting = slices.DeleteFunc(s.waiting, func(r request) bool {
		free, total := s.free()
		places := s.pick(r.Tasks)
		switch {
		case places != nil:
			s.grants[r.Job] = grant{attempt: r.Attempt.Attempt, places: places}
			actions = append(actions, action{to: jobManager, message: &wire.Grant{Attempt: r.Attempt, TaskManagers: places}})
			return true
		case total > 0 && r.Tasks > total, now.Sub(r.since) > waitLimit:
			actions = append(actions, action{to: jobManager, message: &wire.Refuse{Attempt: r.Attempt,
				Reason: fmt.Sprintf("%d slots needed, %d of %d are free: lower the parallelism, stop another job, or add slots", r.Tasks, free, total)}})
			return true
		}
		return false
	})
	return actions
}

// pick chooses a place per task, spread over the TaskManagers with most room, or nil when they do not fit. It takes them.
func (s *slots) pick(tasks int) []string {
	if free, _ := s.free(); free < tasks {
		return nil
	}
	places := make([]string, 0, tasks)
	for range tasks {
		best := ""
		for name, m := range s.managers {
			room := m.slots - m.used
			if room > 0 && (best == "" || room > s.managers[best].slots-s.managers[best].used || room == s.managers[best].slots-s.managers[best].used && name < best) {
				best = name
			}
		}
		s.managers[best].used++
		places = append(places, best)
	}
	return places
}

func (s *slots) free() (free, total int) {
	for _, m := range s.managers {
		free += m.slots - m.used
		total += m.slots
	}
	return free, total
}
