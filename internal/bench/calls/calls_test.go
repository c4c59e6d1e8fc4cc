package calls_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-run/weir/internal/bench/calls"
)

// counter adds what it is sent, except where wrong has a word.
type counter struct {
	mu    sync.Mutex // guards sums
	sums  map[string]int64
	wrong func(key string, add, sum int64) int64
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	add, bad := strconv.ParseInt(string(body), 10, 64)
	if err != nil || bad != nil || r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "send a number", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums[r.URL.Path] += add
	if c.wrong != nil {
		c.sums[r.URL.Path] = c.wrong(r.URL.Path, add, c.sums[r.URL.Path])
	}
	fmt.Fprint(w, c.sums[r.URL.Path])
}

func (c *counter) load(t *testing.T, connections int, keys int64) *calls.Load {
	c.sums = map[string]int64{}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	l := calls.New("k", connections, keys, func(key string) string { return server.URL + "/" + key })
	t.Cleanup(l.Close)
	return l
}

func TestEveryCallIsCountedTimedAndVerified(t *testing.T) {
	c := &counter{}
	l := c.load(t, 4, 20)
	var timed int64
	for range 2 {
		millis, err := l.Run(t.Context(), 20*time.Millisecond)
		if err != nil || !slices.IsSorted(millis) || len(millis) < 4 {
			t.Fatalf("times %v, %v", millis, err)
		}
		timed += int64(len(millis))
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	var counted int64
	for _, sum := range c.sums {
		counted += sum
	}
	if l.Calls() != counted || timed != counted || len(c.sums) > 20 {
		t.Errorf("%d calls, %d times, %d counted in %d keys", l.Calls(), timed, counted, len(c.sums))
	}
}

func TestLoadFindsWhatIsLostOrDoubled(t *testing.T) {
	for name, wrong := range map[string]func(string, int64, int64) int64{
		"lost":    func(_ string, add, sum int64) int64 { return sum - add*(sum/3%2) },
		"doubled": func(_ string, add, sum int64) int64 { return sum + add*(sum/3%2) },
	} {
		c := &counter{wrong: wrong}
		_, err := c.load(t, 1, 1).Run(t.Context(), time.Second)
		if err == nil || !strings.Contains(err.Error(), "and should be") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyFindsWhatIsLostAfterItsAnswer(t *testing.T) {
	c := &counter{}
	l := c.load(t, 1, 3)
	if _, err := l.Run(t.Context(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	c.sums["/k-0-0"]--
	if err := l.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "key k-0-0") {
		t.Errorf("got %v", err)
	}
}

func TestRefusedCallSaysWhy(t *testing.T) {
	c := &counter{}
	server := httptest.NewServer(c)
	defer server.Close()
	_, err := calls.Post(context.Background(), server.Client(), server.URL, "x")
	if err == nil || !strings.Contains(err.Error(), "400 Bad Request: send a number") {
		t.Errorf("got %v", err)
	}
}
