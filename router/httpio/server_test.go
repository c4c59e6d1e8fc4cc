package httpio_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weir-run/weir/router"
	"github.com/weir-run/weir/router/httpio"
)

// seen is a call whose bytes are copied, so that it can be looked at after dispatch has returned.
func seen(call *router.Call) router.Call {
	c := *call
	c.Key, c.Body = bytes.Clone(call.Key), bytes.Clone(call.Body)
	return c
}

// echo answers with what the call says, at epoch 7.
func echo(_ context.Context, call *router.Call) (router.Answer, error) {
	if call.Async {
		return router.Answer{Status: http.StatusAccepted, Epoch: 7}, nil
	}
	text, err := json.Marshal([]string{call.Namespace, call.Type, string(call.Key), call.Idempotency, call.ContentType, string(call.Body)})
	return router.Answer{Status: http.StatusOK, Body: text, Epoch: 7}, err
}

// start runs a server for the length of a test, and returns its URL and what stops it and waits for that.
func start(t testing.TB, cfg httpio.Config, dispatch router.Dispatch) (string, func()) {
	t.Helper()
	cfg.Address = "127.0.0.1:0"
	server, err := httpio.New(cfg, dispatch)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stopped := false
	stop := func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Errorf("run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return "http://" + server.Addr().String(), stop
}

// fronts runs a test against both fronts, which must not differ.
func fronts(t *testing.T, cfg httpio.Config, dispatch router.Dispatch, test func(t *testing.T, url string)) {
	t.Run("data plane", func(t *testing.T) {
		address, _ := start(t, cfg, dispatch)
		test(t, address)
	})
	t.Run("control port", func(t *testing.T) {
		handler, err := httpio.NewHandler(cfg, dispatch)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		test(t, server.URL)
	})
}

type reply struct {
	status int
	header http.Header
	body   string
}

func send(t *testing.T, method, url, body string, header http.Header) reply {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
		if name == "Host" {
			request.Host = values[0]
		}
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(b)}
}

func TestACallReachesItsFunctionAndTheReplyComesBackAsItIs(t *testing.T) {
	fronts(t, httpio.Config{}, echo, func(t *testing.T, url string) {
		for path, want := range map[string]string{
			"/in/example/counter/ann":             `["default","example/counter","ann","","text/plain","3"]`,
			"/in/example/counter/ann?x=y":         `["default","example/counter","ann","","text/plain","3"]`,
			"/n/team/in/example/counter/ann":      `["team","example/counter","ann","","text/plain","3"]`,
			"/in/example/counter/a%2Fb%20%C3%A9":  `["default","example/counter","a/b é","","text/plain","3"]`,
			"/in/example/counter/..":              `["default","example/counter","..","","text/plain","3"]`,
			"/in/example/counter/%2E":             `["default","example/counter",".","","text/plain","3"]`,
			"/in/example/counter/a+b":             `["default","example/counter","a+b","","text/plain","3"]`,
			"/n/a%20b/in/example/counter/in%2Fin": `["a b","example/counter","in/in","","text/plain","3"]`,
		} {
			got := send(t, "POST", url+path, "3", http.Header{"Content-Type": {"text/plain"}})
			if got.status != 200 || got.body != want || got.header.Get("Weir-Epoch") != "7" || got.header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("%s: %d %s %v, want %s", path, got.status, got.body, got.header, want)
			}
		}
	})
}

func TestPreferRespondAsyncIsAnsweredWith202(t *testing.T) {
	fronts(t, httpio.Config{}, echo, func(t *testing.T, url string) {
		for prefer, want := range map[string]int{
			"respond-async": 202, "wait=10, Respond-Async": 202, "respond-async; x=1": 202, "wait=10": 200, "respond-asynchronously": 200,
		} {
			got := send(t, "POST", url+"/in/example/counter/ann", "3", http.Header{"Prefer": {prefer}})
			if got.status != want || (got.header.Get("Preference-Applied") == "respond-async") != (want == 202) {
				t.Errorf("Prefer: %s: %d %v, want %d", prefer, got.status, got.header, want)
			}
		}
	})
}

