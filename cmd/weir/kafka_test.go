package main

import (
	"bytes"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/weir-run/weir/router/kafkaio"
)

// onBroker runs a command against an embedded broker, and returns its answer without what differs from run to run.
func onBroker(t *testing.T, address, stdin string, args ...string) string {
	t.Helper()
	var out, stderr bytes.Buffer
	s := &shell{in: strings.NewReader(stdin), out: &out, err: &stderr, dir: t.TempDir(), environ: []string{"WEIR_KAFKA=" + address}}
	code := s.run(t.Context(), args)
	text := out.String()
	if code != exitDone {
		text += "[exit " + string(rune('0'+code)) + "] " + stderr.String()
	}
	return regexp.MustCompile(`"time":"[^"]*"`).ReplaceAllString(strings.ReplaceAll(text, address, "BROKER"), `"time":"T"`)
}

func TestRecordsAreProducedAndConsumed(t *testing.T) {
	broker, err := kafkaio.StartEmbedded(t.Context(), kafkaio.EmbeddedConfig{Dir: t.TempDir(), Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	for _, step := range []struct{ stdin, args, want string }{
		{"", "produce clicks ann 5", "[exit 1] error: topic \"clicks\" does not exist\n  weir topics clicks --create 1 makes it\n"},
		{"", "topics clicks --create 1", "PARTITION  LEADER  START  END\n0          0       0      0\n"},
		{"", "produce click ann 5", "[exit 1] error: topic \"click\" does not exist\n  the broker has clicks\n  weir topics click --create 1 makes it\n"},
		{"", "produce clicks ann 5", "produced  clicks[0]@0\n"},
		{"\xff\xfe", "produce clicks ann - --header source=test -o json", "{\n  \"topic\": \"clicks\",\n  \"partition\": 0,\n  \"offset\": 1\n}\n"},
		{"", "produce clicks bob", "produced  clicks[0]@2\n"},
		{"", "consume clicks -n 3", "ann  5\nann  \"\\xff\\xfe\"\nbob  (none)\n"},
		{"", "consume clicks --to-end --from 2 -o json",
			`{"topic":"clicks","partition":0,"offset":2,"time":"T","key":"bob","value":null}` + "\n"},
		{"", "consume clicks --to-end --from 1 -n 1 -o json",
			`{"topic":"clicks","partition":0,"offset":1,"time":"T","key":"ann","value":{"base64":"//4="},"headers":{"source":"test"}}` + "\n"},
		{"", "consume clicks --from soon", "[exit 2] error: --from soon: want start, end, or an offset\n"},
		{"", "consume clicks --from end -n 1 --timeout 50ms", "[exit 4] error: timed out\n  --timeout sets how long a command may take\n"},
		{"", "consume clicks --from end --timeout 50ms", "[exit 4] error: timed out\n  --timeout sets how long a command may take\n"},
		{"", "topics clicks --create 1", "[exit 1] error: topic \"clicks\" exists already; nothing was changed\n  weir topics clicks describes it\n"},
		{"", "__complete consume cl", "clicks\nweir-markers\n:4\n"},
		{"", "topics clicks --create 0", "[exit 2] error: --create wants the name of a topic and a number of partitions above 0\n"},
	} {
		if got := onBroker(t, broker.Address(), step.stdin, strings.Fields(step.args)...); got != step.want {
			t.Errorf("weir %s\ngot  %q\nwant %q", step.args, got, step.want)
		}
	}
}

func TestABrokerThatIsNotThereGivesTheExitCodeOfAnUnreachableServer(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	got := onBroker(t, address, "", "topics")
	if !strings.HasPrefix(got, "[exit 3] error: cannot reach the broker at BROKER: ") {
		t.Errorf("got %q", got)
	}
}

func TestWithoutAKafkaFlagTheServerNamesTheBroker(t *testing.T) {
	s := newStage(t)
	var stderr bytes.Buffer
	s.shell.out, s.shell.err = io.Discard, &stderr
	if code := s.shell.run(t.Context(), []string{"topics"}); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if want := "error: the server has no broker of its own\n  name one with --kafka host:port\n"; stderr.String() != want {
		t.Errorf("stderr %q", &stderr)
	}
}
