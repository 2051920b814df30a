package console

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
	"github.com/tcplimbo/tcplimbo/userspace/sink/sinktest"
)

var zone = time.FixedZone("CET", 3600)

func formatter(width int, color bool) *Formatter {
	return New(Options{Color: color, Width: func() int { return width }, Zone: zone})
}

func all(c *Formatter) []byte {
	var out []byte
	for _, s := range sinktest.Findings() {
		out = c.AppendFinding(out, &s.Finding)
	}
	for _, l := range sinktest.Losses() {
		out = c.AppendLoss(out, &l)
	}
	for _, g := range sinktest.Groups() {
		out = c.AppendGroup(out, &g)
	}
	return out
}

func TestGolden(t *testing.T) {
	for _, width := range []int{0, 40, 60, 80, 120, 200} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			sinktest.Golden(t, fmt.Sprintf("width_%d.txt", width), all(formatter(width, false)))
		})
	}
	t.Run("color", func(t *testing.T) {
		sinktest.Golden(t, "color_80.txt", all(formatter(80, true)))
	})
}

// TestColorsChangeNothingElse removes them and expects the plain text.
func TestColorsChangeNothingElse(t *testing.T) {
	plain, color := all(formatter(80, false)), all(formatter(80, true))
	for _, seq := range []string{red, yellow, green, faint, reset} {
		color = bytes.ReplaceAll(color, []byte(seq), nil)
	}
	if !bytes.Equal(plain, color) {
		t.Errorf("without its colours the text is\n%s\nwant\n%s", color, plain)
	}
}

func TestEachLineEndsItsColor(t *testing.T) {
	for line := range strings.Lines(string(all(formatter(80, true)))) {
		if started, ended := strings.Contains(line, "\x1b["), strings.HasSuffix(line, reset+"\n"); started && !ended &&
			strings.LastIndex(line, reset) < strings.LastIndex(line, "\x1b[") {
			t.Errorf("colour goes on after %q", line)
		}
	}
}

func TestDefaults(t *testing.T) {
	out := New(Options{}).AppendLoss(nil, &finding.Loss{Time: sinktest.Now, Message: "m", Count: 1, Where: "w"})
	want := sinktest.Now.Local().Format("2006-01-02 15:04:05") + " LOSS     m\n"
	if !strings.HasPrefix(string(out), want) {
		t.Errorf("got %q, want it to start with %q", out, want)
	}
}

// checkText is what holds for all text whatever came from outside.
func checkText(t *testing.T, out []byte, width int) {
	t.Helper()
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		for _, r := range line {
			if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
				t.Fatalf("%U in %q", r, line)
			}
		}
		if width < narrow || readable.Width(line) <= width {
			continue
		}
		if words := strings.Fields(line); len(words) != 1 {
			t.Fatalf("%d cells wide, want %d: %q", readable.Width(line), width, line)
		}
	}
}

func FuzzAppendFinding(f *testing.F) {
	f.Add("message", "comm", uint64(7), []byte{127, 0, 0, 1}, 80)
	f.Add("\"\\\n\u202e\xff  x", sinktest.HostileComm, uint64(1)<<63, make([]byte, 16), 0)
	f.Fuzz(func(t *testing.T, text, comm string, n uint64, addr []byte, width int) {
		fd := sinktest.FuzzedFinding(text, comm, n, addr)
		out := formatter(width, false).AppendFinding(nil, &fd)
		if !bytes.HasSuffix(out, []byte("\n")) {
			t.Fatalf("no newline at the end of %q", out)
		}
		checkText(t, out, 0)
		loss := finding.Loss{Time: fd.Time, Message: text, Where: comm, Count: n}
		checkText(t, formatter(width, false).AppendLoss(nil, &loss), 0)
	})
}

func TestLinesFitTheTerminal(t *testing.T) {
	for _, width := range []int{60, 80, 120} {
		checkText(t, all(formatter(width, false)), width)
	}
}