func TestAnIdempotencyKeyIsPassedOn(t *testing.T) {
	fronts(t, httpio.Config{}, echo, func(t *testing.T, url string) {
		for _, c := range []struct {
			keys []string
			want int
		}{
			{[]string{"8e03978e-40d5-43dd-bc93-6894a57f9324"}, 200},
			{[]string{strings.Repeat("k", 256)}, 200},
			{[]string{strings.Repeat("k", 257)}, 400},
			{[]string{""}, 400},
			{[]string{"a", "b"}, 400},
			{[]string{"\xc3\xa9"}, 400},
		} {
			got := send(t, "POST", url+"/in/example/counter/ann", "3", http.Header{"Idempotency-Key": c.keys})
			if got.status != c.want || c.want == 200 && !strings.Contains(got.body, c.keys[0]) {
				t.Errorf("%q: %d %s, want %d", c.keys, got.status, got.body, c.want)
			}
		}
	})
}

func TestWhatIsNotACallIsRefusedWithAProblem(t *testing.T) {
	unreached := func(_ context.Context, call *router.Call) (router.Answer, error) {
		t.Errorf("dispatched %s %q", call.Type, call.Key)
		return router.Answer{Status: 200}, nil
	}
	fronts(t, httpio.Config{MaxBody: 1000}, unreached, func(t *testing.T, url string) {
		for _, c := range []struct {
			method, path, body string
			header             http.Header
			want               int
			kind               string
		}{
			{"GET", "/in/example/counter/ann", "", nil, 405, "method-not-allowed"},
			{"PUT", "/in/example/counter/ann", "3", nil, 405, "method-not-allowed"},
			{"OPTIONS", "/in/example/counter/ann", "", nil, 405, "method-not-allowed"},
			{"POST", "/", "3", nil, 404, "not-found"},
			{"POST", "/in/example/counter", "3", nil, 404, "not-found"},
			{"POST", "/in/example/counter/", "3", nil, 400, "bad-key"},
			{"POST", "/in///", "3", nil, 404, "no-such-function"},
			{"POST", "/in/example/counter/a/b", "3", nil, 404, "not-found"},
			{"POST", "/n/in/example/counter/a", "3", nil, 404, "not-found"},
			{"POST", "/n//in/example/counter/a", "3", nil, 404, "not-found"},
			{"POST", "/in/example/co%20unter/a", "3", nil, 404, "no-such-function"},
			{"POST", "/in/example/a%2Fb/c", "3", nil, 404, "no-such-function"},
			{"POST", "/in/example/counter/" + strings.Repeat("k", 4097), "3", nil, 400, "bad-key"},
			{"POST", "/in/example/counter/ann", strings.Repeat("x", 1001), nil, 413, "body-too-large"},
			{"POST", "/in/example/counter/ann", "3", http.Header{"Origin": {"http://evil.example"}}, 403, "foreign-origin"},
			{"POST", "/in/example/counter/ann", "3", http.Header{"Host": {"evil.example:8089"}}, 403, "foreign-host"},
		} {
			got := send(t, c.method, url+c.path, c.body, c.header)
			var problem router.Problem
			err := json.Unmarshal([]byte(got.body), &problem)
			if err != nil || got.status != c.want || problem.Status != c.want || problem.Type != c.kind || got.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %.60s: %d %s %v, want %d %s", c.method, c.path, got.status, got.body, got.header, c.want, c.kind)
			}
			if c.want == 413 && !strings.Contains(problem.Detail, "1000 bytes") {
				t.Errorf("the limit is not in %q", problem.Detail)
			}
			if (got.header.Get("Allow") == "POST") != (c.want == 405) {
				t.Errorf("%s %.60s: Allow is %q", c.method, c.path, got.header.Get("Allow"))
			}
		}
	})
}

