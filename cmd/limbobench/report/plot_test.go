package report

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func p11(sockets, stuck, percent float64) Row {
	return Row{ID: "P11", What: "a <load> & more", Reached: "x", Values: map[string]float64{
		"sockets": sockets, "stuck": stuck, "percent": percent, "rss_bytes": 30e6 + 1000*stuck, "start_ms": sockets / 100,
	}}
}

// TestPlot: the picture is well-formed XML with a point for each row and panel,
// however the rows are ordered and whatever their texts hold.
func TestPlot(t *testing.T) {
	r := &Report{Rows: []Row{
		{ID: "P1"}, p11(200_000, 0, 1.2), p11(10_000, 0, 0.06), p11(50_000, 0, 0.3), {ID: "P11", Verdict: Failed}, p11(200_000, 100_000, 3),
	}}
	svg := r.Plot()
	d := xml.NewDecoder(strings.NewReader(svg))
	points, lines := 0, 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			switch e.Name.Local {
			case "circle":
				points++
			case "polyline":
				lines++
			}
		}
	}
	if points != 4*len(panels) || lines != 2*len(panels) {
		t.Errorf("%d points and %d lines, want %d and %d", points, lines, 4*len(panels), 2*len(panels))
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("not a number in\n%s", svg)
	}
	if got := (&Report{Rows: []Row{{ID: "P1"}}}).Plot(); got != "" {
		t.Errorf("a plot of nothing: %s", got)
	}
}

func TestCeiling(t *testing.T) {
	for v, want := range map[float64]float64{0: 1e-3, 0.3: 0.4, 1: 1, 1.1: 2, 130: 200, 81: 100} {
		if got := ceiling(v); got < want*0.999 || got > want*1.001 {
			t.Errorf("%g: %g, want %g", v, got, want)
		}
	}
}
