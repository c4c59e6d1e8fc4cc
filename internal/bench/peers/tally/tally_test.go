package tally_test

import (
	"encoding/binary"
	"testing"

	"github.com/weir-run/weir/internal/bench/peers/tally"
)

// counted is a record of key k as a counter writes it.
type counted struct{ k, n int64 }

func (c counted) add(t *tally.Tally) {
	value := make([]byte, tally.MinValueBytes)
	binary.BigEndian.PutUint64(value[tally.CountAt:], uint64(c.n))
	t.Add(tally.Key(nil, c.k), value)
}

func TestVerdictNamesEveryFault(t *testing.T) {
	for name, c := range map[string]struct {
		records []counted
		input   int64
		want    string
	}{
		"whole":                      {[]counted{{1, 1}, {2, 1}, {1, 2}}, 3, ""},
		"nothing of nothing":         {nil, 0, ""},
		"nothing came":               {nil, 3, "the output of 3 records is not exact: lost 3, doubled 0, strange 0"},
		"first lost":                 {[]counted{{1, 2}, {1, 3}}, 3, "the output of 3 records is not exact: lost 1, doubled 0, strange 0"},
		"middle lost":                {[]counted{{1, 1}, {1, 4}, {2, 1}}, 5, "the output of 5 records is not exact: lost 2, doubled 0, strange 0"},
		"last lost":                  {[]counted{{1, 1}, {2, 1}}, 3, "the output of 3 records is not exact: lost 1, doubled 0, strange 0"},
		"written twice":              {[]counted{{1, 1}, {1, 1}, {1, 2}}, 2, "the output of 2 records is not exact: lost 0, doubled 1, strange 0"},
		"counted twice":              {[]counted{{1, 1}, {1, 2}, {1, 3}}, 2, "the output of 2 records is not exact: lost 0, doubled 1, strange 0"},
		"out of order":               {[]counted{{1, 2}, {1, 1}, {1, 3}}, 3, "the output of 3 records is not exact: lost 1, doubled 1, strange 0"},
		"one lost, another doubled":  {[]counted{{1, 1}, {1, 1}, {2, 2}}, 3, "the output of 3 records is not exact: lost 1, doubled 1, strange 0"},
		"never counted":              {[]counted{{1, 1}, {1, 0}}, 1, "the output of 1 records is not exact: lost 0, doubled 0, strange 1"},
		"a key that was never there": {[]counted{{10, 1}, {1, 1}}, 1, "the output of 1 records is not exact: lost 0, doubled 0, strange 1"},
	} {
		sums := tally.New(10)
		for _, r := range c.records {
			r.add(sums)
		}
		got := ""
		if err := sums.Verdict(c.input); err != nil {
			got = err.Error()
		}
		if got != c.want || sums.Records() != int64(len(c.records)) {
			t.Errorf("%s: got %q of %d records, want %q of %d", name, got, sums.Records(), c.want, len(c.records))
		}
	}
}

func TestWhatIsNoRecordOfACounterIsStrange(t *testing.T) {
	value := make([]byte, tally.MinValueBytes)
	value[tally.MinValueBytes-1] = 1
	for name, r := range map[string]struct {
		key   string
		value []byte
	}{
		"no key":          {"", value},
		"short key":       {"k0000001", value},
		"another letter":  {"x00000001", value},
		"not a digit":     {"k0000000a", value},
		"below digits":    {"k0000001/", value},
		"no value":        {"k00000001", nil},
		"value too short": {"k00000001", value[:tally.MinValueBytes-1]},
	} {
		sums := tally.New(1_000)
		sums.Add([]byte(r.key), r.value)
		if got, want := sums.Verdict(0), "the output of 0 records is not exact: lost 0, doubled 0, strange 1"; got == nil || got.Error() != want {
			t.Errorf("%s: got %v, want %s", name, got, want)
		}
	}
}

func TestKeysAreNineBytes(t *testing.T) {
	for number, want := range map[int64]string{0: "k00000000", 7: "k00000007", 99_999_999: "k99999999"} {
		if got := string(tally.Key([]byte("before "), number)); got != "before "+want {
			t.Errorf("key %d is %q", number, got)
		}
	}
}

func FuzzRecordsOfAnyShapeAreTaken(f *testing.F) {
	f.Add([]byte("k00000001"), make([]byte, tally.MinValueBytes))
	f.Add([]byte("k"), []byte{})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		sums := tally.New(10)
		sums.Add(key, value)
		exact := len(value) >= tally.MinValueBytes && binary.BigEndian.Uint64(value[tally.CountAt:]) == 1 &&
			len(key) == tally.KeyBytes && string(key[:8]) == "k0000000" && key[8] >= '0' && key[8] <= '9'
		if err := sums.Verdict(1); (err == nil) != exact {
			t.Errorf("key %q, value %x: %v", key, value, err)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	const keys = 1_000_000
	sums := tally.New(keys)
	key, value := tally.Key(nil, 7), make([]byte, 100)
	b.ReportAllocs()
	for i := range b.N {
		binary.BigEndian.PutUint64(value[tally.CountAt:], uint64(i+1))
		sums.Add(key, value)
	}
}
