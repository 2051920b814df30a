// Package table lays sockets and transitions out in columns for people.
package table

import (
	"cmp"
	"strconv"
	"time"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
	"github.com/tcplimbo/tcplimbo/userspace/readable"
)

// Options are how a table is laid out.
type Options struct {
	// Width is the terminal's width in cells, 0 for no limit. A narrow table
	// shortens program names and leaves columns out, in the end it takes two
	// lines a socket; addresses, pids and reasons are always whole.
	Width    int
	NoHeader bool
	// Pods adds a column with the pod or container.
	Pods bool
}

// The columns, in the order they are shown.
const (
	colState = iota
	colAge
	colLocal
	colPeer
	colProcess
	colRecvQ
	colSendQ
	colRetrans
	colEnds
	colWhy
	colPod
	columns
)

var heads = [columns]string{
	colState: "STATE", colAge: "AGE", colLocal: "LOCAL", colPeer: "PEER", colProcess: "PROCESS",
	colRecvQ: "RECV-Q", colSendQ: "SEND-Q", colRetrans: "RETR", colEnds: "ENDS", colWhy: "WHY", colPod: "POD",
}

// unknown stands where a value is not known.
const unknown = '-'

// maxName bounds a program's name in bytes; a comm is shorter.
const maxName = 64

// maxPod holds a pod's name, a DNS subdomain.
const maxPod = 253

// AppendSockets appends a table of sockets, one finding a row, in the order
// given. A socket that is no finding has KindNone.
func AppendSockets(dst []byte, rows []finding.Finding, opt Options) []byte {
	g := newGrid(len(rows), !opt.NoHeader)
	for i := range rows {
		g.addRow(&rows[i])
	}
	return g.layout(opt.Width, opt.Pods).appendAll(dst)
}

func (g *grid) addRow(f *finding.Finding) {
	g.text = append(g.text, f.Sock.State.Label()...)
	g.endCell(colState)
	g.text = appendAge(g.text, f)
	g.endCell(colAge)
	g.text = readable.AppendAddrPort(g.text, f.Sock.Local)
	g.endCell(colLocal)
	g.text = readable.AppendAddrPort(g.text, f.Sock.Peer)
	g.endCell(colPeer)
	g.addProcess(&f.Owner)
	g.addQueues(f)
	g.text = appendEnds(g.text, f.GivesUp)
	g.endCell(colEnds)
	if f.Reason == finding.ReasonNone {
		g.text = append(g.text, unknown)
	} else {
		g.text = append(g.text, f.Reason.String()...)
	}
	g.endCell(colWhy)
	g.text = appendPod(g.text, f.Workload)
	g.endCell(colPod)
}

// shortID is how much of a container's id people use.
const shortID = 12

// appendPod names the pod, else the container, by what is known of it.
func appendPod(dst []byte, w *finding.Workload) []byte {
	switch {
	case w == nil:
		return append(dst, unknown)
	case w.Pod != "":
		dst = append(dst, readable.Safe(w.Namespace, maxName)...)
		return append(append(dst, '/'), readable.Safe(w.Pod, maxPod)...)
	case w.Container != "":
		return append(dst, readable.Safe(w.Container, maxName)...)
	case w.ContainerID != "":
		return append(dst, readable.Safe(w.ContainerID[:min(len(w.ContainerID), shortID)], maxName)...)
	case w.PodUID != "":
		return append(dst, readable.Safe(w.PodUID, maxName)...)
	}
	return append(dst, unknown)
}

// appendAge marks the age of a socket that is older than the agent: it is at
// least that.
func appendAge(dst []byte, f *finding.Finding) []byte {
	dst = readable.AppendAge(dst, f.Duration)
	if f.Duration >= 0 && !f.SinceExact {
		dst = append(dst, '+')
	}
	return dst
}

// addProcess adds name[pid]/fd and how many other holders there are. A process
// that has to do with the socket and does not hold it stands in parentheses.
func (g *grid) addProcess(o *finding.Owner) {
	p := &o.Process
	name := cmp.Or(p.Executable, p.Comm)
	if !p.Known() && (name == "" || p.Relation == finding.RelationNone) {
		g.text = append(g.text, unknown)
		g.endCell(colProcess)
		return
	}
	holds := p.FD >= 0 && p.Relation == finding.RelationHolder
	if !holds {
		g.text = append(g.text, '(')
	}
	g.text = append(g.text, readable.Safe(name, maxName)...)
	tail := len(g.text)
	if p.Known() {
		g.text = strconv.AppendUint(append(g.text, '['), uint64(p.PID), 10)
		g.text = append(g.text, ']')
	}
	if holds {
		g.text = strconv.AppendInt(append(g.text, '/'), int64(p.FD), 10)
	} else {
		g.text = append(g.text, ')')
	}
	if o.Total > 1 {
		g.text = strconv.AppendInt(append(g.text, " +"...), int64(o.Total-1), 10)
	}
	g.endProcess(tail)
}

// addQueues adds the queues and retransmissions: bytes to read and bytes that
// the peer has not acknowledged, or a listener's accept queue and its limit.
func (g *grid) addQueues(f *finding.Finding) {
	s := &f.Sock
	known := f.Live && !s.Gone && !s.TimeWait
	recv, send := uint64(s.Unread()), uint64(s.Unacked())+uint64(s.Unsent())
	if s.State == flow.StateListen {
		recv, send = uint64(s.AcceptQueue), uint64(s.AcceptLimit)
	}
	g.addNumber(colRecvQ, recv, known)
	g.addNumber(colSendQ, send, known)
	g.addNumber(colRetrans, uint64(s.Retransmits), known)
}

func (g *grid) addNumber(col int, n uint64, known bool) {
	if known {
		g.text = strconv.AppendUint(g.text, n, 10)
	} else {
		g.text = append(g.text, unknown)
	}
	g.endCell(col)
}

// anyMoment is shorter than reading takes.
const anyMoment = 100 * time.Millisecond

// appendEnds says when the kernel ends the socket by itself.
func appendEnds(dst []byte, g finding.GivesUp) []byte {
	switch {
	case !g.Known:
		return append(dst, unknown)
	case g.Never:
		return append(dst, "never"...)
	case g.In < anyMoment:
		return append(dst, "now"...)
	}
	return readable.AppendAge(dst, g.In)
}
