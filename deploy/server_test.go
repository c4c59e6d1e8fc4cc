package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/weir-run/weir/deploy"
	"github.com/weir-run/weir/router"
)

func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

func TestAnAddressThatOthersReachNeedsTheInsecureFlag(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		if _, err := deploy.Listen(address, false, http.HandlerFunc(ok), slog.Default()); !errors.Is(err, deploy.ErrNotLoopback) {
			t.Errorf("%s: %v", address, err)
		}
	}
	s, err := deploy.Listen("0.0.0.0:0", true, http.HandlerFunc(ok), slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	first, err := deploy.Listen("127.0.0.1:0", false, http.HandlerFunc(ok), slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := deploy.Listen(first.Addr(), false, http.HandlerFunc(ok), slog.Default()); !errors.Is(err, deploy.ErrPortInUse) {
		t.Fatalf("got %v", err)
	}
}

func TestOnLoopbackAWebPageIsNoWayIn(t *testing.T) {
	server, err := deploy.Listen("127.0.0.1:0", false, http.HandlerFunc(ok), slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	for _, c := range []struct {
		name, host, header, value string
		status                    int
		kind                      string
	}{
		{"a tool", server.Addr(), "", "", http.StatusNoContent, ""},
		{"localhost", "localhost", "", "", http.StatusNoContent, ""},
		{"a name that was pointed at loopback", "evil.example:8088", "", "", http.StatusForbidden, "foreign-host"},
		{"a page of another site", server.Addr(), "Sec-Fetch-Site", "cross-site", http.StatusForbidden, "foreign-origin"},
		{"a page in an old browser", server.Addr(), "Origin", "http://evil.example", http.StatusForbidden, "foreign-origin"},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+server.Addr()+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = c.host
		if c.header != "" {
			request.Header.Set(c.header, c.value)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.status || err != nil {
			t.Errorf("%s: %d, want %d; %v", c.name, response.StatusCode, c.status, err)
		}
		var p router.Problem
		if c.kind == "" {
			continue
		}
		if err := json.Unmarshal(text, &p); err != nil || p.Type != c.kind || response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %q as %s: %v", c.name, text, response.Header.Get("Content-Type"), err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRequestsThatRunEndBeforeTheServerDoes(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	server, err := deploy.Listen("127.0.0.1:0", false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		ok(w, r)
	}), slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	draining := make(chan struct{})
	server.OnShutdown(func() { close(draining) })
	done, status := make(chan error, 1), make(chan int, 1)
	go func() { done <- server.Run(ctx) }()
	go func() {
		response, err := http.Get("http://" + server.Addr())
		if err != nil {
			status <- 0
			return
		}
		response.Body.Close()
		status <- response.StatusCode
	}()
	<-entered
	stop()
	<-draining
	close(release)
	if got := <-status; got != http.StatusNoContent {
		t.Errorf("the request that ran got %d", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
