package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

func chart(points ...Point) Chart {
	return Chart{Title: `cost & "cause" <1>`, X: "keys", Y: "ns", Points: points, Power: 1}
}

func draw(t *testing.T, c Chart) string {
	t.Helper()
	svg, err := c.SVG()
	if err != nil {
		t.Fatal(err)
	}
	return svg
}

func TestImageIsXMLWithItsTexts(t *testing.T) {
	svg := draw(t, chart(Point{"1 k", 1e3, 10}, Point{"1 M", 1e6, 20}))
	decoder, texts := xml.NewDecoder(strings.NewReader(svg)), []string{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if s, ok := token.(xml.CharData); ok && strings.TrimSpace(string(s)) != "" {
			texts = append(texts, string(s))
		}
	}
	for _, want := range []string{`cost & "cause" <1>`, "keys", "ns", "1 k", "1 M", "10", "20"} {
		if !slices.Contains(texts, want) {
			t.Errorf("no text %q among %q", want, texts)
		}
	}
}

func TestEqualFactorsAreEquallyLong(t *testing.T) {
	svg := draw(t, chart(Point{"1", 1, 1}, Point{"10", 10, 10}, Point{"100", 100, 100}))
	if want := `points="84.0,336.0 390.0,190.0 696.0,44.0"`; !strings.Contains(svg, want) {
		t.Errorf("no %s in\n%s", want, svg)
	}
	if want := `<line x1="84.0" y1="336.0" x2="696.0" y2="44.0" stroke="#999"`; !strings.Contains(svg, want) {
		t.Errorf("no comparison %s in\n%s", want, svg)
	}
}

func TestNoiseDoesNotFillTheAxis(t *testing.T) {
	y := chart(Point{"1", 1, 100}, Point{"2", 2, 103}).vertical()
	if span := y.high - y.low; span < leastDecades {
		t.Errorf("the axis spans %v decades", span)
	}
	if y.low > 2 || y.high < math.Log10(103) {
		t.Errorf("points are outside of %+v", y)
	}
}

func TestTicksAreRoundAndHoldTheValues(t *testing.T) {
	for _, c := range []struct{ v, below, above float64 }{{1, 1, 1}, {3, 2, 5}, {7, 5, 10}, {230, 200, 500}, {0.3, 0.2, 0.5}, {999, 500, 1000}} {
		if low, high := below(c.v), above(c.v); math.Abs(low/c.below-1) > 1e-9 || math.Abs(high/c.above-1) > 1e-9 {
			t.Errorf("%v is between %v and %v, want %v and %v", c.v, low, high, c.below, c.above)
		}
	}
	if got, want := (scale{low: math.Log10(.2), high: 1}).ticks(), []float64{.2, .5, 1, 2, 5, 10}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWhatHasNoLogarithmIsNotDrawn(t *testing.T) {
	for name, points := range map[string][]Point{
		"none": nil, "one": {{"1", 1, 1}}, "zero": {{"1", 1, 0}, {"2", 2, 1}}, "not a number": {{"1", 1, math.NaN()}, {"2", 2, 1}},
		"infinite": {{"1", 1, math.Inf(1)}, {"2", 2, 1}}, "in no order": {{"2", 2, 1}, {"1", 1, 1}},
	} {
		if svg, err := chart(points...).SVG(); err == nil {
			t.Errorf("%s: %s", name, svg)
		}
	}
}
