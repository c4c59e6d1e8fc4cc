package checkpoint

import "testing"

// Calls that meet within a system call cannot be arranged from outside.

func TestAFileThatIsOpenedWhileItIsDeletedIsNoSpare(t *testing.T) {
	s := spares{on: true}
	if !s.wants("a", 1) {
		t.Fatal("a file that nobody reads is not wanted")
	}
	s.opening("a") // and then it is renamed
	if _, ok := s.add("a", spare{path: "spare-1", size: 1}); ok || len(s.waiting) != 0 {
		t.Error("it is a spare")
	}
	s.closed("a")
	if _, ok := s.add("a", spare{path: "spare-2", size: 1}); !ok || len(s.open) != 0 {
		t.Errorf("a file that was closed is no spare; open are %v", s.open)
	}
}

func TestAFileThatIsDeletedDuringASyncIsNotRipeAfterIt(t *testing.T) {
	s := spares{on: true}
	add := func(path string) {
		if _, ok := s.add(path, spare{dir: "dir", path: path}); !ok {
			t.Fatal("no room")
		}
	}
	add("before")
	last := s.last()
	add("during")
	s.ripen("dir", last)
	if got := s.take("dir"); got != "before" {
		t.Errorf("took %q", got)
	}
	if got := s.take("dir"); got != "" {
		t.Errorf("took %q, whose deletion may not be durable", got)
	}
	s.ripen("dir", s.last())
	if got := s.take("dir"); got != "during" {
		t.Errorf("took %q", got)
	}
}
