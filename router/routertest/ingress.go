package routertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/functions"
	"github.com/weir-run/weir/router"
)

// IngressSetup is what a task gives an ingress to start with. The constructor adds where the log is.
type IngressSetup struct {
	Ingress     functions.Ingress
	Task, Tasks int
	Positions   []router.Position
	Started     bool
}

// OpenIngress is an implementation's constructor.
type OpenIngress func(IngressSetup) (router.Ingress, error)

// TestIngress runs the suite of router.Ingress.
func TestIngress(t *testing.T, w World, open OpenIngress) {
	s := ingressSuite{w, open}
	for name, run := range map[string]func(*testing.T){
		"EveryRecordComesOnceInTheOrderOfItsPartition": s.order,
		"RecordsComeWhole":                         s.whole,
		"PositionsOfTheCheckpointWin":              s.resume,
		"TasksShareThePartitions":                  s.share,
		"StartPositionsAreKept":                    s.starts,
		"CommittedOffsetsAreOfferedToTheGroup":     s.group,
		"PartitionsFoundLaterStartAtTheBeginning":  s.later,
		"PatternsFindTopics":                       s.pattern,
		"AbortedRecordsAreMovedPast":               s.aborted,
		"DeletedTopicIsNamed":                      s.deleted,
		"RecreatedTopicIsNamed":                    s.recreated,
		"TruncatedPositionIsNamed":                 s.truncated,
		"PositionBeyondTheLogIsNamed":              s.beyond,
		"AbsentTopicIsWaitedForAndCreatedOnDemand": s.absent,
	} {
		t.Run(name, run)
	}
}

type ingressSuite struct {
	w    World
	open OpenIngress
}

// topic makes a topic with count records over partitions.
func (s ingressSuite) topic(t *testing.T, partitions, count int) string {
	name := topicName(t, "in")
	s.w.Create(t, name, partitions)
	s.w.Write(t, name, numbered(0, count, partitions)...)
	return name
}

func (s ingressSuite) start(t *testing.T, setup IngressSetup) *reading {
	t.Helper()
	setup.Tasks = max(setup.Tasks, 1)
	in, err := s.open(setup)
	return start(t, in, err)
}

func (s ingressSuite) order(t *testing.T) {
	name := s.topic(t, 3, 1000)
	r := s.start(t, IngressSetup{Ingress: oneTopic(name)})
	got := r.collect(1000)
	wantValues(t, got, 0, 1000)
	last := map[int32]int64{}
	for _, one := range got {
		if before, ok := last[one.Partition]; ok && one.Offset <= before {
			t.Fatalf("partition %d: offset %d after %d", one.Partition, one.Offset, before)
		}
		last[one.Partition] = one.Offset
	}
	s.w.Write(t, name, numbered(1000, 1010, 3)...)
	wantValues(t, r.collect(10), 1000, 1010)
	r.stop()
}

func (s ingressSuite) whole(t *testing.T) {
	name := topicName(t, "in")
	s.w.Create(t, name, 1)
	want := []Record{
		{Offset: 0, Key: []byte("k"), Value: []byte("v"), Time: hourAgo + 123, Headers: []router.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}},
		{Offset: 1, Value: []byte("no key"), Time: hourAgo + 124},
		{Offset: 2, Key: []byte("tombstone"), Time: hourAgo + 125},
		{Offset: 3, Key: []byte{}, Value: []byte{}, Time: hourAgo + 126, Headers: []router.Header{{Key: "b", Value: []byte{}}}},
		{Offset: 4, Key: []byte("large"), Value: []byte(strings.Repeat("x", 200)), Time: hourAgo + 127},
	}
	s.w.Write(t, name, want...)
	in := oneTopic(name)
	in.Invalid.MaxBytes = 100
	r := s.start(t, IngressSetup{Ingress: in})
	var got []Record
	var oversized []bool
	for len(got) < len(want) {
		f := r.poll()
		for _, one := range f.Records {
			oversized = append(oversized, one.Oversized)
		}
		got = append(got, copied(f)...)
	}
	for n := range want {
		if g, w := fmt.Sprintf("%#v", got[n]), fmt.Sprintf("%#v", want[n]); g != w {
			t.Errorf("record %d\n got %s\nwant %s", n, g, w)
		}
	}
	if !slices.Equal(oversized, []bool{false, false, false, false, true}) {
		t.Errorf("oversized: %v", oversized)
	}
	r.stop()
}

