package table

import (
	"slices"

	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// layout is how a grid is shown: the columns of the first line of each row,
// their widths, and whether the addresses have a line of their own.
type layout struct {
	*grid
	cols    []int
	width   [columns]int
	total   int // the terminal's width, 0 for no limit
	stacked bool
	// whyBelow: the reason has a line of its own too.
	whyBelow bool
}

const (
	gap    = 2
	indent = 2
	arrow  = " -> "
)

var (
	allColumns     = []int{colState, colAge, colLocal, colPeer, colProcess, colRecvQ, colSendQ, colRetrans, colEnds, colWhy, colPod}
	stackedColumns = []int{colState, colAge, colProcess, colRecvQ, colSendQ, colRetrans, colEnds, colWhy, colPod}
)

// layout finds the widest layout that fits total cells.
func (g *grid) layout(total int, pods bool) *layout {
	columns := func(cols []int) []int {
		if pods {
			return cols
		}
		return slices.DeleteFunc(slices.Clone(cols), func(c int) bool { return c == colPod })
	}
	l := &layout{grid: g, cols: columns(allColumns), width: g.widest, total: total}
	if total <= 0 || l.shrink() {
		return l
	}
	l = &layout{grid: g, cols: columns(stackedColumns), width: g.widest, total: total, stacked: true}
	if l.shrink() {
		return l
	}
	l = &layout{grid: g, cols: columns(stackedColumns), width: g.widest, total: total, stacked: true, whyBelow: true}
	l.drop(colWhy)
	// If even this does not fit, the terminal wraps it; nothing else may go.
	l.shrink()
	return l
}

// shrink gives up what is missed least until the line fits, and reports
// whether it does: ss(8) shows queues and retransmissions too, when the socket
// ends nobody else does.
func (l *layout) shrink() bool {
	least := min(l.width[colProcess], max(len(heads[colProcess]), l.leastProcess))
	for _, step := range []func(){
		func() {},
		func() { l.width[colProcess] = max(least, min(l.width[colProcess], usualProcess)) },
		func() { l.drop(colRetrans) },
		func() { l.drop(colRecvQ); l.drop(colSendQ) },
		func() { l.width[colProcess] = least },
		func() { l.drop(colEnds) },
		func() { l.drop(colPod) },
	} {
		step()
		if left := l.total - l.lineWidth(); left >= 0 {
			l.width[colProcess] = min(l.widest[colProcess], l.width[colProcess]+left)
			return true
		}
	}
	return false
}

func (l *layout) drop(col int) {
	l.cols = slices.DeleteFunc(slices.Clone(l.cols), func(c int) bool { return c == col })
}

func (l *layout) lineWidth() int {
	n := gap * (len(l.cols) - 1)
	for _, col := range l.cols {
		n += l.width[col]
	}
	return n
}

func (l *layout) appendAll(dst []byte) []byte {
	if l.header {
		dst = l.appendHeader(dst)
	}
	for row := 0; row < len(l.cells); row += columns {
		dst = l.appendRow(dst, row)
	}
	return dst
}

func (l *layout) appendHeader(dst []byte) []byte {
	for i, col := range l.cols {
		dst = l.appendCell(dst, i, []byte(heads[col]), len(heads[col]))
	}
	dst = append(dst, '\n')
	if l.whyBelow {
		dst = appendSpaces(dst, indent)
		dst = append(dst, heads[colWhy]+"\n"...)
	}
	if l.stacked {
		dst = appendSpaces(dst, indent)
		dst = append(dst, heads[colLocal]+arrow+heads[colPeer]+"\n"...)
	}
	return dst
}

// appendRow appends the row whose first cell is l.cells[row].
func (l *layout) appendRow(dst []byte, row int) []byte {
	for i, col := range l.cols {
		text := l.cellText(row+col, l.width[col])
		width := int(l.cells[row+col].width)
		if width > l.width[col] {
			width = cellWidth(text)
		}
		dst = l.appendCell(dst, i, text, width)
	}
	dst = append(dst, '\n')
	if l.whyBelow {
		dst = appendSpaces(dst, indent)
		dst = append(dst, l.cellText(row+colWhy, l.width[colWhy])...)
		dst = append(dst, '\n')
	}
	if l.stacked {
		dst = l.appendAddresses(dst, row)
	}
	return dst
}

// appendCell appends the text of column i padded to the column's width.
func (l *layout) appendCell(dst []byte, i int, text []byte, width int) []byte {
	if i > 0 {
		dst = appendSpaces(dst, gap)
	}
	padding := l.width[l.cols[i]] - width
	switch l.cols[i] {
	case colAge, colRecvQ, colSendQ, colRetrans, colEnds:
		return append(appendSpaces(dst, padding), text...)
	}
	dst = append(dst, text...)
	if i == len(l.cols)-1 {
		return dst
	}
	return appendSpaces(dst, padding)
}

// appendAddresses appends both addresses on a line of their own, on two if
// they do not fit.
func (l *layout) appendAddresses(dst []byte, row int) []byte {
	local, peer := l.cells[row+colLocal], l.cells[row+colPeer]
	dst = appendSpaces(dst, indent)
	dst = append(dst, l.cellText(row+colLocal, int(local.width))...)
	if indent+int(local.width)+len(arrow)+int(peer.width) > l.total {
		dst = append(dst, '\n')
		dst = appendSpaces(dst, indent-1)
	}
	dst = append(dst, arrow...)
	dst = append(dst, l.cellText(row+colPeer, int(peer.width))...)
	return append(dst, '\n')
}

const spaces = "                                "

func appendSpaces(dst []byte, n int) []byte {
	for ; n > len(spaces); n -= len(spaces) {
		dst = append(dst, spaces...)
	}
	return append(dst, spaces[:max(n, 0)]...)
}

// appendPadded appends text and fills up to width cells.
func appendPadded(dst []byte, text string, width int) []byte {
	return appendSpaces(append(dst, text...), width-readable.Width(text))
}
