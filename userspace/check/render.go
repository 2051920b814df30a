package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// maxText bounds a cell: a security module's label can be a page long.
const maxText = 1000

// minText is the least width worth wrapping to.
const minText = 20

const separator = " — "

// WriteTable writes the report for people, one line each: status, name, and
// what was found, what follows and what to do. It wraps at width cells; 0 does
// not wrap.
func (r *Report) WriteTable(w io.Writer, width int, color bool) error {
	const statusWidth = len("fail")
	names := 0
	for _, c := range r.Checks {
		names = max(names, len(c.Name))
	}
	indent := statusWidth + 2 + names + 2
	var b strings.Builder
	for _, c := range r.Checks {
		lines := []string{c.text()}
		if width > 0 {
			lines = readable.Wrap(lines[0], max(width-indent, minText))
		}
		fmt.Fprintf(&b, "%s  %-*s  %s\n", paint(c.Status, statusWidth, color), names, c.Name, lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(&b, "%*s%s\n", indent, "", line)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// text joins what was found, the consequence and the remedy.
func (c *Result) text() string {
	parts := make([]string, 0, 3)
	for _, part := range []string{c.Found, c.Consequence, c.Remedy} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return readable.Safe(strings.Join(parts, separator), maxText)
}

func paint(s Status, width int, color bool) string {
	text := fmt.Sprintf("%-*s", width, s)
	if !color {
		return text
	}
	code := map[Status]string{OK: "32", Warn: "33", Fail: "1;31"}[s]
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// WriteJSON writes the report as one JSON object in one line.
func (r *Report) WriteJSON(w io.Writer) error {
	return json.NewEncoder(w).Encode(struct {
		Works    bool     `json:"works"`
		ExitCode int      `json:"exit_code"`
		Checks   []Result `json:"checks"`
	}{r.ExitCode() == 0, r.ExitCode(), r.Checks})
}
