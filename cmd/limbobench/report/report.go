// Package report is what the benchmark says: a table for people, JSON, and the
// table in the documentation.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tcplimbo/tcplimbo/cmd/limbobench/host"
)

// Verdict says how a measurement stands to its budget.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Miss    Verdict = "MISS"
	Skipped Verdict = "skipped"
	Failed  Verdict = "failed" // could not be measured
	None    Verdict = ""       // there is no budget
)

// Judge is OK if the budget is kept.
func Judge(kept bool) Verdict {
	if kept {
		return OK
	}
	return Miss
}

// Row is one line of the table.
type Row struct {
	ID      string  `json:"id"`
	What    string  `json:"what"`
	Budget  string  `json:"budget,omitempty"`
	Reached string  `json:"reached,omitempty"`
	Verdict Verdict `json:"verdict,omitempty"`
	// Values are the numbers behind Reached, for programs.
	Values map[string]float64 `json:"values,omitempty"`
	// Notes are what one must know to believe it.
	Notes []string `json:"notes,omitempty"`
}

// Peer is another tool, measured in the same run.
type Peer struct {
	Name string `json:"name"`
	// Skipped says why there are no numbers.
	Skipped string `json:"skipped,omitempty"`
	// Rate is the connection rate with it, relative to none.
	Rate float64 `json:"rate,omitempty"`
	// CPU is its CPU seconds for a million transitions that were made.
	CPU float64 `json:"cpu_seconds,omitempty"`
	// Lost are transitions of Made that it did not print.
	Lost int   `json:"lost"`
	Made int   `json:"made,omitempty"`
	RSS  int64 `json:"rss_bytes,omitempty"`
}

// Report is all that was measured in one run.
type Report struct {
	Machine host.Machine `json:"machine"`
	Quick   bool         `json:"quick,omitempty"`
	Rows    []Row        `json:"rows"`
	Peers   []Peer       `json:"peers,omitempty"`
}

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("writing report: %w", err)
	}
	return nil
}

// The table in the documentation stands between these lines.
const (
	beginMark = "<!-- limbobench:begin -->"
	endMark   = "<!-- limbobench:end -->"
)

// WriteInto replaces what stands between the marks of a document.
func (r *Report) WriteInto(path string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading document: %w", err)
	}
	doc, err := splice(old, r.Markdown())
	if err != nil {
		return fmt.Errorf("updating %s: %w", path, err)
	}
	if err := os.WriteFile(path, doc, 0o644); err != nil {
		return fmt.Errorf("writing document: %w", err)
	}
	return nil
}

func splice(doc []byte, text string) ([]byte, error) {
	before, rest, ok := bytes.Cut(doc, []byte(beginMark))
	if !ok {
		return nil, fmt.Errorf("there is no %s", beginMark)
	}
	_, after, ok := bytes.Cut(rest, []byte(endMark))
	if !ok {
		return nil, fmt.Errorf("there is no %s after %s", endMark, beginMark)
	}
	out := bytes.Clone(before)
	out = append(out, beginMark+"\n\n"+strings.TrimSpace(text)+"\n\n"+endMark...)
	return append(out, after...), nil
}
