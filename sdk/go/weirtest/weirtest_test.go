package weirtest_test

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	weir "github.com/weir-run/weir/sdk/go"
	"github.com/weir-run/weir/sdk/go/weirtest"
)

// The module under test: players take turns, and every turn is counted and logged.
var turns = weir.Int64("turns")

func TestMain(m *testing.M) {
	register()
	os.Exit(m.Run())
}

// register does what init does in a module.
func register() {
	weir.Ingress("serves", "game/ping")
	weir.Handle("game/ping", func(c *weir.Call, left int64) error {
		turns.Set(c, turns.Get(c)+1)
		if left > 0 {
			c.Send("game/pong", c.Key(), left-1)
		}
		return nil
	})
	weir.Handle("game/pong", func(c *weir.Call, left int64) error {
		if left == 7 {
			return fmt.Errorf("dropped the ball")
		}
		turns.Set(c, turns.Get(c)+1)
		c.Send("game/ping", c.Key(), left)
		c.Send("elsewhere/umpire", c.Key(), left)
		return nil
	})
	weir.Handle("game/clock", func(c *weir.Call, _ []byte) error {
		return c.ReplyJSON(map[string]int64{"at": c.Now().Unix()})
	})
}

func TestMessagesAreDeliveredUntilNoneIsLeft(t *testing.T) {
	h := weirtest.New(t)
	if out := h.Deliver("serves", "court", 3); out.Err() != nil || out.Replied {
		t.Errorf("outcome %+v", out)
	}
	ping, _ := weirtest.Get(h, turns, "game/ping", "court")
	pong, _ := weirtest.Get(h, turns, "game/pong", "court")
	if ping != 4 || pong != 3 || len(h.Sent("elsewhere/umpire")) != 3 {
		t.Errorf("%d pings, %d pongs, umpire %v", ping, pong, h.Sent("elsewhere/umpire"))
	}
}

func TestAFailureFurtherOnShowsInFailuresOnly(t *testing.T) {
	h := weirtest.New(t)
	weirtest.Set(h, turns, "game/ping", "court", 10)
	if out := h.Invoke("game/ping", "court", int64(8)); out.Err() != nil {
		t.Error(out.Err())
	}
	want := []weirtest.Failure{{Function: "game/pong", Key: "court", Code: 1, Text: "dropped the ball"}}
	if !reflect.DeepEqual(h.Failures(), want) {
		t.Errorf("failures %v", h.Failures())
	}
	if n, _ := weirtest.Get(h, turns, "game/ping", "court"); n != 11 {
		t.Errorf("turns %d, want 11", n)
	}
	if _, ok := weirtest.Get(h, turns, "game/pong", "court"); ok {
		t.Error("the failed function has state")
	}
}

func TestTimeStandsStillUnlessMoved(t *testing.T) {
	h := weirtest.New(t)
	at := func() int64 {
		var reply struct{ At int64 }
		h.Invoke("game/clock", "", nil).JSON(&reply)
		return reply.At
	}
	first, second := at(), at()
	h.Advance(time.Hour)
	third := at()
	h.SetTime(weirtest.Epoch)
	if first != weirtest.Epoch.Unix() || second != first || third != first+3600 || at() != first {
		t.Errorf("times %d %d %d", first, second, third)
	}
}

// fatal is a testing.TB that remembers why a harness gave up.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Helper()         {}
func (f *fatal) Log(args ...any) {}

func (f *fatal) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f)
}

func TestMistakesOfATestEndItWithAReason(t *testing.T) {
	for _, bad := range []struct {
		do   func(h *weirtest.Harness)
		want string
	}{
		{func(h *weirtest.Harness) { h.Invoke("game/none", "k", 1) }, `no function "game/none"`},
		{func(h *weirtest.Harness) { h.Deliver("none", "k", 1) }, `no function has topic "none" as ingress: add weir.Ingress("none", `},
		{func(h *weirtest.Harness) { h.Invoke("game/ping", "k", func() {}) }, "unsupported type"},
		{func(h *weirtest.Harness) { h.Invoke("game/ping", "k", 1_000_000) }, "without end"},
	} {
		tb := &fatal{TB: t}
		func() {
			defer func() { _ = recover() }() // Fatalf above ends the call, as a test's own would
			bad.do(weirtest.New(tb))
		}()
		if !strings.Contains(tb.text, bad.want) {
			t.Errorf("the reason is %q, want %q", tb.text, bad.want)
		}
	}
}
