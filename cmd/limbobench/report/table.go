package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	b.WriteString(r.heading() + "\n\n")
	b.WriteString(columns(r.cells()))
	r.notes(&b, "  ")
	if len(r.Peers) > 0 {
		b.WriteString("\nThe same load with other tools\n\n" + columns(r.peerCells()))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("writing table: %w", err)
	}
	return nil
}

// Markdown returns the report for the documentation.
func (r *Report) Markdown() string {
	var b strings.Builder
	b.WriteString(r.heading() + "\n\n" + markdown(r.cells()) + "\n")
	r.notes(&b, "- ")
	if len(r.Peers) > 0 {
		b.WriteString("\nThe same load with other tools:\n\n" + markdown(r.peerCells()))
	}
	return b.String()
}

func (r *Report) heading() string {
	if r.Quick {
		return r.Machine.String() + " (-quick: shorter, less exact)"
	}
	return r.Machine.String()
}

func (r *Report) cells() [][]string {
	out := [][]string{{"id", "what", "budget", "reached", ""}}
	for _, row := range r.Rows {
		out = append(out, []string{row.ID, row.What, row.Budget, row.Reached, string(row.Verdict)})
	}
	return out
}

func (r *Report) notes(b *strings.Builder, indent string) {
	first := true
	for _, row := range r.Rows {
		for _, n := range row.Notes {
			if first {
				b.WriteString("\n")
				first = false
			}
			fmt.Fprintf(b, "%s%s: %s\n", indent, row.ID, n)
		}
	}
}

func (r *Report) peerCells() [][]string {
	out := [][]string{{"tool", "connection rate, relative to none", "its CPU s per 1 M transitions", "lost", "RSS MB"}}
	for _, p := range r.Peers {
		if p.Skipped != "" {
			out = append(out, []string{p.Name, "skipped: " + p.Skipped, "", "", ""})
			continue
		}
		out = append(out, []string{
			p.Name, fmt.Sprintf("%.2f", p.Rate), fmt.Sprintf("%.2f", p.CPU), p.lost(), fmt.Sprintf("%.0f", float64(p.RSS)/1e6),
		})
	}
	return out
}

func (p Peer) lost() string {
	if p.Made == 0 {
		return "not counted"
	}
	return fmt.Sprintf("%d of %d", p.Lost, p.Made)
}

// columns aligns cells; the first row is the heading.
func columns(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

func markdown(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		for _, cell := range row {
			b.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return b.String()
}