func (s ingressSuite) resume(t *testing.T) {
	name := s.topic(t, 3, 300)
	in := oneTopic(name)
	in.Start.Type = "latest"
	first := s.start(t, IngressSetup{Ingress: oneTopic(name)})
	got := first.collect(100)
	seal := first.positions()
	first.stop()
	if len(seal) != 3 {
		t.Fatalf("positions %v, want one for each of 3 partitions", seal)
	}
	second := s.start(t, IngressSetup{Ingress: in, Positions: seal, Started: true})
	if p, _ := second.Positions(); len(p) != 3 {
		t.Fatalf("positions %v before anything is known, want those of the checkpoint", p)
	}
	got = append(got, second.collect(300-len(got))...)
	wantValues(t, got, 0, 300)
	second.stop()
}

func (s ingressSuite) share(t *testing.T) {
	name := s.topic(t, 7, 700)
	var all []Record
	owner := map[int32]int{}
	for task := range 3 {
		r := s.start(t, IngressSetup{Ingress: oneTopic(name), Task: task, Tasks: 3})
		owned := r.settled()
		for _, p := range owned {
			if other, taken := owner[p.ID]; taken {
				t.Fatalf("partition %d is read by tasks %d and %d", p.ID, other, task)
			}
			owner[p.ID] = task
		}
		all = append(all, r.collect(100*len(owned))...)
		r.stop()
	}
	wantValues(t, all, 0, 700)
}

func (s ingressSuite) starts(t *testing.T) {
	name := s.topic(t, 1, 10)
	for _, c := range []struct {
		start functions.Start
		first int
	}{
		{functions.Start{Type: "earliest"}, 0},
		{functions.Start{Type: "latest"}, 10},
		{functions.Start{Type: "timestamp", Time: time.UnixMilli(hourAgo + 4)}, 4},
		{functions.Start{Type: "timestamp", Time: time.UnixMilli(hourAgo + 99999)}, 10},
		{functions.Start{Type: "specific-offsets", Offsets: map[string]int64{name + "/0": 7}}, 7},
		{functions.Start{Type: "specific-offsets", Offsets: map[string]int64{"other/0": 7}}, 0},
		{functions.Start{Type: "group-offsets"}, 0},
		{functions.Start{Type: "group-offsets", Reset: "latest"}, 10},
	} {
		t.Run(fmt.Sprintf("%s-%d", c.start.Type, c.first), func(t *testing.T) {
			in := oneTopic(name)
			in.Start, in.Group = c.start, topicName(t, "group")
			r := s.start(t, IngressSetup{Ingress: in})
			p := r.settled()
			if len(p) != 1 || p[0].Offset != int64(c.first) {
				t.Fatalf("starts at %v, want offset %d", p, c.first)
			}
			if c.first < 10 {
				wantValues(t, r.collect(10-c.first), c.first, 10)
			}
			r.stop()
		})
	}
}

func (s ingressSuite) group(t *testing.T) {
	name := s.topic(t, 1, 10)
	in := oneTopic(name)
	in.Group, in.Start.Type = topicName(t, "group"), "group-offsets"
	first := s.start(t, IngressSetup{Ingress: in})
	first.collect(10)
	p := first.positions()
	p[0].Offset = 6
	first.Committed(p)
	first.stop()
	second := s.start(t, IngressSetup{Ingress: in})
	wantValues(t, second.collect(4), 6, 10)
	second.stop()
}

func (s ingressSuite) later(t *testing.T) {
	name := s.topic(t, 1, 10)
	in := oneTopic(name)
	in.Start.Type = "latest"
	first := s.start(t, IngressSetup{Ingress: in})
	seal := first.settled()
	first.stop()
	s.w.Grow(t, name, 2)
	s.w.Write(t, name, Record{Partition: 1, Value: []byte("10")})
	second := s.start(t, IngressSetup{Ingress: in, Positions: seal, Started: true})
	wantValues(t, second.collect(1), 10, 11)
	second.stop()
	// A task may own no partition in the checkpoint, and yet the ingress has started before.
	third := s.start(t, IngressSetup{Ingress: in, Started: true})
	wantValues(t, third.collect(11), 0, 11)
	third.stop()
}

func (s ingressSuite) pattern(t *testing.T) {
	a, b := s.topic(t, 1, 3), topicName(t, "in")+"-b"
	s.w.Create(t, b, 1)
	s.w.Write(t, b, Record{Value: []byte("3")})
	prefix := strings.ReplaceAll(a[:strings.LastIndex(a, ".")], ".", `\.`)
	in := functions.Ingress{ID: "test/in", Topics: []functions.IngressTopic{{Pattern: prefix + `\.\d+-b`}, {Pattern: prefix + `\.\d+`}, {Topic: b}}}
	r := s.start(t, IngressSetup{Ingress: in})
	var got []Record
	rules := map[string]int{}
	for len(got) < 4 {
		f := r.poll()
		rules[f.Partition.Topic] = f.Topic
		got = append(got, copied(f)...)
	}
	wantValues(t, got, 0, 4)
	if rules[a] != 1 || rules[b] != 2 {
		t.Errorf("rules %v, want 1 for %s by pattern and 2 for %s by name", rules, a, b)
	}
	r.stop()
}

