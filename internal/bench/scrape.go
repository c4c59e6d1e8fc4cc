package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-run/weir/internal/binary"
)

// series are the figures that weir serves at /metrics, by name and labels as they stand there.
type series map[string]float64

func scrape(ctx context.Context, s *binary.Server) (series, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close() // it was only read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read metrics: %s", response.Status)
	}
	found := series{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if err := found.add(lines.Text()); err != nil {
			return nil, err
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	return found, nil
}

// add takes one line of Prometheus' text format. Weir's lines have no time behind the value.
func (s series) add(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	cut := strings.LastIndexByte(line, ' ')
	value, err := strconv.ParseFloat(line[cut+1:], 64)
	if cut < 0 || err != nil {
		return fmt.Errorf("read metrics: no value in %q", line)
	}
	s[line[:cut]] = value
	return nil
}

// sum adds up what has the name and each of the labels, such as `phase="seal"`.
func (s series) sum(name string, labels ...string) float64 {
	total := 0.0
	for key, value := range s {
		if own, of, _ := strings.Cut(key, "{"); own == name && holds(of, labels) {
			total += value
		}
	}
	return total
}

func holds(text string, labels []string) bool {
	return !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(text, l) })
}

// bucket is how many values were at most so large.
type bucket struct{ atMost, count float64 }

// quantile is that of a histogram's values between two looks at it. Inside of a bucket values count as spread evenly, as
// Prometheus has it; without values, and beyond the last bound, there is no number.
func quantile(q float64, before, after series, name string, labels ...string) float64 {
	var buckets []bucket
	for key, value := range after {
		own, of, _ := strings.Cut(key, "{")
		if own != name+"_bucket" || !holds(of, labels) {
			continue
		}
		_, bound, _ := strings.Cut(of, `le="`)
		bound, _, _ = strings.Cut(bound, `"`)
		atMost, err := strconv.ParseFloat(bound, 64) // "+Inf" is one
		if err != nil {
			return math.NaN()
		}
		buckets = append(buckets, bucket{atMost, value - before[key]})
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return int(math.Copysign(1, a.atMost-b.atMost)) })
	low := bucket{}
	for _, high := range buckets {
		wanted := q * buckets[len(buckets)-1].count
		if high.count >= wanted && high.count > low.count && !math.IsInf(high.atMost, 1) {
			return low.atMost + (high.atMost-low.atMost)*(wanted-low.count)/(high.count-low.count)
		}
		low = high
	}
	return math.NaN()
}
