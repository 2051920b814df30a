package jsonline

import (
	"strconv"

	"github.com/tcplimbo/tcplimbo/tracer/flow"
	"github.com/tcplimbo/tcplimbo/userspace/finding"
)

// AppendFinding appends a finding as one line. A socket that is no finding,
// KindNone, becomes a line about the socket with another event name: nobody who
// counts findings shall count it.
func (e *Encoder) AppendFinding(dst []byte, f *finding.Finding) []byte {
	line := e.appendFinding(dst, f, &wide)
	if len(line)-len(dst) < MaxLine {
		return line
	}
	return e.appendFinding(dst, f, &tight)
}

func (e *Encoder) appendFinding(dst []byte, f *finding.Finding, limit *limits) []byte {
	begin := len(dst)
	level, event := levelOf(f.Status), "tcplimbo.finding"
	if f.Kind == finding.KindNone {
		level, event = levelInfo, "tcplimbo.socket"
	}
	dst = appendBegin(dst, f.Time, level, f.Message, limit.message, event)
	dst = appendVerdict(dst, f)
	dst = append(dst, `,"network.transport":"tcp"`...)
	dst = appendConnection(dst, &f.Sock.ID, f.Sock.State)
	if role := f.Sock.Role.String(); role != "" {
		dst = appendName(dst, `,"tcplimbo.tcp.role":`, role)
	}
	dst = appendSocket(dst, &f.Sock.ID, f.Sock.Inode)
	// A timewait minisocket keeps no queues and no timers' state
	// (struct inet_timewait_sock): its values would all be zeros.
	if f.Live && !f.Sock.TimeWait && !f.Sock.Gone {
		dst = appendValues(dst, &f.Sock)
	}
	if f.Listener != nil {
		dst = appendListener(dst, f.Listener)
	} else {
		dst = appendDrop(dst, f)
	}
	if f.Status != finding.Resolved {
		dst = appendGivesUp(dst, f.GivesUp)
	}
	dst = appendProcess(dst, &f.Owner.Process, limit)
	dst = appendHolders(dst, &f.Owner, limit)
	dst = appendWorkload(dst, f.Workload, limit)
	// A line has room for one of these; no connect has them both.
	if f.Peer != nil && f.Listener == nil && f.Sock.SYN.Drop == nil {
		dst = appendPeer(dst, f.Peer, limit)
	}
	if f.Goroutines != nil {
		// The stack, which comes next, tells more.
		dst = appendGoroutines(dst, f.Goroutines, begin+MaxLine-1-len(e.tail)-stackLeast)
	}
	if f.Stack != nil {
		dst = appendGoroutine(dst, f.Stack, begin+MaxLine-1-len(e.tail)-stackLeast)
		dst = appendStack(dst, f.Stack, begin+MaxLine-1-len(e.tail))
	}
	return append(dst, e.tail...)
}

// appendVerdict appends what the agent says about the socket.
func appendVerdict(dst []byte, f *finding.Finding) []byte {
	dst = appendText(dst, `,"tcplimbo.finding.id":`, f.ID, maxID)
	if f.Kind != finding.KindNone {
		dst = appendName(dst, `,"tcplimbo.finding.kind":`, f.Kind.String())
		dst = appendName(dst, `,"tcplimbo.finding.status":`, f.Status.String())
	}
	if f.Reason != finding.ReasonNone {
		dst = appendName(dst, `,"tcplimbo.finding.reason":`, f.Reason.String())
	}
	if !f.Since.IsZero() {
		dst = appendTime(dst, `,"tcplimbo.finding.since":`, f.Since)
		dst = appendBool(dst, `,"tcplimbo.finding.since_exact":`, f.SinceExact)
	}
	dst = appendSeconds(dst, `,"tcplimbo.finding.duration_seconds":`, f.Duration)
	if f.Threshold > 0 {
		dst = appendSeconds(dst, `,"tcplimbo.finding.threshold_seconds":`, f.Threshold)
	}
	if f.Status == finding.Resolved {
		outcome := f.Outcome
		if outcome == finding.OutcomeNone {
			outcome = finding.OutcomeUnknown
		}
		dst = appendName(dst, `,"tcplimbo.finding.outcome":`, outcome.String())
	}
	return dst
}

