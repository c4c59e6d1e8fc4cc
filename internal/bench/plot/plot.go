// Package plot draws how one measure grows with another, as SVG.
//
// It hides scales, ticks and the text of the image. Its invariants: both axes are logarithmic, so that a power is a straight
// line and a factor is as long anywhere; the same chart gives the same bytes, so that an image changes only with its figures.
// It is no plot library: one line, one size, no style to choose, and no judgement of what it draws. It is written here because
// plot libraries bring fonts and rasterisers along.
package plot

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Chart is a line through points.
type Chart struct {
	Title, X, Y string
	Points      []Point // with growing X; all X and Y are positive
	// Power is the exponent of a dashed line of comparison that starts at the first point.
	Power float64
}

// Point is one measurement. Label is what its place on the axis shows.
type Point struct {
	Label string
	X, Y  float64
}

// Sizes of the image, in its own units.
const (
	width, height = 720, 400
	left, right   = 84, 696 // of the plotted area
	top, bottom   = 44, 336
	axisTitle     = 384 // where the text below the axis stands
)

// leastDecades is what the y axis spans at least: without it noise of a few percent would look like growth.
const leastDecades = 1

// SVG is the image. It says why there is none.
func (c Chart) SVG() (string, error) {
	if len(c.Points) < 2 {
		return "", fmt.Errorf("plot %s: %d points are no line", c.Title, len(c.Points))
	}
	for i, p := range c.Points {
		if !positive(p.X) || !positive(p.Y) || i > 0 && p.X <= c.Points[i-1].X {
			return "", fmt.Errorf("plot %s: point %d is at %v, %v", c.Title, i, p.X, p.Y)
		}
	}
	x := scale{math.Log10(c.Points[0].X), math.Log10(c.Points[len(c.Points)-1].X), left, right}
	y := c.vertical()
	var d strings.Builder
	fmt.Fprintf(&d, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", width, height)
	fmt.Fprintf(&d, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&d, `<clipPath id="area"><rect x="%d" y="%d" width="%d" height="%d"/></clipPath>`+"\n", left, top, right-left, bottom-top)
	text(&d, left, 26, "start", c.Title)
	text(&d, (left+right)/2, axisTitle, "middle", c.X)
	fmt.Fprintf(&d, `<g transform="translate(18 %d) rotate(-90)">`, (top+bottom)/2)
	text(&d, 0, 0, "middle", c.Y)
	d.WriteString("</g>\n")
	for _, tick := range y.ticks() {
		at := y.at(tick)
		rule(&d, left, at, right, at)
		text(&d, left-8, at+4, "end", strconv.FormatFloat(tick, 'f', -1, 64))
	}
	for _, p := range c.Points {
		at := x.at(p.X)
		rule(&d, at, top, at, bottom)
		text(&d, at, bottom+20, "middle", p.Label)
	}
	c.lines(&d, x, y)
	d.WriteString("</svg>\n")
	return d.String(), nil
}

func positive(v float64) bool { return v > 0 && !math.IsInf(v, 1) }

// lines draws what was measured, and the comparison below it as far as it stays inside.
func (c Chart) lines(d *strings.Builder, x, y scale) {
	first, last := c.Points[0], c.Points[len(c.Points)-1]
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#999" stroke-dasharray="6 4" clip-path="url(#area)"/>`+"\n",
		x.at(first.X), y.at(first.Y), x.at(last.X), y.at(first.Y*math.Pow(last.X/first.X, c.Power)))
	d.WriteString(`<polyline fill="none" stroke="#1a5fb4" stroke-width="2" points="`)
	for i, p := range c.Points {
		if i > 0 {
			d.WriteByte(' ')
		}
		fmt.Fprintf(d, "%.1f,%.1f", x.at(p.X), y.at(p.Y))
	}
	d.WriteString(`"/>` + "\n")
	for _, p := range c.Points {
		fmt.Fprintf(d, `<circle cx="%.1f" cy="%.1f" r="4" fill="#1a5fb4"/>`+"\n", x.at(p.X), y.at(p.Y))
	}
}

// vertical is the y axis: from tick to tick around all points, and no shorter than leastDecades.
func (c Chart) vertical() scale {
	low, high := math.Inf(1), 0.0
	for _, p := range c.Points {
		low, high = min(low, p.Y), max(high, p.Y)
	}
	if missing := leastDecades - math.Log10(high/low); missing > 0 {
		low, high = low/math.Pow(10, missing/2), high*math.Pow(10, missing/2)
	}
	return scale{math.Log10(below(low)), math.Log10(above(high)), bottom, top}
}

// steps are the ticks of a decade.
var steps = []float64{1, 2, 5}

// below is the largest tick that is not above v.
func below(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	found := decade
	for _, s := range steps {
		if s*decade <= v {
			found = s * decade
		}
	}
	return found
}

// above is the smallest tick that is not below v.
func above(v float64) float64 {
	if found := below(v); found >= v {
		return found
	}
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, s := range steps {
		if s*decade >= v {
			return s * decade
		}
	}
	return 10 * decade
}

// scale maps a logarithm to a place in the image.
type scale struct{ low, high, from, to float64 }

func (s scale) at(v float64) float64 {
	return s.from + (math.Log10(v)-s.low)/(s.high-s.low)*(s.to-s.from)
}

func (s scale) ticks() []float64 {
	const slack = 1e-9 // of logarithms that are computed in two ways
	var found []float64
	for decade := math.Floor(s.low); decade <= math.Ceil(s.high); decade++ {
		for _, step := range steps {
			if at := decade + math.Log10(step); at >= s.low-slack && at <= s.high+slack {
				// Through its text, so that a tick is 0.2 and not 0.2 and a rest.
				tick, err := strconv.ParseFloat(fmt.Sprintf("%ge%d", step, int(decade)), 64)
				if err != nil {
					panic(fmt.Sprintf("plot: tick %g of decade %g: %v", step, decade, err))
				}
				found = append(found, tick)
			}
		}
	}
	return found
}

func rule(d *strings.Builder, x1, y1, x2, y2 float64) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
}

func text(d *strings.Builder, x, y float64, anchor, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
}
