package table

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// Trace appends transitions in the columns of bcc's tcpstates: the same names
// in the same order, so that what reads those reads these. Only its meaning of
// C-PID and C-COMM is not kept: tcpstates names whatever task the packet
// interrupted, here stands "-" unless it was the socket's own.
type Trace struct {
	// Wide adds the IP version and makes room for whole IPv6 addresses.
	Wide bool
}

// widths of columns; the last one needs none.
type traceWidths struct{ sock, pid, comm, ip, addr, port, state int }

var (
	narrowTrace = traceWidths{sock: 16, pid: 7, comm: 10, addr: 15, port: 5, state: 11}
	wideTrace   = traceWidths{sock: 16, pid: 7, comm: 16, ip: 2, addr: 39, port: 5, state: 11}
)

func (t Trace) widths() *traceWidths {
	if t.Wide {
		return &wideTrace
	}
	return &narrowTrace
}

// AppendHeader appends the line of column names.
func (t Trace) AppendHeader(dst []byte) []byte {
	w := t.widths()
	for _, col := range []struct {
		name  string
		width int
	}{
		{"SKADDR", w.sock},
		{"C-PID", w.pid},
		{"C-COMM", w.comm},
		{"IP", w.ip},
		{"LADDR", w.addr},
		{"LPORT", w.port},
		{"RADDR", w.addr},
		{"RPORT", w.port},
		{"OLDSTATE", w.state},
		{"->", len("->")},
		{"NEWSTATE", w.state},
	} {
		if col.width > 0 {
			dst = append(appendPadded(dst, col.name, col.width), ' ')
		}
	}
	return append(dst, "MS\n"...)
}

// AppendTransition appends one line. A retransmission has the state it
// happened in as the old one and RETRANS(n):kind as the new one, n timeouts in a
// row: another column would not be tcpstates'.
func (t Trace) AppendTransition(dst []byte, tr *finding.Transition) []byte {
	w := t.widths()
	dst = appendField(dst, w.sock, func(b []byte) []byte { return strconv.AppendUint(b, tr.Addr, 16) }, tr.Addr != 0)
	dst = appendField(dst, w.pid, func(b []byte) []byte { return strconv.AppendUint(b, uint64(tr.Task.PID), 10) }, tr.Task.Known())
	comm := string(unknown)
	if tr.Task.Known() && tr.Task.Comm != "" {
		comm = readable.Cut(readable.Safe(tr.Task.Comm, maxName), w.comm)
	}
	dst = append(appendPadded(dst, comm, w.comm), ' ')
	if w.ip > 0 {
		dst = append(appendPadded(dst, ipVersion(tr), w.ip), ' ')
	}
	dst = appendEndpoint(dst, w, tr.Local)
	dst = appendEndpoint(dst, w, tr.Peer)
	dst = append(appendPadded(dst, stateName(tr.Old), w.state), " -> "...)
	dst = appendField(dst, w.state, func(b []byte) []byte { return appendNewState(b, tr) }, true)
	return append(appendMillis(dst, tr.Previous), '\n')
}

// appendField appends what add adds, or "-", padded to width, and a space.
func appendField(dst []byte, width int, add func([]byte) []byte, known bool) []byte {
	start := len(dst)
	if known {
		dst = add(dst)
	} else {
		dst = append(dst, unknown)
	}
	return append(appendSpaces(dst, width-(len(dst)-start)), ' ')
}

func appendEndpoint(dst []byte, w *traceWidths, ap netip.AddrPort) []byte {
	dst = appendField(dst, w.addr, func(b []byte) []byte { return readable.AppendAddr(b, ap.Addr()) }, ap.IsValid())
	return appendField(dst, w.port, func(b []byte) []byte { return strconv.AppendUint(b, uint64(ap.Port()), 10) }, ap.Port() != 0)
}

func ipVersion(tr *finding.Transition) string {
	addr := tr.Local.Addr()
	if !addr.IsValid() {
		addr = tr.Peer.Addr()
	}
	switch {
	case !addr.IsValid():
		return string(unknown)
	case addr.Unmap().Is4():
		return "4"
	}
	return "6"
}

func appendNewState(dst []byte, tr *finding.Transition) []byte {
	if !tr.Retransmit {
		return append(dst, stateName(tr.New)...)
	}
	dst = strconv.AppendUint(append(dst, "RETRANS("...), uint64(tr.Retransmits), 10)
	dst = append(dst, ')')
	if tr.RetransmitKind == flow.RetransmitNone {
		return dst
	}
	return append(append(dst, ':'), tr.RetransmitKind.String()...)
}

// appendMillis appends how long the old state lasted, as tcpstates does with
// three decimals, "-" where it is not known (tcpstates says 0.000 then).
func appendMillis(dst []byte, d time.Duration) []byte {
	if d < 0 {
		return append(dst, unknown)
	}
	micros := uint64(d / time.Microsecond)
	dst = strconv.AppendUint(dst, micros/1000, 10)
	return append(dst, '.', byte('0'+micros/100%10), byte('0'+micros/10%10), byte('0'+micros%10))
}

// traceStates are the kernel's own names without TCP_, which tcpstates prints
// (include/net/tcp_states.h).
var traceStates = [flow.StateMax]string{
	flow.StateUnknown:     "UNKNOWN",
	flow.StateEstablished: "ESTABLISHED",
	flow.StateSynSent:     "SYN_SENT",
	flow.StateSynRecv:     "SYN_RECV",
	flow.StateFinWait1:    "FIN_WAIT1",
	flow.StateFinWait2:    "FIN_WAIT2",
	flow.StateTimeWait:    "TIME_WAIT",
	flow.StateClose:       "CLOSE",
	flow.StateCloseWait:   "CLOSE_WAIT",
	flow.StateLastAck:     "LAST_ACK",
	flow.StateListen:      "LISTEN",
	flow.StateClosing:     "CLOSING",
	flow.StateNewSynRecv:  "NEW_SYN_RECV",
}

func stateName(s flow.State) string {
	if s < flow.StateMax {
		return traceStates[s]
	}
	return s.Label()
}