// appendValues appends what was read from the live socket.
func appendValues(dst []byte, s *flow.Sock) []byte {
	dst = appendUint(dst, `,"tcplimbo.tcp.retransmits":`, uint64(s.Retransmits))
	dst = appendRetransmitKind(dst, s.Retransmitting())
	dst = appendUint(dst, `,"tcplimbo.tcp.backoff":`, uint64(s.Backoff))
	dst = appendUint(dst, `,"tcplimbo.tcp.unacked_bytes":`, uint64(s.Unacked()))
	dst = appendUint(dst, `,"tcplimbo.tcp.unsent_bytes":`, uint64(s.Unsent()))
	dst = appendUint(dst, `,"tcplimbo.tcp.unread_bytes":`, uint64(s.Unread()))
	// The peer's SYN-ACK brings its window; before that the 0 says nothing.
	if s.State != flow.StateSynSent {
		dst = appendUint(dst, `,"tcplimbo.tcp.send_window_bytes":`, uint64(s.SendWindow))
	}
	// Neither can be 0 once measured: srtt_us has a floor of 1
	// (tcp_rtt_estimator) and the RTO of tcp_rto_min, net/ipv4/tcp_input.c.
	if s.RTO > 0 {
		dst = appendSeconds(dst, `,"tcplimbo.tcp.rto_seconds":`, s.RTO)
	}
	if s.SRTT > 0 {
		dst = appendSeconds(dst, `,"tcplimbo.tcp.srtt_seconds":`, s.SRTT)
	}
	dst = appendSeconds(dst, `,"tcplimbo.tcp.last_receive_seconds":`, s.LastReceive)
	return appendSeconds(dst, `,"tcplimbo.tcp.last_send_seconds":`, s.LastSend)
}

// appendDrop appends where this host dropped the last SYN.
func appendDrop(dst []byte, f *finding.Finding) []byte {
	d := f.Sock.SYN.Drop
	if d == nil || f.Kind != finding.SynSentStalled {
		return dst
	}
	dst = appendText(dst, `,"tcplimbo.drop.reason":`, d.Reason, maxReason)
	dst = appendText(dst, `,"tcplimbo.drop.location":`, d.Location, maxLocation)
	if d.Hook != "" {
		dst = appendName(dst, `,"tcplimbo.drop.hook":`, d.Hook)
	}
	return appendUintIf(dst, `,"tcplimbo.drop.netns":`, uint64(d.NetNS))
}

// appendListener appends who listens at the peer's end and does not accept.
func appendListener(dst []byte, l *finding.Listener) []byte {
	dst = appendUintIf(dst, `,"tcplimbo.listener.pid":`, uint64(l.Process.PID))
	dst = appendUint(dst, `,"tcplimbo.listener.accept_queue":`, uint64(l.Queue))
	return appendUint(dst, `,"tcplimbo.listener.accept_limit":`, uint64(l.Limit))
}

// appendGivesUp appends what the kernel will do. Either key or none is
// written, never both.
func appendGivesUp(dst []byte, g finding.GivesUp) []byte {
	switch {
	case !g.Known:
		return dst
	case g.Never:
		return append(dst, `,"tcplimbo.tcp.gives_up":"never"`...)
	}
	// A timer that is due now reads as a small negative time.
	return appendSeconds(dst, `,"tcplimbo.tcp.gives_up_seconds":`, max(g.In, 0))
}

// appendProcess appends what is known of a process. One whose pid is another's
// now has no pid, and still a name and a user.
func appendProcess(dst []byte, p *finding.Process, limit *limits) []byte {
	if !p.Named() {
		return dst
	}
	dst = appendUintIf(dst, `,"process.pid":`, uint64(p.PID))
	dst = appendText(dst, `,"thread.name":`, p.Comm, maxComm)
	dst = appendUint(dst, `,"process.user.id":`, uint64(p.UID))
	dst = appendText(dst, `,"process.executable.name":`, p.Executable, maxName)
	dst = appendText(dst, `,"process.executable.path":`, p.Path, limit.path)
	if p.Relation != finding.RelationNone {
		dst = appendName(dst, `,"tcplimbo.process.relation":`, p.Relation.String())
	}
	if p.FD >= 0 {
		dst = appendUint(dst, `,"tcplimbo.socket.fd":`, uint64(p.FD))
	}
	return dst
}

// appendPeer appends what is known of the other end.
func appendPeer(dst []byte, p *finding.Peer, limit *limits) []byte {
	if p.State != flow.StateUnknown {
		dst = appendName(dst, `,"tcplimbo.peer.state":`, p.State.String())
	}
	if holder := &p.Owner.Process; holder.Known() {
		dst = appendUint(dst, `,"tcplimbo.peer.pid":`, uint64(holder.PID))
		dst = appendText(dst, `,"tcplimbo.peer.executable":`, holder.Executable, maxName)
	}
	if w := p.Workload; w != nil {
		dst = appendText(dst, `,"tcplimbo.peer.container.id":`, w.ContainerID, maxContainerID)
		dst = appendText(dst, `,"tcplimbo.peer.k8s.pod.name":`, w.Pod, limit.pod)
	}
	return dst
}

// appendHolders appends the holders as "pid/fd" and how many there are in all.
func appendHolders(dst []byte, o *finding.Owner, limit *limits) []byte {
	if len(o.Holders) == 0 {
		return dst
	}
	dst = append(dst, `,"tcplimbo.socket.holders":[`...)
	for i, h := range o.Holders[:min(len(o.Holders), limit.holders)] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(append(dst, '"'), uint64(h.PID), 10)
		dst = strconv.AppendUint(append(dst, '/'), uint64(h.FD), 10)
		dst = append(dst, '"')
	}
	dst = append(dst, ']')
	total := max(o.Total, len(o.Holders))
	return appendUint(dst, `,"tcplimbo.socket.holders_total":`, uint64(total))
}
