package resourcemanager

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/runtime/internal/wire"
)

var start = time.Unix(1_000_000, 0)

func words(actions []action) string {
	var all []string
	for _, a := range actions {
		switch m := a.message.(type) {
		case *wire.Grant:
			places := slices.Clone(m.TaskManagers)
			slices.Sort(places)
			all = append(all, fmt.Sprintf("grant %s %v", m.Job, places))
		case *wire.Refuse:
			all = append(all, "refuse "+m.Job)
		case *wire.Lost:
			all = append(all, "lost "+m.TaskManager)
		}
	}
	return strings.Join(all, "; ")
}

func ask(job string, attempt uint64, tasks int) *wire.Request {
	return &wire.Request{Attempt: wire.Attempt{Job: job, Attempt: attempt}, Tasks: tasks}
}

func TestSlotScripts(t *testing.T) {
	type line struct {
		second int
		from   string
		m      wire.Message
		want   string
	}
	for name, lines := range map[string][]line{
		"a job gets all its slots or waits, and gets them when others give theirs back": {
			{0, "t1", &wire.Offer{Slots: 2}, ""},
			{0, "jm", ask("a", 1, 2), "grant a [t1 t1]"},
			{1, "jm", ask("b", 1, 1), ""},
			{2, "jm", &wire.Release{Attempt: wire.Attempt{Job: "a", Attempt: 1}}, "grant b [t1]"},
		},
		"tasks are spread": {
			{0, "t1", &wire.Offer{Slots: 2}, ""},
			{0, "t2", &wire.Offer{Slots: 2}, ""},
			{0, "jm", ask("a", 1, 2), "grant a [t1 t2]"},
		},
		"a later attempt takes the slots of the earlier one, whose late release changes nothing": {
			{0, "t1", &wire.Offer{Slots: 1}, ""},
			{0, "jm", ask("a", 1, 1), "grant a [t1]"},
			{1, "jm", ask("a", 2, 1), "grant a [t1]"},
			{1, "jm", &wire.Release{Attempt: wire.Attempt{Job: "a", Attempt: 1}}, ""},
			{1, "jm", ask("b", 1, 1), ""},
		},
		"a silent taskmanager is lost": {
			{0, "t1", &wire.Offer{Slots: 1}, ""},
			{4, "", nil, ""},
			{6, "", nil, "lost t1"},
		},
		"a taskmanager that comes back is not overfilled by what it had lost": {
			{0, "t1", &wire.Offer{Slots: 1}, ""},
			{0, "jm", ask("a", 1, 1), "grant a [t1]"},
			{6, "", nil, "lost t1"},
			{7, "t1", &wire.Offer{Slots: 1}, ""},
			{7, "jm", &wire.Release{Attempt: wire.Attempt{Job: "a", Attempt: 1}}, ""},
			{8, "jm", ask("a", 2, 1), "grant a [t1]"},
			{8, "jm", ask("b", 1, 1), ""},
		},
		"a request that does not fit is refused in time, and does not hold back a smaller one": {
			{0, "t1", &wire.Offer{Slots: 1}, ""},
			{0, "jm", ask("first", 1, 1), "grant first [t1]"},
			{0, "t1", &wire.Offer{Slots: 2}, ""},
			{0, "jm", ask("big", 1, 2), ""},
			{1, "jm", ask("small", 1, 1), "grant small [t1]"},
			{4, "t1", &wire.Offer{Slots: 2}, ""},
			{8, "t1", &wire.Offer{Slots: 2}, ""},
			{11, "t1", &wire.Offer{Slots: 2}, "refuse big"},
		},
		"a request larger than everything is refused at once": {
			{0, "t1", &wire.Offer{Slots: 2}, ""},
			{0, "jm", ask("big", 1, 3), "refuse big"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSlots()
			for i, l := range lines {
				if got := words(s.step(start.Add(time.Duration(l.second)*time.Second), l.from, l.m)); got != l.want {
					t.Fatalf("line %d: got %q, want %q", i, got, l.want)
				}
			}
		})
	}
}
