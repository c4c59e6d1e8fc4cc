package functions_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/weir-run/weir/functions"
)

var rewriteHashes = flag.Bool("rewrite-hashes", false, "write testdata/hash.json anew")

const hashVectors = "testdata/hash.json"

// hashVector is one key, in hex, with its hash and its key groups of 128 and of 32768.
type hashVector struct {
	Key   string `json:"key"`
	Hash  string `json:"hash"` // 16 hex digits, most significant first
	Of128 uint16 `json:"of128"`
	OfMax uint16 `json:"of32768"`
}

// vectorKeys has a key for every branch of the hash: all lengths around its steps of 4, 8 and 32 bytes, text, and odd bytes.
func vectorKeys() []string {
	long := ""
	for i := range 300 {
		long += string(rune('a' + i%26))
	}
	keys := []string{"ann", "bob", "user-00000000042", "c-17", "\x00", "\xff\xfe", "héllo", "ключ"}
	for _, n := range []int{0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 15, 16, 31, 32, 33, 36, 40, 44, 63, 64, 65, 100, 300} {
		keys = append(keys, long[:n])
	}
	return keys
}

func TestHashesAreThoseOfTheVectors(t *testing.T) {
	var want []hashVector
	for _, key := range vectorKeys() {
		h := xxhash.Sum64String(key)
		digits := strconv.FormatUint(h, 16)
		for len(digits) < 16 {
			digits = "0" + digits
		}
		want = append(want, hashVector{hex.EncodeToString([]byte(key)), digits, uint16(h % 128), uint16(h % 32768)})
	}
	text, err := json.MarshalIndent(want, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *rewriteHashes {
		if err := os.WriteFile(hashVectors, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(hashVectors)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(text)+"\n" {
		t.Fatalf("%s differs from xxhash; keys must never change their key group", hashVectors)
	}
	var vectors []hashVector
	if err := json.Unmarshal(have, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		key, err := hex.DecodeString(v.Key)
		if err != nil {
			t.Fatal(err)
		}
		h := functions.Hash(key)
		if hash, _ := strconv.ParseUint(v.Hash, 16, 64); h != hash {
			t.Errorf("key %q: hash %x, want %s", key, h, v.Hash)
		}
		if got := functions.GroupOf(h, functions.DefaultKeyGroups); uint16(got) != v.Of128 {
			t.Errorf("key %q: key group %d of 128, want %d", key, got, v.Of128)
		}
		if got := functions.GroupOf(h, functions.MaxKeyGroups); uint16(got) != v.OfMax {
			t.Errorf("key %q: key group %d of 32768, want %d", key, got, v.OfMax)
		}
	}
}

func FuzzHash(f *testing.F) {
	for _, key := range vectorKeys() {
		f.Add([]byte(key))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		if got, want := functions.Hash(key), xxhash.Sum64(key); got != want {
			t.Fatalf("hash %x, xxhash says %x", got, want)
		}
	})
}

func TestRangesOfTasksAreTheInverseOfOwner(t *testing.T) {
	for _, groups := range []int{1, 2, 128, 1024} {
		for _, tasks := range []int{1, 2, 3, 7, 64, groups} {
			if tasks > groups {
				continue
			}
			next := 0
			for task := range tasks {
				from, to := functions.Range(task, groups, tasks)
				if from != next || to <= from {
					t.Fatalf("task %d of %d: [%d, %d) of %d, want it to start at %d", task, tasks, from, to, groups, next)
				}
				for g := from; g < to; g++ {
					if got := functions.Owner(functions.KeyGroup(g), groups, tasks); got != task {
						t.Fatalf("key group %d of %d belongs to task %d of %d, its range is %d's", g, groups, got, tasks, task)
					}
				}
				next = to
			}
			if next != groups {
				t.Fatalf("%d tasks own %d of %d key groups", tasks, next, groups)
			}
		}
	}
}

func BenchmarkHash(b *testing.B) {
	b.ReportAllocs()
	key := []byte("user-00000000042")
	for b.Loop() {
		functions.Hash(key)
	}
}
