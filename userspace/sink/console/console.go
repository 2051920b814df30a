// Package console writes findings for people: the time, a word that says what
// changed, the sentence, and below it the facts that prove it.
package console

import (
	"time"

	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// Options are how records look.
type Options struct {
	// Color turns colours on.
	Color bool
	// Width returns the width to wrap to in cells, 0 for none. It is asked
	// at every record, so that it follows the window; nil means 0.
	Width func() int
	// Zone is the time zone of the clock, nil for the local one.
	Zone *time.Location
}

// ForTerminal returns the options for records written to descriptor fd.
// getenv is os.Getenv.
func ForTerminal(fd int, getenv func(string) string) Options {
	return Options{
		Color: readable.WantsColor(fd, getenv),
		Width: func() int { return readable.TerminalWidth(fd) },
	}
}

// Formatter appends records as text. It does not change and may be used by
// several goroutines.
type Formatter struct{ opt Options }

// New returns a formatter.
func New(opt Options) *Formatter {
	if opt.Width == nil {
		opt.Width = func() int { return 0 }
	}
	if opt.Zone == nil {
		opt.Zone = time.Local
	}
	return &Formatter{opt}
}

// The words that begin a record, and their colours (ECMA-48, SGR).
const (
	wordOpen     = "OPEN"
	wordUpdate   = "STILL"
	wordResolved = "RESOLVED"
	wordLoss     = "LOSS"
	wordAudit    = "IDLE"
	wordQueue    = "QUEUE"

	red    = "\x1b[1;31m"
	yellow = "\x1b[33m"
	green  = "\x1b[32m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// wordWidth is the width of the longest word.
const wordWidth = len(wordResolved)

// maxMessage bounds the sentence. It is longer than what the JSON line keeps:
// nothing cuts long lines here.
const maxMessage = 2048

// AppendFinding appends a finding as a block of lines.
func (c *Formatter) AppendFinding(dst []byte, f *finding.Finding) []byte {
	word, color := wordOf(f.Status), colorOf(f.Status)
	if f.Kind == finding.KindNone {
		word, color = wordAudit, ""
	}
	b := c.begin(dst, f.Time, word, color)
	message := f.Message
	if message == "" {
		message = f.Kind.String()
	}
	b.text(readable.Safe(message, maxMessage))
	b.list(factsOf(f), faint)
	return b.end()
}

// AppendLoss appends a note of lost kernel records as a block of lines.
func (c *Formatter) AppendLoss(dst []byte, l *finding.Loss) []byte {
	b := c.begin(dst, l.Time, wordLoss, yellow)
	b.text(readable.Safe(l.Message, maxMessage))
	facts := []string{"lost " + decimal(l.Count), "where " + readable.Safe(l.Where, maxName)}
	if l.Reread {
		facts = append(facts, "sockets were read again")
	}
	b.list(facts, faint)
	return b.end()
}

// AppendWriteQueue appends a warning about write queues as a block of lines.
func (c *Formatter) AppendWriteQueue(dst []byte, w *finding.WriteQueue) []byte {
	color := yellow
	if w.Status == finding.Resolved {
		color = green
	}
	b := c.begin(dst, w.Time, wordQueue, color)
	b.text(readable.Safe(w.Message, maxMessage))
	b.list([]string{
		connections(w.Sockets), "unsent " + readable.Size(w.Unsent), "unacknowledged " + readable.Size(w.Unacked),
		"netns " + decimal(uint64(w.NetNS)),
	}, faint)
	return b.end()
}

func connections(n uint64) string {
	if n == 1 {
		return "1 connection"
	}
	return decimal(n) + " connections"
}

func wordOf(s finding.Status) string {
	switch s {
	case finding.Update:
		return wordUpdate
	case finding.Resolved:
		return wordResolved
	}
	return wordOpen
}

func colorOf(s finding.Status) string {
	switch s {
	case finding.Update:
		return yellow
	case finding.Resolved:
		return green
	}
	return red
}

// begin starts a block with clock and word. A terminal shows today; a file may
// be read on another day, so that it gets the date as well.
func (c *Formatter) begin(dst []byte, t time.Time, word, color string) *block {
	b := &block{dst: dst, width: c.opt.Width(), color: c.opt.Color}
	clock := "2006-01-02 15:04:05"
	if b.width > 0 {
		clock = "15:04:05"
	}
	b.dst = t.In(c.opt.Zone).AppendFormat(b.dst, clock)
	b.dst = append(b.dst, ' ')
	b.paint(color)
	b.dst = append(b.dst, word...)
	b.unpaint()
	for i := len(word); i < wordWidth; i++ {
		b.dst = append(b.dst, ' ')
	}
	b.column = len(clock) + 1 + wordWidth
	b.indent = b.column + 1
	if b.width > 0 && b.width < narrow {
		b.indent = narrowIndent
	}
	return b
}

const (
	// Below this width a hanging indent would leave too little for text.
	narrow       = 60
	narrowIndent = 2
)