func TestOnAnInsecureListenerAnyHostAndOriginIsTaken(t *testing.T) {
	fronts(t, httpio.Config{InsecureListen: true}, echo, func(t *testing.T, url string) {
		got := send(t, "POST", url+"/in/example/counter/ann", "3", http.Header{"Host": {"weir.example"}, "Origin": {"https://app.example"}})
		if got.status != 200 {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
}

func TestARefusalOfTheDispatchIsPassedOn(t *testing.T) {
	refuse := func(context.Context, *router.Call) (router.Answer, error) {
		return router.Answer{Epoch: 9, Problem: &router.Problem{Type: "invocation-failed", Title: "the function failed", Status: 422, Detail: "negative bid"}}, nil
	}
	fronts(t, httpio.Config{}, refuse, func(t *testing.T, url string) {
		got := send(t, "POST", url+"/in/example/counter/ann", "3", nil)
		want := `{"type":"invocation-failed","title":"the function failed","status":422,"detail":"negative bid"}`
		if got.status != 422 || got.body != want || got.header.Get("Weir-Epoch") != "9" {
			t.Errorf("got %d %s, want %s", got.status, got.body, want)
		}
	})
}

func TestAClientOfAJobAtRestIsNotToldWhenToComeBack(t *testing.T) {
	refuse := func(context.Context, *router.Call) (router.Answer, error) {
		return router.Answer{Problem: &router.Problem{Type: "job-at-rest", Title: "the job is at rest", Status: 503}}, nil
	}
	fronts(t, httpio.Config{}, refuse, func(t *testing.T, url string) {
		if got := send(t, "POST", url+"/in/example/counter/ann", "3", nil); got.status != 503 || got.header.Get("Retry-After") != "" {
			t.Errorf("got %d %s %v", got.status, got.body, got.header)
		}
	})
}

func TestBeyondTheCallsInFlightAClientIsToldToComeBack(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	hold := func(context.Context, *router.Call) (router.Answer, error) {
		arrived <- struct{}{}
		<-release
		return router.Answer{Status: 204}, nil
	}
	fronts(t, httpio.Config{MaxInFlight: 1}, hold, func(t *testing.T, url string) {
		first := make(chan reply, 1)
		go func() { first <- send(t, "POST", url+"/in/example/counter/ann", "3", nil) }()
		<-arrived
		got := send(t, "POST", url+"/in/example/counter/bob", "3", nil)
		if got.status != 503 || got.header.Get("Retry-After") != "1" || !strings.Contains(got.body, "too-many-calls") {
			t.Errorf("the second call got %d %s", got.status, got.body)
		}
		release <- struct{}{}
		if got := <-first; got.status != 204 || got.body != "" {
			t.Errorf("the first call got %d %s", got.status, got.body)
		}
	})
}

func TestACallThatIsNotCommittedInTimeIsToldSo(t *testing.T) {
	never := func(ctx context.Context, _ *router.Call) (router.Answer, error) {
		<-ctx.Done()
		return router.Answer{}, ctx.Err()
	}
	fronts(t, httpio.Config{Timeout: time.Millisecond}, never, func(t *testing.T, url string) {
		got := send(t, "POST", url+"/in/example/counter/ann", "3", nil)
		if got.status != 504 || !strings.Contains(got.body, "same Idempotency-Key") {
			t.Errorf("got %d %s", got.status, got.body)
		}
	})
}

func TestStoppingWaitsForTheCallsInFlight(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	address, stop := start(t, httpio.Config{}, func(context.Context, *router.Call) (router.Answer, error) {
		close(arrived)
		<-release
		return router.Answer{Status: 200, Body: []byte("done")}, nil
	})
	first := make(chan reply, 1)
	go func() { first <- send(t, "POST", address+"/in/example/counter/ann", "3", nil) }()
	<-arrived
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	host := strings.TrimPrefix(address, "http://")
	for { // until the listener is closed, which is the first thing a stop does
		conn, err := net.Dial("tcp", host)
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case <-stopped:
		t.Fatal("stopped with a call in flight")
	default:
	}
	close(release)
	if got := <-first; got.status != 200 || got.body != "done" {
		t.Errorf("the call in flight got %d %s", got.status, got.body)
	}
	<-stopped
}

func TestAServerThatIsStoppedBeforeItServesEnds(t *testing.T) {
	server, err := httpio.New(httpio.Config{Address: "127.0.0.1:0"}, echo)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := server.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestDamagedRequestsAreRefusedAndTheirConnectionClosed(t *testing.T) {
	address, _ := start(t, httpio.Config{MaxBody: 1000}, func(_ context.Context, call *router.Call) (router.Answer, error) {
		t.Errorf("dispatched %q %q", call.Key, call.Body)
		return router.Answer{Status: 200}, nil
	})
	for name, c := range map[string]struct {
		bytes string
		want  int
	}{
		"not HTTP":             {"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400},
		"no version":           {"POST /in/a/b/c\r\n\r\n", 400},
		"two lengths":          {"POST /in/a/b/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12", 400},
		"length and chunks":    {"POST /in/a/b/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"negative length":      {"POST /in/a/b/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400},
		"length out of range":  {"POST /in/a/b/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
		"length beyond limit":  {"POST /in/a/b/c HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n", 413},
		"chunks beyond limit":  {"POST /in/a/b/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n7d1\r\n" + strings.Repeat("x", 2001) + "\r\n0\r\n\r\n", 413},
		"bad chunk":            {"POST /in/a/b/c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n", 400},
		"endless header":       {"POST /in/a/b/c HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431},
		"space before a colon": {"POST /in/a/b/c HTTP/1.1\r\nHost : localhost\r\n\r\n", 400},
		"no host":              {"POST /in/a/b/c HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.bytes); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != c.want {
				body, _ := io.ReadAll(response.Body)
				t.Errorf("got %d %s, want %d", response.StatusCode, body, c.want)
			}
		})
	}
}

func TestConnectionsAreKeptForTheNextCall(t *testing.T) {
	address, _ := start(t, httpio.Config{}, echo)
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for i := range 3 { // the second and third travel together
		fmt.Fprintf(conn, "POST /in/a/b/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", i)
		if i == 1 {
			continue
		}
		for k := max(0, 2*i-3); k <= i; k++ {
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if want := fmt.Sprintf(`["default","a/b","%d","","","x"]`, k); err != nil || string(body) != want {
				t.Errorf("got %s, %v, want %s", body, err, want)
			}
		}
	}
}

func TestWithoutTheInsecureOptionOnlyLoopbackIsBound(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0"} {
		if _, err := httpio.New(httpio.Config{Address: address}, echo); err == nil || !strings.Contains(err.Error(), "insecure") {
			t.Errorf("%s: %v", address, err)
		}
	}
	server, err := httpio.New(httpio.Config{Address: "0.0.0.0:0", InsecureListen: true}, echo)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := server.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	address, _ := start(t, httpio.Config{}, echo)
	host := strings.TrimPrefix(address, "http://")
	if _, err := httpio.New(httpio.Config{Address: host}, echo); err == nil || !strings.Contains(err.Error(), host) {
		t.Errorf("got %v", err)
	}
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/in/a/b/c", "/n/t/in/a/b/%2F", "/in/a/b/%zz", "/in//b/c", "/n/%2F/in/a/b/c", "/in/a/b/c/d", "//in/a/b/c"} {
		f.Add(seed)
	}
	var got *router.Call
	handler, err := httpio.NewHandler(httpio.Config{}, func(_ context.Context, call *router.Call) (router.Answer, error) {
		c := seen(call)
		got = &c
		return router.Answer{Status: 204}, nil
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		parsed, err := url.ParseRequestURI(path)
		if err != nil || parsed.Host != "" {
			return
		}
		got = nil
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, &http.Request{Method: "POST", URL: parsed, Host: "localhost", Body: http.NoBody})
		if (recorder.Code == 204) != (got != nil) {
			t.Fatalf("%q: answered %d, dispatched %v", path, recorder.Code, got)
		}
		if got == nil {
			return
		}
		namespace, name, _ := strings.Cut(got.Type, "/")
		want := "/in/" + namespace + "/" + name + "/" + url.PathEscape(string(got.Key))
		again, err := url.Parse("/n/" + url.PathEscape(got.Namespace) + want)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		first := *got
		handler.ServeHTTP(httptest.NewRecorder(), &http.Request{Method: "POST", URL: again, Host: "localhost", Body: http.NoBody})
		if got.Type != first.Type || got.Namespace != first.Namespace || !bytes.Equal(got.Key, first.Key) {
			t.Fatalf("%q is %v, which is written %q, which is %v", path, first, again, *got)
		}
	})
}

func TestCloseGivesThePortOfAServerThatNeverRanBack(t *testing.T) {
	never := func(context.Context, *router.Call) (router.Answer, error) { return router.Answer{}, nil }
	first, err := httpio.New(httpio.Config{Address: "127.0.0.1:0"}, never)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := httpio.New(httpio.Config{Address: first.Addr().String()}, never)
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestASlowClientDoesNotHoldUpOthers(t *testing.T) {
	address, _ := start(t, httpio.Config{}, echo)
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, part := range []string{"POST /in/a/b/slow HT", "TP/1.1\r\nHost: localhost\r\nContent-Le", "ngth: 2\r\n\r\nx", "y"} {
		if got := send(t, "POST", address+"/in/a/b/fast", "3", nil); got.status != 200 {
			t.Errorf("the other client got %d %s", got.status, got.body)
		}
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != `["default","a/b","slow","","","xy"]` {
		t.Errorf("the slow client got %s, %v", body, err)
	}
}
