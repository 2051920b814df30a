package table

import (
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// grid holds the cells of a table in one piece of text, so that ten thousand
// rows cost a few allocations.
type grid struct {
	header bool
	text   []byte
	cells  []cell // columns of them a row
	start  int    // of the cell that is being added
	// widest is the widest cell of each column, its head included.
	widest [columns]int
	// leastProcess is the width the process column needs to show every pid
	// and descriptor and a bit of the names.
	leastProcess int
}

type cell struct {
	end   int32
	width int32 // in terminal cells
	// tail is the length of what must stay when the cell is shortened.
	tail int32
}

// rowBytes is about what a row of text takes.
const rowBytes = 96

func newGrid(rows int, header bool) *grid {
	g := &grid{header: header, text: make([]byte, 0, rows*rowBytes), cells: make([]cell, 0, rows*columns)}
	if header {
		for col, head := range heads {
			g.widest[col] = len(head)
		}
	}
	return g
}

// endCell makes a cell of the text that was appended since the last one.
func (g *grid) endCell(col int) *cell {
	width := cellWidth(g.text[g.start:])
	g.cells = append(g.cells, cell{end: int32(len(g.text)), width: int32(width)})
	g.start = len(g.text)
	g.widest[col] = max(g.widest[col], width)
	return &g.cells[len(g.cells)-1]
}

const (
	// shortName is how much of a name stays at least, with the mark.
	shortName = 5
	// usualProcess is how wide the process column is before others give way.
	usualProcess = 20
)

// endProcess is endCell for the process; the text from tail on must stay.
func (g *grid) endProcess(tail int) {
	c := g.endCell(colProcess)
	c.tail = c.end - int32(tail)
	g.leastProcess = max(g.leastProcess, min(int(c.width), shortName+int(c.tail)))
}

func cellWidth(text []byte) int {
	for _, b := range text {
		if b >= 0x80 {
			return readable.Width(string(text))
		}
	}
	return len(text)
}

// cellText returns a cell shortened to width.
func (g *grid) cellText(i, width int) []byte {
	start := int32(0)
	if i > 0 {
		start = g.cells[i-1].end
	}
	c := g.cells[i]
	text := g.text[start:c.end]
	if int(c.width) <= width || c.tail == 0 {
		return text
	}
	name, tail := text[:len(text)-int(c.tail)], text[len(text)-int(c.tail):]
	short := readable.Cut(string(name), width-len(tail))
	return append([]byte(short), tail...)
}
