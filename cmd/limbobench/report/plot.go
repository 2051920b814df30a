package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A panel of the plot is one quantity over the number of sockets.
type panel struct {
	title, unit, key string
	scale            float64
}

var panels = []panel{
	{"CPU", "% of a core", "percent", 1},
	{"RSS", "MB", "rss_bytes", 1e-6},
	{"Start", "ms", "start_ms", 1},
}

// Sizes of a panel in pixels: the plot area, and what is around it.
const (
	plotWidth, plotHeight = 240.0, 170.0
	marginLeft, marginTop = 52.0, 44.0
	panelWidth            = plotWidth + marginLeft + 24
	pictureHeight         = plotHeight + marginTop + 66
)

// curve is one line of a panel.
type curve struct {
	name, color, dash string
	rows              []Row
}

// Plot draws the rows of P11 as SVG: what sockets cost by their number, idle ones
// and with half of them stuck. It is empty without such rows.
func (r *Report) Plot() string {
	curves := []curve{
		{name: "all idle", color: "#2a6fbb"},
		{name: "half of them stuck", color: "#c2501e", dash: "5 3"},
	}
	most := 0.0
	for _, row := range r.Rows {
		if row.ID != "P11" || row.Values == nil {
			continue
		}
		c := &curves[0]
		if row.Values["stuck"] > 0 {
			c = &curves[1]
		}
		c.rows = append(c.rows, row)
		most = max(most, row.Values["sockets"])
	}
	if most == 0 {
		return ""
	}
	for _, c := range curves {
		slices.SortFunc(c.rows, func(a, b Row) int { return cmp.Compare(a.Values["sockets"], b.Values["sockets"]) })
	}
	var out strings.Builder
	width := panelWidth * float64(len(panels))
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="12" fill="#555">`+"\n",
		width, pictureHeight, width, pictureHeight)
	fmt.Fprintf(&out, "<title>tcplimbo run by number of sockets, %s</title>\n", plain.Replace(r.Machine.String()))
	out.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	for i, p := range panels {
		p.draw(&out, float64(i)*panelWidth+marginLeft, curves, most)
	}
	for i, c := range curves {
		x, y := marginLeft+float64(i)*150, pictureHeight-12
		fmt.Fprintf(&out, `<line x1="%.0f" y1="%.0f" x2="%.0f" y2="%.0f" stroke="%s" stroke-width="2" stroke-dasharray="%s"/><text x="%.0f" y="%.0f">%s</text>`+"\n",
			x, y-4, x+24, y-4, c.color, c.dash, x+30, y, c.name)
	}
	out.WriteString("</svg>\n")
	return out.String()
}

// plain makes text harmless in SVG.
var plain = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (p *panel) draw(out *strings.Builder, left float64, curves []curve, most float64) {
	top := 0.0
	for _, c := range curves {
		for _, row := range c.rows {
			top = max(top, row.Values[p.key]*p.scale)
		}
	}
	top = ceiling(top)
	x := func(sockets float64) float64 { return left + plotWidth*sockets/most }
	y := func(value float64) float64 { return marginTop + plotHeight*(1-value/top) }
	fmt.Fprintf(out, `<text x="%.0f" y="22" font-size="14" fill="#222">%s, %s</text>`+"\n", left, p.title, p.unit)
	for i := range 5 {
		value := top * float64(i) / 4
		fmt.Fprintf(out, `<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%.0f" y="%.1f" text-anchor="end">%.4g</text>`+"\n",
			left, left+plotWidth, y(value), y(value), left-6, y(value)+4, value)
	}
	for _, share := range []float64{0.25, 0.5, 1} {
		fmt.Fprintf(out, `<text x="%.0f" y="%.0f" text-anchor="middle">%.0f k</text>`+"\n", x(most*share), marginTop+plotHeight+18, most*share/1000)
	}
	fmt.Fprintf(out, `<text x="%.0f" y="%.0f" text-anchor="middle">sockets</text>`+"\n", left+plotWidth/2, marginTop+plotHeight+36)
	for _, c := range curves {
		if len(c.rows) == 0 {
			continue
		}
		var points []string
		for _, row := range c.rows {
			at := fmt.Sprintf("%.1f,%.1f", x(row.Values["sockets"]), y(row.Values[p.key]*p.scale))
			points = append(points, at)
			cx, cy, _ := strings.Cut(at, ",")
			fmt.Fprintf(out, `<circle cx="%s" cy="%s" r="3.5" fill="%s"><title>%s: %s</title></circle>`+"\n",
				cx, cy, c.color, plain.Replace(row.What), plain.Replace(row.Reached))
		}
		fmt.Fprintf(out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", strings.Join(points, " "), c.color, c.dash)
	}
}

// ceiling rounds up to 1, 2, 4 or 8 times a power of ten, so that quarters of it are
// round numbers.
func ceiling(v float64) float64 {
	unit := 1e-3
	for unit*10 < v {
		unit *= 10
	}
	for _, m := range []float64{1, 2, 4, 8} {
		if unit*m >= v {
			return unit * m
		}
	}
	return unit * 10
}