func (s ingressSuite) aborted(t *testing.T) {
	name := topicName(t, "in")
	s.w.Create(t, name, 1)
	s.w.Transact(t, name, true, numbered(0, 2, 1)...)
	s.w.Transact(t, name, false, numbered(100, 110, 1)...)
	s.w.Write(t, name, numbered(2, 3, 1)...)
	s.w.Transact(t, name, false, numbered(110, 120, 1)...)
	r := s.start(t, IngressSetup{Ingress: oneTopic(name)})
	wantValues(t, r.collect(3), 0, 3)
	for {
		p := r.positions()[0]
		if p.Offset == 26 { // 23 records and 3 ends of transactions
			break
		}
		r.poll()
	}
	seal := r.positions()
	r.stop()
	// Had the position been left before the ends of transactions, this would be a truncated log.
	s.w.Truncate(t, name, 0, 26)
	again := s.start(t, IngressSetup{Ingress: oneTopic(name), Positions: seal, Started: true})
	s.w.Write(t, name, numbered(3, 4, 1)...)
	wantValues(t, again.collect(1), 3, 4)
	again.stop()
}

func (s ingressSuite) deleted(t *testing.T) {
	name := s.topic(t, 1, 1)
	r := s.start(t, IngressSetup{Ingress: oneTopic(name)})
	r.collect(1)
	seal := r.positions()
	s.w.Delete(t, name)
	wantNamed(t, r.failure(), router.ErrTopicGone, name)
	again := s.start(t, IngressSetup{Ingress: oneTopic(name), Positions: seal, Started: true})
	wantNamed(t, again.failure(), router.ErrTopicGone, name)
}

func (s ingressSuite) recreated(t *testing.T) {
	name := s.topic(t, 1, 5)
	r := s.start(t, IngressSetup{Ingress: oneTopic(name)})
	r.collect(5)
	seal := r.positions()
	r.stop()
	s.w.Delete(t, name)
	s.w.Create(t, name, 1)
	s.w.Write(t, name, numbered(0, 10, 1)...)
	again := s.start(t, IngressSetup{Ingress: oneTopic(name), Positions: seal, Started: true})
	wantNamed(t, again.failure(), router.ErrTopicGone, name)
}

func (s ingressSuite) truncated(t *testing.T) {
	name := s.topic(t, 1, 20)
	r := s.start(t, IngressSetup{Ingress: oneTopic(name)})
	seal := r.settled()
	r.stop()
	seal[0].Offset = 5
	s.w.Truncate(t, name, 0, 12)
	again := s.start(t, IngressSetup{Ingress: oneTopic(name), Positions: seal, Started: true})
	err := again.failure()
	wantNamed(t, err, router.ErrTruncated, name)
	for _, part := range []string{"partition 0", "offset 5", "12 to 20"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %q", err, part)
		}
	}
}

func (s ingressSuite) beyond(t *testing.T) {
	name := s.topic(t, 1, 20)
	r := s.start(t, IngressSetup{Ingress: oneTopic(name)})
	seal := r.settled()
	r.stop()
	seal[0].Offset = 21
	again := s.start(t, IngressSetup{Ingress: oneTopic(name), Positions: seal, Started: true})
	wantNamed(t, again.failure(), router.ErrTruncated, name)
}

func (s ingressSuite) absent(t *testing.T) {
	name, made := topicName(t, "in"), topicName(t, "made")
	in := functions.Ingress{ID: "test/in", Start: functions.Start{Type: "latest"}, Topics: []functions.IngressTopic{{Topic: name}, {Topic: made, Create: 2}}}
	r := s.start(t, IngressSetup{Ingress: in})
	for len(r.settled()) < 2 { // the partitions of the topic that it made
		if r.ctx.Err() != nil {
			t.Fatal("the topic was not created")
		}
	}
	s.w.Create(t, name, 1)
	s.w.Write(t, name, numbered(0, 3, 1)...)
	wantValues(t, r.collect(3), 0, 3)
	r.stop()
}

func wantNamed(t *testing.T, err, want error, name string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), name) {
		t.Fatalf("got error %v, want %v that names %s", err, want, name)
	}
}
