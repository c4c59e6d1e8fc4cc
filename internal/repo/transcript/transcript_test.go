package transcript_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/weir-run/weir/internal/repo/transcript"
)

const document = "# Title\n" +
	"```sh\n$ echo one \\\n  two\none two\n\n$ cat <<'EOF'\n$ not a command\nEOF\n…\n$ false   # exits 1\n```\n" +
	"```text\n$ rm -rf everything\n```\n" +
	"```console\n$ sleep 100 & # goes on\n```\n" +
	"```sh\nmake build\n\n# only a comment\nmake test\n```\n"

func TestParseFindsCommandsAndWhatTheyPrint(t *testing.T) {
	want := []transcript.Step{
		{Line: 3, Command: "echo one \\\n  two", Want: []string{"one two"}},
		{Line: 7, Command: "cat <<'EOF'\n$ not a command\nEOF", Want: []string{"…"}},
		{Line: 11, Command: "false   # exits 1", Exit: 1},
		{Line: 17, Command: "sleep 100 & # goes on", Background: true},
		{Line: 20, Command: "make build"},
		{Line: 23, Command: "make test"},
	}
	if got := transcript.Parse(document); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}

func TestMatchTakesAnEllipsisForAnything(t *testing.T) {
	for _, c := range []struct {
		want   []string
		got    string
		begins bool
		match  bool
	}{
		{nil, "anything", false, true},
		{[]string{"3"}, "3\n", false, true},
		{[]string{"3"}, "33\n", false, false},
		{[]string{"3"}, "", false, false},
		{[]string{"3"}, "3\n4\n", false, false},
		{[]string{"3"}, "3\n4\n", true, true},
		{[]string{"count … 12 …"}, "count  int64 12  ago", false, true},
		{[]string{"a (b)+ …"}, "a b c", false, false},
		{[]string{"first", "…", "last"}, "first\nlast", false, true},
		{[]string{"first", "…", "last"}, "first\n2\n3\nlast", false, true},
		{[]string{"first", "…", "last"}, "first\n2\n3", false, false},
		{[]string{"first", "…"}, "first", false, true},
	} {
		if got := transcript.Match(c.want, c.got, c.begins); got != c.match {
			t.Errorf("Match(%q, %q, %v) = %v", c.want, c.got, c.begins, got)
		}
	}
}

func TestShellRunsADocumentInOrder(t *testing.T) {
	shell := start(t)
	for _, step := range transcript.Parse("```sh\n" + strings.Join([]string{
		"$ mkdir a && cd a && name=ann",
		"$ pwd",
		"…/a",
		"$ echo hello $name; echo careful >&2",
		"hello ann",
		"careful",
		"$ (echo up; exec sleep 600) &",
		"up",
		"$ printf 'no newline'",
		"no newline",
		"$ sh -c 'exit 3' # exits 3",
	}, "\n") + "\n```\n") {
		if out, err := shell.Run(t.Context(), step); err != nil {
			t.Fatalf("line %d: %s: %v: %q", step.Line, step.Command, err, out)
		}
	}
}

func TestShellSaysHowAStepDiffers(t *testing.T) {
	for command, want := range map[string]string{
		"$ echo 4\n3":        "prints something else",
		"$ false":            "exit code 1, not 0",
		"$ true # exits 1":   "exit code 0, not 1",
		"$ echo other &\nup": "ended, and printed something else",
		"$ exit 4":           "not done: EOF",
	} {
		shell := start(t)
		_, err := shell.Run(t.Context(), transcript.Parse("```sh\n" + command + "\n```\n")[0])
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", command, err, want)
		}
	}
}

func start(t *testing.T) *transcript.Shell {
	t.Helper()
	shell, err := transcript.Start(t.TempDir(), os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shell.Close(); err != nil {
			t.Error(err)
		}
	})
	return shell
}
