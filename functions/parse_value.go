package functions

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// durationUnits are Go's, Flink's and StateFun's words for units of time.
var durationUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "nano": time.Nanosecond, "nanos": time.Nanosecond,
	"us": time.Microsecond, "µs": time.Microsecond, "micro": time.Microsecond, "micros": time.Microsecond,
	"ms": time.Millisecond, "milli": time.Millisecond, "millis": time.Millisecond,
	"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
}

// isoUnits are the letters of an ISO 8601 duration, before and after its T.
var isoUnits = [2]map[string]time.Duration{
	{"D": 24 * time.Hour},
	{"H": time.Hour, "M": time.Minute, "S": time.Second},
}

// parseDuration reads 50ms, 1m30s, 15 min, 2d or PT1M30S. It is never negative.
func parseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration; write a number with a unit, such as 50ms, 10s, 1m30s or PT15M", text)
	rest := strings.TrimSpace(text)
	if iso, ok := strings.CutPrefix(rest, "P"); ok {
		days, times, timed := strings.Cut(iso, "T")
		if days == "" && times == "" || timed && times == "" {
			return 0, bad
		}
		a, okA := sumUnits(days, isoUnits[0])
		b, okB := sumUnits(times, isoUnits[1])
		if !okA || !okB || a > math.MaxInt64-b {
			return 0, bad
		}
		return a + b, nil
	}
	if rest == "0" {
		return 0, nil
	}
	d, ok := sumUnits(rest, durationUnits)
	if !ok || rest == "" {
		return 0, bad
	}
	return d, nil
}

// sumUnits adds up pairs of a number and a unit; ok is false for what is not one, or does not fit.
func sumUnits(text string, units map[string]time.Duration) (sum time.Duration, ok bool) {
	for text != "" {
		digits := prefix(text, func(c byte) bool { return '0' <= c && c <= '9' || c == '.' })
		number, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return 0, false
		}
		text = strings.TrimLeft(text[len(digits):], " ")
		word := prefix(text, func(c byte) bool { return c > ' ' && c != '.' && (c < '0' || '9' < c) })
		unit, known := units[word]
		if !known {
			return 0, false
		}
		text = strings.TrimLeft(text[len(word):], " ")
		product := math.Round(number * float64(unit))
		if product >= math.MaxInt64-float64(sum) {
			return 0, false
		}
		sum += time.Duration(product)
	}
	return sum, true
}

// prefix is the longest head of text whose bytes all match.
func prefix(text string, match func(byte) bool) string {
	n := 0
	for n < len(text) && match(text[n]) {
		n++
	}
	return text[:n]
}

var sizeUnits = map[string]int64{
	"": 1, "B": 1,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
}

// parseSize reads 64MiB, 1.5 GB or a plain number of bytes.
func parseSize(text string) (int64, error) {
	rest := strings.TrimSpace(text)
	digits := prefix(rest, func(c byte) bool { return '0' <= c && c <= '9' || c == '.' })
	unit, known := sizeUnits[strings.TrimLeft(rest[len(digits):], " ")]
	number, err := strconv.ParseFloat(digits, 64)
	if !known || err != nil || number*float64(unit) >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size; write a number with a unit, such as 64MiB, 512KiB or 1GB", text)
	}
	return int64(number * float64(unit)), nil
}

// timeLayouts are RFC 3339, then StateFun's "yyyy-MM-dd HH:mm:ss.SSS Z" with its zone as an offset or as the letter Z.
// Fractions of a second are read after the seconds of any of them.
var timeLayouts = []string{time.RFC3339, "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 Z07:00"}

// parseTime reads a point in time, or milliseconds since 1970.
func parseTime(text string) (time.Time, error) {
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	if millis, err := strconv.ParseInt(text, 10, 64); err == nil && millis >= 0 {
		return time.UnixMilli(millis).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a time; write it as 2026-11-21T07:14:00Z or 2026-11-21 07:14:00.000 +0000, or as milliseconds since 1970", text)
}
